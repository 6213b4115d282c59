"""The rule under JAX's transforms, each beside the plain rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.check.call import Call, value_and_pull
from jaxconv.check.judge import wide
from jaxconv.check.protocol import in_words
from jaxconv.check.report import TransformRow
from jaxconv.rounding import unit_roundoff

CANNOT = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    NotImplementedError,
)


class Scene:
    """What every transform is tried on: the call, its arguments, one cotangent, the plain gradients, their spread."""

    def __init__(self, call: Call, xs: list[Any], data: list[Any], g: list[Any], plain: list[Any], spread: list[Any]):
        self.call, self.xs, self.data, self.g, self.plain, self.spread = call, xs, data, g, plain, spread

    def rule(self, xs: Any, g: Any) -> list[Any]:
        return value_and_pull(self.call, xs, self.data, g)[1]

    def apart(self, grads: list[Any]) -> float:
        """Largest distance from the plain gradients, in units of the error model."""
        worst = 0.0
        for got, plain, spread, x in zip(grads, self.plain, self.spread, self.xs, strict=True):
            a, b = wide(got), wide(plain)
            if a.shape != b.shape:
                return np.inf
            u, tiny = unit_roundoff(x.dtype), float(jnp.finfo(x.dtype).tiny)
            typical = np.sqrt(np.mean(np.abs(b[np.isfinite(b)]) ** 2)) if np.isfinite(b).any() else 0.0
            with np.errstate(all="ignore"):
                units = np.abs(a - b) / (u * (np.abs(b) + typical + np.nan_to_num(spread, posinf=1e300)) + tiny)
            units = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isnan(units), np.inf, units))
            worst = max(worst, float(units.max()) if units.size else 0.0)
        return worst


def under_jit(s: Scene) -> list[Any]:
    return jax.jit(s.rule)(s.xs, s.g)


def under_vmap(s: Scene) -> list[Any]:
    """Two examples in a batch, the first of other numbers; the second must be as without."""
    two = lambda values: [jnp.stack([v * 0.5, v]) for v in values]  # noqa: E731
    return [g[1] for g in jax.jit(jax.vmap(s.rule))(two(s.xs), two(s.g))]


def under_remat(s: Scene) -> list[Any]:
    f = jax.checkpoint(lambda xs: s.call.outputs(xs, s.data))
    return jax.jit(lambda xs, g: jax.vjp(f, xs)[1](g)[0])(s.xs, s.g)


def under_scan(s: Scene) -> list[Any]:
    """Two steps; the gradient of the second."""

    def step(carry: Any, each: Any) -> tuple[Any, Any]:
        return carry, s.rule(*each)

    two = lambda values: [jnp.stack([v * 0.5, v]) for v in values]  # noqa: E731
    return [g[1] for g in jax.jit(lambda xs, g: lax.scan(step, 0, (xs, g))[1])(two(s.xs), two(s.g))]


def sharded(s: Scene) -> list[Any]:
    devices = jax.devices()
    mesh = jax.sharding.Mesh(np.array(devices), ("devices",))

    def place(x: Any) -> Any:
        split = x.ndim and x.shape[0] and x.shape[0] % len(devices) == 0
        spec = jax.sharding.PartitionSpec("devices") if split else jax.sharding.PartitionSpec()
        return jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))

    return jax.jit(s.rule)([place(x) for x in s.xs], s.g)


PLAIN: dict[str, Callable[[Scene], list[Any]]] = {
    "jit": under_jit,
    "vmap": under_vmap,
    "remat": under_remat,
    "scan": under_scan,
    "sharding": sharded,
}


def _twice(s: Scene) -> str:
    """Grad of grad: linear in the cotangent, so that its derivative there is the rule's own value: Euler's identity.

    ⟨∂⟨dx(x, g), v⟩/∂g, g⟩ = ⟨dx(x, g), v⟩
    """

    def product(xs: Any, g: Any) -> Any:
        return sum(jnp.sum(d * jnp.cos(jnp.arange(d.size).reshape(d.shape))).real for d in s.rule(xs, g))

    value, slopes = jax.jit(jax.value_and_grad(product, argnums=1))(s.xs, s.g)
    jax.jit(jax.grad(product)).lower(s.xs, s.g)  # with respect to the inputs it must at least be there
    # Without a contraction: a sum of real parts of products.
    parts = [wide(a) * wide(b) for a, b in zip(slopes, s.g, strict=True)]
    total = sum(float(np.sum(p.real)) for p in parts)
    size = sum(float(np.sum(np.abs(p))) for p in parts) + sum(float(np.sum(np.abs(wide(d)))) for d in s.plain)
    u = max((unit_roundoff(x.dtype) for x in s.xs), default=0.0)
    return "" if abs(total - float(value)) <= 100 * u * size else f"{total:.8g} where {float(value):.8g} is right"


def table(scene: Scene, limit: float) -> tuple[TransformRow, ...]:
    """One row per transform. One that cannot be applied says why, and does not count against the rule."""
    rows = []
    for name, transform in PLAIN.items():
        if name == "sharding" and len(jax.devices()) < 2:
            rows.append(TransformRow(name, True, "not tried: there is one device"))
            continue
        try:
            units = scene.apart(transform(scene))
        except CANNOT as error:
            rows.append(TransformRow(name, True, f"cannot apply: {type(error).__name__}"))
        except Exception as error:
            rows.append(TransformRow(name, False, in_words(f"the rule under {name}", error)))
        else:
            rows.append(TransformRow(name, units <= limit, f"{units:.2g} units from the plain rule"))
    try:
        off = _twice(scene)
    except CANNOT as error:
        rows.append(TransformRow("grad of grad", True, f"cannot apply: {type(error).__name__}"))
    except Exception as error:
        text = str(error)
        once = any(w in text for w in ("differentiation rule", "Pure callbacks", "does not support"))
        words = "cannot apply: the rule cannot be differentiated again" if once else in_words("grad of grad", error)
        rows.append(TransformRow("grad of grad", once, words))
    else:
        rows.append(TransformRow("grad of grad", not off, off or "agrees"))
    return tuple(rows)
