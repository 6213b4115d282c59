"""Measured times as a file of JSON: which algorithm took how many seconds for which problem, and on which machine.

    {"format": 1,
     "machine": {"processor": …, "features": […], "threads": …, "jaxlib": …, "jaxconv": …},
     "records": [{"names": […], "which": "conv", "layout": …, "dtype": …, "batch": …, "channels": …, "filters": …,
                  "input_size": […], "kernel_size": […], "stride": […], "padding": [[…]], "dilation": […], "groups": …,
                  "seconds": {algorithm: …}, "failed": {algorithm: why}}, …]}

A record speaks of one device and of no `vmap`. A file is written whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxconv._jax.dtypes import DTYPES
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import MAPS
from jaxconv.sizes.arguments import integer, one_of
from jaxconv.sizes.geometry import Geometry
from jaxconv.terminal.output import write_whole

FORMAT = 1
_SIZES = ("input_size", "kernel_size", "stride", "padding", "dilation", "groups", "layout")
_VECTORS = re.compile("sse|avx|amx|fma|f16c|bmi|asimd|sve|sme(?!p)|neon|bf16|i8mm|fphp")


class RecordsError(ValueError):
    """A file that is damaged, or that another machine made; the text says which and why."""


@dataclass
class Record:
    """What was measured of one problem.

    Attributes:
        problem: with `partitioned` and `mapped` false.
        seconds: algorithm → median time of a call.
        failed: algorithm → why it has no time.
        names: of the layers that have this problem, for people.
    """

    problem: Problem
    seconds: dict[str, float]
    failed: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The object of the module docstring."""
        p, g = self.problem, self.problem.geometry
        counts = {"batch": p.batch, "channels": p.channels * g.groups, "filters": p.filters * g.groups}
        facts = {"which": p.which, "layout": g.layout, "dtype": p.dtype, **counts}
        seconds = {name: float(f"{value:.4g}") for name, value in self.seconds.items()}
        return {
            "names": self.names,
            **facts,
            **{name: getattr(g, name) for name in _SIZES if name != "layout"},
            "seconds": seconds,
            "failed": self.failed,
        }

    @classmethod
    def from_json(cls, given: Any) -> Record:
        """Of such an object; KeyError, TypeError or ValueError where it is none."""
        sizes = {name: given[name] for name in _SIZES}
        geometry = Geometry.of("record", sizes.pop("input_size"), sizes.pop("kernel_size"), **sizes)
        counts = (integer("record", name, given[name], least=1) for name in ("batch", "channels", "filters"))
        batch, channels, filters = counts
        groups = geometry.groups
        if channels % groups or filters % groups:
            raise ValueError(f"`groups` must divide channels and filters; got {groups}, {channels} and {filters}.")
        which = one_of("record", "which", given["which"], MAPS)
        dtype = one_of("record", "dtype", given["dtype"], tuple(map(str, DTYPES)))
        problem = Problem(which, geometry, channels // groups, filters // groups, batch, dtype)
        seconds = {str(name): float(value) for name, value in given["seconds"].items()}
        if not all(math.isfinite(value) and value > 0 for value in seconds.values()):
            raise ValueError(f"`seconds` must be positive; got {seconds}.")
        return cls(problem, seconds, dict(given.get("failed", {})), list(given.get("names", [])))


@cache
def machine() -> dict[str, Any]:
    """All that a measured time depends on, beside the problem:

    processor   its model: caches, clock, ports
    features    the vector instructions that XLA and oneDNN write for, which a virtual machine may hide
    threads     that XLA computes with: cores that this process may run on, unless NPROC says otherwise
    jaxlib      whose compiler and library of kernels it is
    jaxconv     whose algorithms they are
    """
    fields = _cpuinfo()
    told = [fields[name] for name in ("model name", "CPU implementer", "CPU part") if name in fields]
    told += [f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields]
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "processor": ", ".join(told) or platform.processor() or platform.machine(),
        "features": sorted(filter(_VECTORS.match, set(flags))),
        "threads": _threads(),
        "jaxlib": _version("jaxlib"),
        "jaxconv": _version("jaxconv"),
    }


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _threads() -> int:
    for name in ("PJRT_NPROC", "NPROC"):  # XLA reads them
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    allowed = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # used from a checkout, not installed
        return "unknown"


# ------------------------------------------------------------------------------------------------- files


def read(path: Path, anywhere: bool = False) -> dict[Problem, Record]:
    """The records of a file by their problem; none where there is no file; `anywhere`: whichever machine made it.

    Raises:
        RecordsError: it cannot be read, is damaged, or another machine, version or format made it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError) as error:
        raise RecordsError(f"{path} cannot be read: {error}") from error
    try:
        outcome = json.loads(text)
        kind, made_on, listed = outcome["format"], dict(outcome["machine"]), list(outcome["records"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordsError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if kind != FORMAT:
        raise RecordsError(f"{path} has format {kind!r}, and {FORMAT} is what this version reads")
    for name, here in ({} if anywhere else machine()).items():
        if made_on.get(name) != here:
            raise RecordsError(f"{path} is of another machine: {name} {made_on.get(name)!r}, here {here!r}")
    found = {}
    for number, each in enumerate(listed):
        try:
            record = Record.from_json(each)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordsError(f"{path} is damaged: record {number}: {type(error).__name__}: {error}") from error
        found[record.problem] = record
    return found


def add(path: Path, records: Iterable[Record]) -> None:
    """Write the file anew with these records in it, whole or not at all; those of the same problem are replaced.

    Another process may add at the same time: each reads what is there and writes, one after the other.

    Raises:
        RecordsError: what is there must not be replaced, see `read`.
        OSError: it cannot be written.
    """
    with _alone(path):
        known = {**read(path), **{record.problem: record for record in records}}
        lines = ",\n".join(json.dumps(record.as_json(), ensure_ascii=False) for record in known.values())
        head = f'{{"format": {FORMAT},\n"machine": {json.dumps(machine(), ensure_ascii=False)},\n"records": [\n'
        write_whole(path, f"{head}{lines}\n]}}\n")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process adds to a file of that folder. Without fcntl, on Windows, the last one wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)  # which unlocks it
