"""How far a long check has come: one line on stderr, or whatever the caller makes of it. Short checks show nothing.

`step` is called from wherever work is done; without a display in force it does nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Tell = Callable[[int, int, str], None]  # (steps done, of how many about, what comes next)
DELAY = 1.0  # seconds: what is done by then needs no display


_STEP: ContextVar[Callable[[str], None]] = ContextVar("jaxconv_check_progress", default=lambda what: None)


def step(what: str) -> None:
    """One more step of the check begins."""
    _STEP.get()(what)


@contextlib.contextmanager
def shown(name: str, total: int, wanted: bool | Tell | None) -> Iterator[None]:
    """Show the steps taken inside: `wanted` is a function that is told, True, False, or None: on a terminal only."""
    if wanted is None:
        wanted = bool(getattr(sys.stderr, "isatty", lambda: False)())
    if not wanted:
        yield
        return
    line, done = _Line(name), itertools.count()
    tell = wanted if callable(wanted) else line
    token = _STEP.set(lambda what: tell(min(next(done), total), total, what))
    try:
        yield
    finally:
        _STEP.reset(token)
        line.clear()


class _Line:
    """One line that is written over, and gone at the end."""

    def __init__(self, name: str) -> None:
        self.name, self.stream, self.start, self.width = name, sys.stderr, time.monotonic(), 0

    def __call__(self, done: int, total: int, what: str) -> None:
        seconds = time.monotonic() - self.start
        if seconds >= DELAY:
            self._write(f"check_vjp of {self.name}: {done} of {total}, {what} ({seconds:.0f} s)")

    def clear(self) -> None:
        if self.width:
            self._write("")
            self.stream.write("\r")
            self.stream.flush()

    def _write(self, text: str) -> None:
        self.stream.write("\r" + text.ljust(self.width))
        self.stream.flush()
        self.width = len(text)
