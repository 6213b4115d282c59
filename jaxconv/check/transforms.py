"""The rule under JAX's transforms, each beside the plain rule."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.accuracy.error_model import unit_roundoff
from jaxconv.accuracy.oracle import to_double
from jaxconv.check.call import Subject
from jaxconv.check.compare import floor
from jaxconv.check.faces.report import TransformRow
from jaxconv.check.protocol import in_words
from jaxconv.check.runs import jitted, pull, value_and_pull
from jaxconv.check.sharding import sharded
from jaxconv.terminal.progress import step

CANNOT = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    NotImplementedError,
)


# What JAX says of what it differentiates once or not at all.
AT_ONCE = (
    "differentiation rule", "Reverse-mode differentiation does not work", "callbacks do not support", "Pure callbacks",
    "does not support", "not differentiable", "cannot be differentiated", "can't apply forward-mode",
    "Linearization failed", "unexpected tracer",
)  # fmt: skip


class Scene(NamedTuple):
    """What every transform is tried on: the call, its arguments, one cotangent, the plain gradients, their spread.

    `length` is that of the longest sum on the way to them.
    """

    call: Subject
    xs: list[Any]
    data: list[Any]
    g: list[Any]
    plain: list[Any]
    spread: list[Any]
    length: int

    def distance(self, grads: list[Any]) -> float:
        """Largest distance from the plain gradients, in units of the error model."""
        worst = 0.0
        for got, plain, spread, x in zip(grads, self.plain, self.spread, self.xs, strict=True):
            a, b = to_double(got), to_double(plain)
            if a.shape != b.shape:
                return np.inf
            u, least = unit_roundoff(x.dtype), floor(x.dtype, self.length)
            typical = np.sqrt(np.mean(np.abs(b[np.isfinite(b)]) ** 2)) if np.isfinite(b).any() else 0.0
            with np.errstate(all="ignore"):
                units = np.abs(a - b) / (u * (np.abs(b) + typical + np.nan_to_num(spread, posinf=1e300)) + least)
            units = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isnan(units), np.inf, units))
            worst = max(worst, float(units.max()) if units.size else 0.0)
        return worst


def rule(call: Subject, xs: Any, data: Any, g: Any) -> list[Any]:
    return value_and_pull(call, xs, data, g)[1]


def _two(values: Any, call: Subject) -> list[Any]:
    """A batch of two, of which the second is what is checked: what leaks between examples shows.

    A while loop that ends at the arguments given need not end elsewhere: there both are the same.
    """
    return [jnp.stack([v if call.laps else v * 0.5, v]) for v in values]


def _vmap(call: Subject, xs: Any, data: Any, g: Any) -> list[Any]:
    return [d[1] for d in jax.vmap(lambda xs, g: rule(call, xs, data, g))(_two(xs, call), _two(g, call))]


def _remat(call: Subject, xs: Any, data: Any, g: Any) -> list[Any]:
    return jax.vjp(jax.checkpoint(lambda xs: call.outputs(xs, data)), xs)[1](g)[0]


def _scan(call: Subject, xs: Any, data: Any, g: Any) -> list[Any]:
    step = lambda carry, each: (carry, rule(call, each[0], data, each[1]))  # noqa: E731
    return [d[1] for d in lax.scan(step, 0, (_two(xs, call), _two(g, call)))[1]]


def _again(call: Subject, xs: Any, data: Any, g: Any) -> tuple[Any, Any]:
    dtype = reduce(np.promote_types, (x.dtype for x in xs), np.dtype(np.float32))

    def product(xs: Any, g: Any) -> Any:
        v = [np.cos(np.arange(x.size)).reshape(x.shape).astype(dtype) for x in xs]
        each = zip(rule(call, xs, data, g), v, strict=True)
        finite = ((jnp.where(jnp.isfinite(d), d, 0).astype(dtype), p) for d, p in each)
        return sum(jnp.sum(d * p).real for d, p in finite)

    return jax.value_and_grad(product, argnums=(0, 1))(xs, g)


_rule = jitted(rule)


def under_jit(call: Subject, xs: Any, data: Any, g: Any) -> list[Any]:
    return _rule(call, xs, data, g) if call.laps else pull(call, xs, data, g)[1]


again = jitted(_again)
PLAIN = {"jit": under_jit, "vmap": jitted(_vmap), "remat": jitted(_remat), "scan": jitted(_scan)}


def _twice(s: Scene) -> str | None:
    """Grad of grad: linear in the cotangent, so that its derivative there is the rule's own value: Euler's identity.

    ⟨∂⟨dx(x, g), v⟩/∂g, g⟩ = ⟨dx(x, g), v⟩        over what of dx is finite
    """
    value, (_, slopes) = again(s.call, s.xs, s.data, s.g)
    parts = [to_double(a) * to_double(b) for a, b in zip(slopes, s.g, strict=True)]
    whole = np.isfinite(value) and all(np.isfinite(p).all() for p in parts)
    parts = [np.where(np.isfinite(p), p, 0) for p in parts]  # 0 · ∞, where a gradient is infinite
    total = sum(float(np.sum(p.real)) for p in parts)
    plain = [np.where(np.isfinite(d), d, 0) for d in map(to_double, s.plain)]
    size = sum(float(np.sum(np.abs(p))) for p in [*parts, *plain])
    u = max((unit_roundoff(x.dtype) for x in s.xs), default=0.0)
    lost = sum(d.size * floor(x.dtype, s.length) for d, x in zip(s.plain, s.xs, strict=True))
    agrees = abs(total - float(value)) <= 100 * u * size + lost
    if not agrees and not whole:
        return None
    return "" if agrees else f"{total:.8g} where {float(value):.8g} is right"


def _over_devices(scene: Scene, limit: float) -> TransformRow:
    """Sharded arguments, the first axis split, then the last; the first that disagrees is named."""
    name = "sharding"
    if len(jax.devices()) < 2:
        return TransformRow(name, True, "not tried: there is one device")
    worst, tried = 0.0, []
    try:
        for how, grads in sharded(scene.call, scene.xs, scene.data, scene.g, under_jit, rule):
            units = scene.distance(grads)
            if units > limit:
                return TransformRow(name, False, f"{how}: {units:.2g} units from the plain rule")
            worst = max(worst, units)
            tried.append(how)
    except CANNOT as error:
        return TransformRow(name, True, "; ".join([*tried, f"cannot apply: {type(error).__name__}"]))
    except Exception as error:
        if "ncompatible devices" in str(error):  # it holds arrays or a mesh of other devices
            return TransformRow(name, True, "cannot apply: the function has devices of its own")
        worked = f" ({'; '.join(tried)} worked)" if tried else ""
        return TransformRow(name, False, in_words(f"the rule with sharded arguments{worked}", error))
    if not tried:
        return TransformRow(name, True, f"not tried: no axis can be split over {len(jax.devices())} devices or fewer")
    return TransformRow(name, True, f"{'; '.join(tried)}: {worst:.2g} units from the plain rule")


def table(scene: Scene, limit: float) -> tuple[TransformRow, ...]:
    """One row per transform. One that cannot be applied says why, and does not count against the rule."""
    step("sharded arguments")
    rows = [_over_devices(scene, limit)]
    tried = {name: partial(f, scene.call, scene.xs, scene.data, scene.g) for name, f in PLAIN.items()}
    for name, transform in tried.items():
        step(f"under {name}")
        if name == "scan" and scene.call.long and scene.call.big:
            rows.append(TransformRow(name, True, "not tried: so long a program takes minutes to compile"))
            continue
        try:
            units = scene.distance(transform())
        except CANNOT as error:
            rows.append(TransformRow(name, True, f"cannot apply: {type(error).__name__}"))
        except Exception as error:
            rows.append(TransformRow(name, False, in_words(f"the rule under {name}", error)))
        else:
            rows.append(TransformRow(name, units <= limit, f"{units:.2g} units from the plain rule"))
    step("grad of grad")
    try:
        off = _twice(scene)  # None: there is nothing finite to compare
    except CANNOT as error:
        rows.append(TransformRow("grad of grad", True, f"cannot apply: {type(error).__name__}"))
    except Exception as error:
        text = str(error)
        once = any(w in text for w in AT_ONCE)
        words = "cannot apply: the rule cannot be differentiated again" if once else in_words("grad of grad", error)
        rows.append(TransformRow("grad of grad", once, words))
    else:
        rows.append(
            TransformRow("grad of grad", not off, off or ("not judged: no number" if off is None else "agrees"))
        )
    return tuple(rows)
