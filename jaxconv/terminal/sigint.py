"""Ctrl-C that gets through to the one who pressed it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def sigint_guard() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises KeyboardInterrupt; the function given raises it again where that was lost. A second one kills.

    Python drops what is raised in a callback of the garbage collector or of a weak reference, and JAX has many of both;
    C++ may turn it into another error. So it is remembered, for a loop to ask between two pieces of work.
    """
    pressed = False

    def press(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            if sys.stdout.isatty():
                print("\x1b[?25h", flush=True)  # a live display has hidden the cursor
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    def dropped(what: Any) -> None:
        """Nothing is lost, so nothing need be said."""
        if not issubclass(what.exc_type, KeyboardInterrupt):
            say(what)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield check  # the caller, or a shell that starts it in the background, has settled what ctrl-C does
        return
    say = sys.unraisablehook
    signal.signal(signal.SIGINT, press)
    sys.unraisablehook = dropped
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = say
