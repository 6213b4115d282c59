"""NaN and infinity reach the results whose sums have them, and no other: the pattern is the loops'.

Asked of the factor that windows slide over: x for y and dw, g for dx. A NaN in the other factor also meets the zeros
that stand in the padding, in every library: 0 · NaN is NaN.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oracles
from cases import LOWERINGS
from drawn import convolutions
from jaxconv import conv, conv_input_vjp, conv_weight_vjp, output_shape
from jaxconv.algorithms import canonical, direct, gemm, patches, planes, taps
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised

MAPS = {"conv": ("x", "w"), "conv_input_vjp": ("g", "w"), "conv_weight_vjp": ("x", "g")}


def kind(array: Any) -> np.ndarray:
    """0 for a finite element, ±1 for ±∞ and 2 for NaN."""
    array = np.asarray(array)
    return np.where(np.isnan(array), 2, np.where(np.isinf(array), np.sign(array), 0))


def right(which: str, a: Any, b: Any, sizes: dict[str, Any], options: dict[str, Any]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return kind(getattr(oracles, which)(a, b, **sizes, **options))


def unread(x_shape: tuple, w_shape: tuple, options: dict[str, Any]) -> list[tuple[int, ...]]:
    """Positions of space that no window reads."""
    last = options["layout"] == "channels_last"
    n, k = (x_shape[1:-1], w_shape[:-2]) if last else (x_shape[2:], w_shape[2:])
    windows = oracles.Windows.of(n, k, options["stride"], options["padding"], options["dilation"])
    return sorted(set(np.ndindex(*n)) - {j for _, _, j in windows.meetings()})


@given(
    convolutions(),
    st.sampled_from(list(MAPS)),
    st.sampled_from(LOWERINGS),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_pattern_is_that_of_the_loops(
    drawn: tuple, which: str, lowering: str, value: float, in_unread: bool, seed: int
) -> None:
    x_shape, w_shape, options = drawn
    last = options["layout"] == "channels_last"
    shapes = {"x": x_shape, "w": w_shape, "g": output_shape(x_shape, w_shape, **options)}
    random = np.random.default_rng(seed)
    a, b = (random.normal(size=shapes[name]).astype(np.float32) for name in MAPS[which])
    if in_unread and MAPS[which][0] == "x":
        for position in unread(x_shape, w_shape, options):
            a[(slice(None), *position) if last else (slice(None), slice(None), *position)] = value
    else:
        assume(a.size > 0)
        a.reshape(-1)[random.integers(a.size)] = value
    sizes: dict[str, Any] = {}
    if which == "conv_input_vjp":
        sizes = {"input_size": x_shape[1:-1] if last else x_shape[2:]}
    elif which == "conv_weight_vjp":
        sizes = {"kernel_size": w_shape[:-2] if last else w_shape[2:]}
    f = {"conv": conv, "conv_input_vjp": conv_input_vjp, "conv_weight_vjp": conv_weight_vjp}[which]
    found = kind(f(jnp.asarray(a), jnp.asarray(b), **sizes, **options, lowering=lowering))
    np.testing.assert_array_equal(found, right(which, a, b, sizes, options))


FIRST, LAST = "channels_first", "channels_last"
OVERLAPPING = {"kernel_size": (3, 3), "stride": (2, 2), "padding": ((0, 1), (1, 0)), "dilation": (1, 1)}
PATCHES = {"kernel_size": (2, 2), "stride": (3, 2), "padding": ((0, 0), (1, 0)), "dilation": (1, 1)}
DILATED = {"kernel_size": (3, 2), "stride": (1, 1), "padding": ((-1, 0), (0, 2)), "dilation": (2, 1)}
CUBE = {"kernel_size": (3, 2, 2), "stride": (2, 1, 1), "padding": ((0, 1), (0, 0), (0, 0)), "dilation": (1, 1, 1)}
FORMS = [
    *((form, which, how, layout, 1) for form in (canonical, gemm) for which in MAPS for how in (OVERLAPPING, DILATED)
      for layout in (FIRST, LAST)),
    *((planes, which, CUBE, layout, 1) for which in MAPS for layout in (FIRST, LAST)),
    *((patches, which, PATCHES, LAST, 1) for which in MAPS),
    *((direct, which, OVERLAPPING, layout, 4) for which in ("conv", "conv_input_vjp") for layout in (FIRST, LAST)),
    *((direct, "conv_weight_vjp", how, layout, 4) for how in (OVERLAPPING, DILATED) for layout in (FIRST, LAST)),
    *((taps, "conv_weight_vjp", how, LAST, 1) for how in (OVERLAPPING, DILATED)),
]  # fmt: skip


@pytest.mark.short("how(1|6|8|12|15|19|20|28|31|32|33|36|37|39|42|43)-")
@pytest.mark.parametrize(
    ("form", "which", "how", "layout", "groups"), FORMS, ids=lambda v: getattr(v, "__name__", None)
)
def test_every_form(form: ModuleType, which: str, how: dict[str, Any], layout: str, groups: int) -> None:
    """Element by element along the factor that windows slide over."""
    axes = len(how["kernel_size"])
    n = (7, 6, 5)[:axes]
    geometry = Geometry(n, groups=groups, layout=layout, **how)  # type: ignore[arg-type]
    channels, filters = (4, 3) if groups == 1 else (groups, groups)
    array = lambda c, space: (2, c, *space) if layout == FIRST else (2, *space, c)  # noqa: E731
    k = geometry.kernel_size
    shapes = {
        "x": array(channels, n),
        "g": array(filters, geometry.output_size),
        "w": (filters, channels // groups, *k) if layout == FIRST else (*k, channels // groups, filters),
    }
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shapes[name]).astype(np.float32) for name in MAPS[which])
    sizes = {"conv_input_vjp": {"input_size": n}, "conv_weight_vjp": {"kernel_size": k}}.get(which, {})
    options = {**{name: how[name] for name in ("stride", "padding", "dilation")}, "groups": groups, "layout": layout}
    made = jax.jit(lambda a, b: getattr(form, which)(a, b, geometry))
    for i in range(0, a.size, 5):
        at = a.copy()
        at.reshape(-1)[i] = (np.nan, np.inf, -np.inf)[i % 3]
        np.testing.assert_array_equal(kind(made(at, b)), right(which, at, b, sizes, options), f"element {i}")


def test_a_row_that_no_window_reads() -> None:
    x = jnp.ones((2, 64, 30, 30)).at[:, :, 29].set(jnp.nan)
    y, pull_back = jax.vjp(lambda w: conv(x, w, stride=2), jnp.ones((64, 64, 3, 3)))
    (dw,) = pull_back(jnp.ones_like(y))
    assert (dw == 2 * 14 * 14).all()


def test_a_column_that_is_cut_off() -> None:
    x = jnp.ones((1, 4, 3)).at[:, :, 0].set(jnp.nan)
    y, pull_back = jax.vjp(lambda w: conv(x, w, padding=[(-1, 0)], groups=2), jnp.ones((2, 2, 2)))
    (dw,) = pull_back(jnp.ones_like(y))
    assert (dw == 1).all()
