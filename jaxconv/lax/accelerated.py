"""The switch: from `accelerate` on, every convolution of lax that is compiled for a CPU takes our algorithms."""

from __future__ import annotations

import warnings
from threading import RLock
from typing import Any, NamedTuple

from jaxconv._jax import conv_rule
from jaxconv.lax.route import ROUTER, Record, Taken


class TakenRow(NamedTuple):
    """Convolutions that were compiled by one of our algorithms: the map, the algorithm, how many.

    >>> TakenRow("conv", "gemm", 3).times
    3
    """

    which: str
    algorithm: str
    times: int


class LeftRow(NamedTuple):
    """Convolutions that were left to JAX: why, and how many.

    >>> LeftRow("dtype int8", 1).why
    'dtype int8'
    """

    why: str
    times: int


class AccelerationReport(NamedTuple):
    """What became of the convolutions that were compiled for a CPU.

    Attributes:
        taken: one `TakenRow` for each map and algorithm, the most frequent first.
        left: one `LeftRow` for each reason, likewise.

    >>> print(AccelerationReport((TakenRow("conv", "gemm", 3),), (LeftRow("dtype int8", 1),)))
    3 convolutions compiled by jaxconv
        3  conv              gemm
    1 left to JAX
        1  dtype int8
    """

    taken: tuple[TakenRow, ...]
    left: tuple[LeftRow, ...]

    def __str__(self) -> str:
        taken, left = (sum(row.times for row in rows) for rows in (self.taken, self.left))
        lines = [f"{taken} convolution{'s' * (taken != 1)} compiled by jaxconv"]
        lines += [f"{row.times:5}  {row.which:16}  {row.algorithm}" for row in self.taken]
        lines += [f"{left} left to JAX"] + [f"{row.times:5}  {row.why}" for row in self.left]
        return "\n".join(lines)


class Accelerated:
    """What `accelerate` returns: a context manager, `stop` and `report`.

    >>> with accelerate() as handle:
    ...     isinstance(handle, Accelerated)
    True
    """

    def __init__(self) -> None:
        self._record = Record()

    def stop(self) -> None:
        """JAX's own rule compiles convolutions again, whoever called `accelerate`; what is compiled stays."""
        SWITCH.stop(self, self._record)

    def report(self) -> AccelerationReport:
        """What became of the convolutions that were compiled since; where JAX compiles equal ones of a program once,
        they count once.
        """
        taken: list[tuple[Taken, int]] = self._record.taken.most_common()
        left: list[tuple[str, int]] = self._record.left.most_common()
        return AccelerationReport(tuple(TakenRow(*key, n) for key, n in taken), tuple(LeftRow(*each) for each in left))

    def __enter__(self) -> Accelerated:
        SWITCH.enter(self)
        return self

    def __exit__(self, *raised: Any) -> None:
        SWITCH.leave(self, self._record)

    def __repr__(self) -> str:
        return f"<jaxconv.accelerate(): {'on' if ROUTER.on else 'off'}>\n{self.report()}"


class _Switch:
    """On while somebody called `accelerate` and nobody `stop`, or while a `with` block of it is open in any thread.

    JAX's table of rules is changed only while it is on, or once the drop-in has been called.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._called = False
        self._caller: Accelerated | None = None  # who turned it on, and has not opened a block
        self._blocks: set[Accelerated] = set()
        self._marked = False

    def serve_marked(self) -> None:
        """Marked calls are compiled by our algorithms from here on."""
        if not self._marked:
            with self._lock:
                self._marked = True
                self._apply()

    def start(self, handle: Accelerated, record: Record) -> None:
        with self._lock:
            if lack := conv_rule.missing():
                warnings.warn(f"accelerate: {lack}: nothing is changed", RuntimeWarning, stacklevel=3)
                return
            self._caller = self._caller or handle
            ROUTER.records.append(record)
            self._apply()

    def enter(self, handle: Accelerated) -> None:
        with self._lock:
            self._blocks.add(handle)
            if self._caller is handle:
                self._caller = None

    def leave(self, handle: Accelerated, record: Record) -> None:
        with self._lock:
            self._blocks.discard(handle)
            self._end(record)

    def stop(self, handle: Accelerated, record: Record) -> None:
        with self._lock:
            self._caller = None
            self._blocks.clear()
            self._end(record)

    def _end(self, record: Record) -> None:
        if record in ROUTER.records:
            ROUTER.records.remove(record)
        self._apply()

    def _apply(self) -> None:
        ROUTER.on = self._caller is not None or bool(self._blocks)
        if (ROUTER.on or self._marked) and conv_rule.missing() is None:
            conv_rule.install(ROUTER.decide)
        else:
            conv_rule.restore()


SWITCH = _Switch()


def accelerate() -> Accelerated:
    """From here on every `lax.conv_general_dilated` compiled for a CPU takes our algorithms, whoever wrote it.

        T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    Each call is read as one of the three maps of this form, gradients included, and computed as `conv`,
    `conv_input_vjp` and `conv_weight_vjp` compute it; what no map expresses is left to JAX. Values and derivatives are
    lax's up to rounding; other platforms are untouched.

    What was compiled before stays as it is, and so does, after `stop`, what was compiled while this was on:
    `jax.clear_caches()` lets it all go. It holds for all threads. Calling it twice is calling it once.

    Returns:
        Accelerated: a context manager, which is off again behind its block; ``.stop()``, which restores JAX's own rule
        at once; ``.report()``, how many convolutions were taken, as which map and by which algorithm, and how many
        were left and why.

    Raises:
        Nothing: a JAX that lacks the private names needed is warned of, and nothing is changed.

    Source: the six readings of a call, `jaxconv.lax.read`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> x, w = jnp.ones((1, 8, 6, 6)), jnp.ones((8, 1, 3, 3))
    >>> depthwise = lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=8)
    >>> with accelerate() as handle:
    ...     y = jax.jit(depthwise)(x, w)
    >>> [(row.which, row.times) for row in handle.report().taken], handle.report().left
    ([('conv', 1)], ())
    """
    handle = Accelerated()
    SWITCH.start(handle, handle._record)
    return handle
