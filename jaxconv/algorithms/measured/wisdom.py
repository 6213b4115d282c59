"""What `jaxconv tune` has measured on this machine, for `choose` to look up while a call is traced.

Records stand in the user's cache folder, one file for each machine (`records.machine`); a problem is found where all
its facts are equal. The file is read once in a process. One that is damaged, or of another machine, version or format,
is named in one warning and ignored.

Choices of different hosts would make different programs, and the devices of one mesh wait for each other in vain where
their programs differ: so in a program of several processes there is no wisdom.

A compiled program keeps the choices that it was traced with. JAX's persistent compilation cache finds a program by its
text, so that one of other choices is another entry, and neither is taken for the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path

import jax

from jaxconv.algorithms.measured import records
from jaxconv.algorithms.problem import Problem
from jaxconv.sizes.arguments import wrong_kind

VARIABLE = "JAXCONV_WISDOM"

_asked: bool | Path = True  # by `use_wisdom`
_known: dict[Problem, dict[str, float]] | None = None  # None: not read yet


def lookup(problem: Problem) -> dict[str, float] | None:
    """Algorithm → seconds of a call, as measured on this machine; None where nothing was, or wisdom is off."""
    global _known
    if (known := _known) is None:
        known = _known = _read()
    found = None if problem.partitioned or problem.mapped else known.get(problem)
    # To count processes starts JAX's backends, so it is asked last.
    return dict(found) if found and jax.process_count() == 1 else None


def use_wisdom(wisdom: bool | str | os.PathLike[str]) -> None:
    """Whether `conv` and its relatives look up what `jaxconv tune` has measured on this machine. They do, by default.

    Without wisdom the choice follows from the call and the installed versions alone: every machine takes the same
    algorithms, and those on which XLA compiles alike the same numbers, bit for bit. The environment variable
    JAXCONV_WISDOM says the same for a process from its start: "off", or a path.

    What was compiled with other choices is dropped, by `jax.clear_caches`: a jitted function is traced again at its
    next call, while what ``.lower().compile()`` returned stays as it is. JAX's persistent compilation cache holds
    programs of either kind beside each other. In a program of several processes there is no wisdom.

    Args:
        wisdom: False: none; True: as the environment says, or else from the user's cache folder; a path: from that
            file, whose name ends in .json, or from that folder, which has a file for each machine.

    Returns:
        None.

    Raises:
        TypeError: `wisdom` is no bool and no path.

    Source: the idea and the name are those of FFTW's planner, Frigo and Johnson 2005, section III.

    >>> use_wisdom(False)
    >>> use_wisdom(True)
    """
    global _asked
    if not isinstance(wisdom, (bool, str, os.PathLike)):
        wrong_kind("use_wisdom", "`wisdom` must be True, False or a path", f"wisdom={wisdom!r}")
    before, _asked = _asked, wisdom if isinstance(wisdom, bool) else Path(wisdom)
    if _asked != before:
        reload()


def reload() -> None:
    """Read the file again at the next call, and drop what was compiled with the choices of before."""
    global _known
    if _known is not None:
        _known = None
        jax.clear_caches()


def file() -> Path | None:
    """Where this machine's wisdom lies or would lie: also where it is off. None where there is no home folder."""
    told = os.environ.get(VARIABLE, "")
    place: Path | None = _asked if isinstance(_asked, Path) else None
    if place is None:
        place = Path(told) if told and told != "off" else folder()
    if place is None or place.suffix == ".json":
        return place
    text = json.dumps(records.machine(), sort_keys=True)
    return place / f"wisdom-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def is_on() -> bool:
    """Whether the file is read at all."""
    return isinstance(_asked, Path) or (_asked and os.environ.get(VARIABLE) != "off")


def folder() -> Path | None:
    """Of this library in the user's cache folder, as each system has it; None where the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "jaxconv"
    local = os.environ.get("LOCALAPPDATA", "")
    if sys.platform == "win32" and local:
        return Path(local) / "jaxconv" / "Cache"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "jaxconv"


def _read() -> dict[Problem, dict[str, float]]:
    path = file() if is_on() else None
    try:
        found = {} if path is None else records.read(path)
    except records.RecordsError as error:
        warnings.warn(f"jaxconv: wisdom is ignored: {error}", stacklevel=2)
        found = {}
    return {problem: record.seconds for problem, record in found.items()}
