"""What is printed many times, shown once: a check runs a function some fifty times, and with it whatever it prints."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def printed_once() -> Iterator[None]:
    """Inside, a text that was printed before is not printed again; what moves a cursor always is."""
    before = sys.stdout
    if before is None:
        yield
        return
    sys.stdout = _Once(before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout = before


class _Once:
    def __init__(self, stream: Any) -> None:
        self.stream, self.seen, self.dropped = stream, set[str](), False

    def write(self, text: str) -> int:
        moves = "\x1b" in text or "\r" in text
        if not moves and (self.dropped if not text.strip() else text in self.seen):
            self.dropped = bool(text.strip())  # the end of a line goes with it
            return len(text)
        self.dropped = False
        if text.strip() and not moves:
            self.seen.add(text)
        return int(self.stream.write(text) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
