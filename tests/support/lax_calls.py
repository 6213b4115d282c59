"""Calls of `lax.conv_general_dilated` drawn at random, and what each must give, in float64 from the sum itself.

    T(lhs, rhs, g) = Σ g[b,o,j] · lhs[b,i,p] · rhs[o,i,q]      over λ·p = σ·j + δ·q − lo on every axis

as one `np.einsum` whose operands say, for each axis, which p, q and j meet, and for the channels, which groups do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.accuracy.error_model import C, units

SPACE = "HWD"


@dataclass(frozen=True)
class LaxCall:
    """One call: shapes of the operands, and the other arguments as lax's caller gives them."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    how: dict[str, Any]
    dtype: str = "float32"

    @cached_property
    def params(self) -> dict[str, Any]:
        """As the primitive has them."""
        shapes = (jax.ShapeDtypeStruct(shape, self.dtype) for shape in (self.lhs, self.rhs))
        (equation,) = jax.make_jaxpr(lambda a, b: lax.conv_general_dilated(a, b, **self.how))(*shapes).eqns
        return {**equation.params, "out": equation.outvars[0].aval}

    @property
    def out(self) -> tuple[int, ...]:
        return self.params["out"].shape

    @property
    def opposite_paddings(self) -> bool:
        """Whether XLA of JAX 0.10 may err."""
        return any(lo < 0 < hi or hi < 0 < lo for lo, hi in self.params["padding"])


def drawn(seed: int, dtype: str | None = None) -> LaxCall:
    """A call whose every argument is drawn; at least one window fits on every axis."""
    random = np.random.default_rng(seed)
    axes = int(random.integers(1, 4 if seed % 5 == 0 else 3))
    least, most = (1, 7) if axes < 3 else (1, 4)
    n, k = random.integers(least, most + 1, axes), random.integers(1, 5 if axes < 3 else 3, axes)
    one = lambda p, top: np.where(random.random(axes) < p, random.integers(1, top + 1, axes), 1)  # noqa: E731
    strides, lhs_dilation, rhs_dilation = one(0.5, 3), one(0.3, 3), one(0.4, 3)
    if random.random() < 0.7:  # what people and gradients call
        (lhs_dilation if random.random() < 0.7 else strides)[:] = 1
    if random.random() < 0.2:  # g as the kernel of a dw
        n, k = k + n, n
    padding: Any = []
    for n_, k_, dilation, d in zip(n, k, lhs_dilation, rhs_dilation, strict=True):
        wide, window = dilation * (n_ - 1) + 1, d * (k_ - 1) + 1
        lo = int(random.integers(-1, 4))
        least = max(window - wide - lo, -2)
        padding.append((lo, int(random.integers(least, max(least, 4) + 1))))
    if random.random() < 0.15 and (lhs_dilation == 1).all():
        padding = str(random.choice(["SAME", "SAME_LOWER", "VALID"]))
        if padding == "VALID":
            n = np.maximum(n, rhs_dilation * (k - 1) + 1)
    groups = [(1, 1), (1, 1), (int(random.integers(2, 4)), 1), (1, int(random.integers(2, 4)))][random.integers(0, 4)]
    batch, channels, filters = random.integers(1, 4, 3)
    sizes = {
        "lhs": {"N": batch * groups[1], "C": channels * groups[0], **dict(zip(SPACE, n, strict=False))},
        "rhs": {"O": filters * max(groups), "I": channels, **dict(zip(SPACE, k, strict=False))},
    }
    specs = ["".join(random.permutation(list(letters + SPACE[:axes]))) for letters in ("NC", "OI", "NC")]
    usual = random.random()
    if usual < 0.3:
        specs = [f"N{SPACE[:axes]}C", f"{SPACE[:axes]}IO", f"N{SPACE[:axes]}C"]
    elif usual < 0.5:
        specs = [f"NC{SPACE[:axes]}", f"OI{SPACE[:axes]}", f"NC{SPACE[:axes]}"]
    order = [SPACE.index(letter) for letter in specs[1] if letter in SPACE]  # lax counts space as rhs does
    strides, lhs_dilation, rhs_dilation = (each[order] for each in (strides, lhs_dilation, rhs_dilation))
    padding = padding if isinstance(padding, str) else [padding[axis] for axis in order]
    lhs, rhs = (tuple(int(sizes[name][c]) for c in spec) for name, spec in zip(("lhs", "rhs"), specs, strict=False))
    numbers: Any = tuple(specs)
    if random.random() < 0.3:
        numbers = lax.conv_dimension_numbers(lhs, rhs, numbers)
    if numbers == (f"NC{SPACE[:axes]}", f"OI{SPACE[:axes]}", f"NC{SPACE[:axes]}") and random.random() < 0.5:
        numbers = None
    kinds = ["float32"] * 5 + ["bfloat16", "float16", "float64", "complex64"]
    dtype = dtype or str(random.choice(kinds))
    preferred = [None, None, dtype, "float32" if dtype in ("bfloat16", "float16") else dtype][random.integers(0, 4)]
    how: dict[str, Any] = {
        "window_strides": tuple(map(int, strides)),
        "padding": padding,
        "lhs_dilation": None if (lhs_dilation == 1).all() else tuple(map(int, lhs_dilation)),
        "rhs_dilation": None if (rhs_dilation == 1).all() else list(map(int, rhs_dilation)),
        "dimension_numbers": numbers,
        "feature_group_count": groups[0],
        "batch_group_count": groups[1],
        "precision": [None, "highest", lax.Precision.HIGHEST, ("float32", "highest")][random.integers(0, 4)],
        "preferred_element_type": preferred,
    }
    return LaxCall(lhs, rhs, how, dtype)


