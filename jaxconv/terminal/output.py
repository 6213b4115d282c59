"""Output that arrives: in words where the encoding has no signs for it, and files whole or not at all.

What is written for people is full of signs such as ≤ and ×. A terminal or a file that is not UTF-8, which is what
``> file`` makes on Windows, has few of them: there `legible` puts words of ASCII in their place. Imports no jax.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

WORDS = {
    "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "±": "+-", "√": "sqrt ", "…": "...", "′": "'", "∞": "inf",
    "≤": "<=", "≥": ">=", "≪": "<<", "≠": "!=", "≈": "~", "≡": "==", "→": "->", "←": "<-", "⇔": "<=>", "∈": "in",
    "Σ": "sum", "∏": "prod", "∂": "d", "⊙": "*", "‖": "||", "⟨": "<", "⟩": ">", "⌊": "floor(", "⌋": ")", "⌈": "ceil(",
    "⌉": ")", "ᵀ": "^T", "§": "section ",
    "α": "alpha", "β": "beta", "δ": "delta", "ν": "nu", "ξ": "xi", "σ": "sigma",
    "ϕ": "phi", "µ": "u", "°": "degrees", "“": '"', "”": '"', "‘": "'", "’": "'",
}  # fmt: skip
_RAISED, _LOWERED = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "₋₀₁₂₃₄₅₆₇₈₉"
_DIGITS = str.maketrans(_RAISED + _LOWERED, 2 * "-0123456789")
_SIGNS = "".join(WORDS) + _RAISED + _LOWERED


class OutputError(Exception):
    """Standard output takes no more: a full disk, a closed pipe."""


def legible(text: str, stream: TextIO | None = None) -> str:
    """The text as `stream`, which is standard output if none is given, can show it: unchanged where it is UTF-8.

    Elsewhere signs become words; of other letters that the encoding lacks the accent goes, and what remains is escaped.
    """
    encoding = getattr(sys.stdout if stream is None else stream, "encoding", None)
    if not encoding or text.isascii() or _fits(_SIGNS + text, encoding):
        return text
    for sign, digits in ("^", _RAISED), ("_", _LOWERED):
        text = re.sub(f"[{digits}]+", lambda found, sign=sign: sign + found.group().translate(_DIGITS), text)  # type: ignore[misc]
    return "".join(char if char.isascii() else _word(char, encoding) for char in text)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _word(char: str, encoding: str) -> str:
    """One sign in other words."""
    if char in WORDS:
        return WORDS[char]
    if _fits(char, encoding):
        return char
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    if plain or unicodedata.combining(char):
        return plain
    return char.encode("ascii", "backslashreplace").decode()


class Legible:
    """Standard output, as it is when something is written: `legible`, and every error an `OutputError`."""

    def write(self, text: str) -> int:
        if sys.stdout is not None:
            _tried(lambda: sys.stdout.write(legible(text)))
        return len(text)

    def flush(self) -> None:
        if sys.stdout is not None:
            _tried(sys.stdout.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def _tried(work: Callable[[], Any]) -> None:
    try:
        work()
    except BrokenPipeError as error:
        raise OutputError("nobody reads it any more: the pipe is closed") from error
    except OSError as error:
        raise OutputError(error.strerror or str(error)) from error
    except ValueError as error:  # Python's word for a file that was closed
        raise OutputError(str(error)) from error


def complain(text: str) -> None:
    """One line on standard error; where that takes nothing either, there is nobody to tell."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(legible(text, sys.stderr), file=sys.stderr, flush=True)


def shown(command: str, status: int, show: Callable[[], Any]) -> int:
    """Show an outcome, to the last byte; the exit status: `status`, or 2 in place of 0 where it could not be shown."""
    try:
        show()
        Legible().flush()
    except OutputError as error:
        _drop_the_rest()
        complain(f"{command}: the output could not be written: {error}")
        return status or 2
    return status


def _drop_the_rest() -> None:
    """What standard output still holds goes nowhere: Python would try it once more at its end, and fail loudly."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# ------------------------------------------------------------------------------------------------- files


def unwritable(path: Path) -> str | None:
    """Why a file cannot be written there, as far as can be told before the run, or None."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # to be made
    except (OSError, ValueError) as error:  # a name that is too long, a link to itself
        return f"got {path}: {getattr(error, 'strerror', None) or error}"
    if path.is_dir():
        return f"got the folder {path}"
    if _is_special(path):
        return None if os.access(path, os.W_OK) else f"got {path}, which must not be written to"
    folder = path.resolve().parent
    if not folder.is_dir():
        return f"got {path}, and there is no folder {folder}"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"got {path}, and {folder} must not be written to"


def _is_special(path: Path) -> bool:
    """Whether there is something that is no regular file: a device, a pipe."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place first, then moved there. A device or a pipe is written to."""
    if _is_special(path):
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return
    path = path.resolve()  # the file that a link leads to, not the link
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".jaxconv-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def written(command: str, texts: Mapping[str, tuple[Path, Callable[[], str]]]) -> bool:
    """Write the file of every option given, each whole or not at all; says which could not be, and whether all were."""
    complete = True
    for option, (path, text) in texts.items():
        try:
            write_whole(path, text())
        except OSError as error:
            complain(f"{command}: --{option} could not be written: {error}")
            complete = False
    return complete