# ------------------------------------------------------------------------------------------------- what is right


class Contraction:
    """T of a call: any one of the three arrays from the other two, exact, with Σ terms² and the length of a sum."""

    def __init__(self, call: LaxCall) -> None:
        how = call.params
        self.specs = tuple(map(tuple, how["dimension_numbers"]))
        self.shapes = call.lhs, call.rhs, call.out
        sizes = [[shape[a] for a in spec[2:]] for shape, spec in zip(self.shapes, self.specs, strict=True)]
        self.meet = [
            np.array([[[t * p == s * j + d * q - lo for j in range(m)] for q in range(k)] for p in range(n)], float)
            for n, k, m, t, d, s, (lo, _) in zip(
                *sizes, how["lhs_dilation"], how["rhs_dilation"], how["window_strides"], how["padding"], strict=True
            )
        ]
        batches, features = self.shapes[0][self.specs[0][0]], self.shapes[0][self.specs[0][1]]
        batch, channels = self.shapes[2][self.specs[2][0]], self.shapes[1][self.specs[1][1]]
        filters = self.shapes[1][self.specs[1][0]]
        per_group = filters * batch // batches if how["batch_group_count"] > 1 else filters * channels // features
        group = np.arange(filters) // max(per_group, 1)
        # lhs (B, F), rhs (O, I), out (b, O): which B is which b of which group, and which F which I
        self.batch = np.zeros((batches, batch, filters))
        self.channel = np.zeros((features, channels, filters))
        for o in range(filters):
            by_batch = how["batch_group_count"] > 1
            for b in range(batch):
                self.batch[(group[o] * batch if by_batch else 0) + b, b, o] = 1
            for i in range(channels):
                self.channel[(0 if by_batch else group[o] * channels) + i, i, o] = 1

    def of(self, made: int, *factors: np.ndarray) -> np.ndarray:
        """Array number `made` of (lhs, rhs, out) from the two others, in that order, as it lies."""
        axes = len(self.meet)
        letters = ["BF" + "xyz"[:axes], "oi" + "uvw"[:axes], "bo" + "rst"[:axes]]
        meet = ["xyz"[a] + "uvw"[a] + "rst"[a] for a in range(axes)]
        others = [k for k in range(3) if k != made]
        operands = [np.transpose(f, self.specs[k]) for k, f in zip(others, factors, strict=True)]
        path = ",".join([*(letters[k] for k in others), "Bbo", "Fio", *meet]) + "->" + letters[made]
        result = np.einsum(path, *operands, self.batch, self.channel, *self.meet, optimize="greedy")
        return np.transpose(result, np.argsort(self.specs[made]))

    def judged(self, computed: Any, made: int, *factors: np.ndarray, dtype: Any = None, steps: int = 1) -> float:
        """The largest distance of what was computed, in units of the error model; at most `C` is right."""
        length = max(int(self.of(made, *(np.ones(f.shape) for f in factors)).max(initial=0)), 1)
        exact, squares = self.of(made, *factors), self.of(made, *(np.abs(f) ** 2 for f in factors))
        return float(units(computed, exact, squares, length, dtype or computed.dtype).max(initial=0.0)) / steps


def numbers(call: LaxCall, *shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """Random arrays that the call's dtype holds exactly, in float64 or complex128."""
    random = np.random.default_rng(seed)
    wide = []
    for shape in shapes:
        array = random.standard_normal(shape)
        if call.dtype.startswith("complex"):
            array = array + 1j * random.standard_normal(shape)
        wide.append(np.asarray(jnp.asarray(array, call.dtype)).astype(np.result_type(array)))
    return wide


__all__ = ["C", "Contraction", "LaxCall", "drawn", "numbers"]
