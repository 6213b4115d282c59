"""The geometries of JAX's own convolution tests, asked of jaxconv and of lax: value and both gradients.

The tables hold shapes and options as tests/lax_test.py and tests/lax_autodiff_test.py of JAX have them, one or two of
each of their products. All numbers are whole and small, so sums are exact in any order and `==` is the right test.

What lax takes and jaxconv does not, and how it is said:

    lhs_dilation        without window strides, `conv_input_vjp`: its stride is the dilation; with window strides,
                        `conv_transpose` with a kernel of one 1 spreads the input first (`dilated`)
    batch_group_count   `conv_weight_vjp` with groups, batch and channels exchanged
    dimension_numbers   two layouts, channels first and channels last; any other by transposing the arrays
    0 spatial axes      one axis of one position; jaxconv wants at least one
    padding             "VALID", "SAME", "SAME_LOWER" and pairs are the same
    preferred_element_type   not taken: half precision accumulates in float32 and returns its own dtype; for a
                        wider result, widen the inputs
    integer arrays      an error in jaxconv; convert to a float dtype
    out_sharding        not taken: constrain the result
    conv_general_dilated_patches   a convolution with one kernel of a single 1 for each tap
    conv_general_dilated_local     not expressible: each position has a kernel of its own
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from cases import assert_same, by_id
from jaxconv import conv, conv_input_vjp, conv_transpose, conv_weight_vjp

pytestmark = pytest.mark.unoptimised

Pairs = tuple[tuple[int, int], ...]
UNOPTIMISED = {"xla_backend_optimization_level": 0}  # compiling is all of the time
FIRST = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW"), 3: ("NCDHW", "OIDHW", "NCDHW")}
LAST = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def integers(seed: int, *shapes: tuple[int, ...], most: int = 3) -> list[Any]:
    """Small whole numbers in float32, as NumPy arrays: to make a jax array of them would compile a conversion."""
    random = np.random.default_rng(seed)
    return [random.integers(-most, most + 1, shape).astype(np.float32) for shape in shapes]


@dataclass(frozen=True)
class Case:
    """A call of lax.conv_general_dilated; the shapes are those of channels first, whatever the layout."""

    id: str
    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str | Pairs
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    feature_groups: int = 1
    batch_groups: int = 1
    layout: str = "channels_first"

    @property
    def axes(self) -> int:
        return len(self.strides)

    @property
    def spread(self) -> tuple[int, ...]:
        """Size of the dilated input."""
        return tuple((n - 1) * e + 1 for n, e in zip(self.lhs_shape[2:], self.lhs_dilation, strict=True))

    @property
    def window(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.rhs_shape[2:], self.rhs_dilation, strict=True))

    def lax(self, lhs: Array, rhs: Array) -> Array:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            self.strides,
            self.padding,
            self.lhs_dilation,
            self.rhs_dilation,
            (FIRST if self.layout == "channels_first" else LAST)[self.axes],
            self.feature_groups,
            self.batch_groups,
        )

    def arrays(self, most: int = 3) -> tuple[Array, Array, Array]:
        """lhs, rhs and a cotangent of the output, in the layout."""
        shapes = [self.lhs_shape, self.rhs_shape]
        if self.layout == "channels_last":
            (b, c, *n), (o, i, *k) = shapes
            shapes = [(b, *n, c), (*k, i, o)]
        output = jax.eval_shape(self.lax, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
        lhs, rhs, g = integers(len(self.id), *shapes, output.shape, most=most)
        return lhs, rhs, g


def case(
    id: str,
    lhs_shape: tuple[int, ...],
    rhs_shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    padding: str | Pairs = "VALID",
    lhs_dilation: tuple[int, ...] | None = None,
    rhs_dilation: tuple[int, ...] | None = None,
    **more: Any,
) -> Case:
    ones = (1,) * (len(lhs_shape) - 2)
    return Case(id, lhs_shape, rhs_shape, strides or ones, padding, lhs_dilation or ones, rhs_dilation or ones, **more)


def last(id: str, *args: Any, **more: Any) -> Case:
    return case(id, *args, **more, layout="channels_last")


def ours(case: Case) -> Callable[[Array, Array], Array]:
    """The same map in jaxconv's words."""
    if case.batch_groups > 1:
        return partial(by_weight_vjp, case)
    if all(e == 1 for e in case.lhs_dilation):
        return partial(
            conv,
            stride=case.strides,
            padding=case.padding,
            dilation=case.rhs_dilation,
            groups=case.feature_groups,
            layout=case.layout,
        )
    if all(s == 1 for s in case.strides) and case.feature_groups == 1 and not isinstance(case.padding, str):
        return partial(by_input_vjp, case)
    return partial(by_spreading, case)


def by_spreading(case: Case, lhs: Array, rhs: Array) -> Array:
    options: dict[str, Any] = {"stride": case.strides, "padding": case.padding, "dilation": case.rhs_dilation}
    lhs = dilated(lhs, case.lhs_dilation, case.layout)
    return conv(lhs, rhs, **options, groups=case.feature_groups, layout=case.layout)


def dilated(lhs: Array, dilation: tuple[int, ...], layout: str = "channels_first") -> Array:
    """dilation − 1 zeros between any two positions: each channel transposed-convolved with a kernel of one 1."""
    channels, ones = lhs.shape[1 if layout == "channels_first" else -1], (1,) * len(dilation)
    one = jnp.ones((channels, 1, *ones) if layout == "channels_first" else (*ones, 1, channels), lhs.dtype)
    return conv_transpose(lhs, one, stride=dilation, groups=channels, layout=layout)


def by_input_vjp(case: Case, lhs: Array, rhs: Array) -> Array:
    """The dilation of the input is the stride of the convolution that this is the gradient of, the kernel turned."""
    first = case.layout == "channels_first"
    space = tuple(range(2, rhs.ndim)) if first else tuple(range(case.axes))
    turned = jnp.swapaxes(jnp.flip(rhs, space), *((0, 1) if first else (-1, -2)))
    sizes = tuple(
        n + lo + hi - window + 1 for n, (lo, hi), window in zip(case.spread, case.padding, case.window, strict=True)
    )
    pads = [(window - 1 - lo, window - 1 - hi) for window, (lo, hi) in zip(case.window, case.padding, strict=True)]
    return conv_input_vjp(
        lhs,
        turned,
        input_size=sizes,
        stride=case.lhs_dilation,
        padding=pads,
        dilation=case.rhs_dilation,
        layout=case.layout,
    )


def by_weight_vjp(case: Case, lhs: Array, rhs: Array) -> Array:
    """lax's batch groups are groups of the input channels of a weight gradient, and its batch is its channels."""
    first = case.layout == "channels_first"
    if any(e > 1 for e in case.lhs_dilation):
        lhs = dilated(lhs, case.lhs_dilation, case.layout)
    # x (batch, in, *space) is lhs (in, batch, *space); g (batch, out, *space) is rhs (out, batch, *space).
    x = jnp.swapaxes(lhs, 0, 1 if first else -1)
    g = jnp.swapaxes(rhs, 0, 1) if first else jnp.moveaxis(rhs, -2, 0)
    # The kernel's size is lax's output size, its dilation the window stride, its stride the dilation of rhs.
    assert not isinstance(case.padding, str)
    axes = list(zip(case.spread, case.window, case.strides, case.padding, strict=True))
    kernel = tuple((n + lo + hi - window) // s + 1 for n, window, s, (lo, hi) in axes)
    # Behind, as much as lets that kernel fit the wanted number of times.
    pads = [(lo, s * (k - 1) + window - n - lo) for (n, window, s, (lo, _)), k in zip(axes, kernel, strict=True)]
    dw = conv_weight_vjp(
        x,
        g,
        kernel_size=kernel,
        stride=case.rhs_dilation,
        padding=pads,
        dilation=case.strides,
        groups=case.batch_groups,
        layout=case.layout,
    )  # (out, in/groups, *kernel) or (*kernel, in/groups, out), which lax calls (features, batch) the other way round
    return jnp.swapaxes(dw, 0, 1) if first else jnp.moveaxis(dw, -2, 0)


def assert_agree(first: Callable[..., Array], second: Callable[..., Array], lhs: Array, rhs: Array, g: Array) -> None:
    """Value and both gradients of the two, compiled together, to the last bit."""

    def all_three(f: Callable[..., Array], lhs: Array, rhs: Array, g: Array) -> tuple[Array, ...]:
        value, pull_back = jax.vjp(f, lhs, rhs)
        return value, *pull_back(g)

    def both(*args: Array) -> tuple[tuple[Array, ...], ...]:
        return all_three(first, *args), all_three(second, *args)

    results = jax.jit(both, compiler_options=UNOPTIMISED)(lhs, rhs, g)
    assert_same(*results)
    assert results[0][0].shape == g.shape


# ------------------------------------------------------------------------------------------------- the geometries

GENERAL: Pairs = ((1, 2), (2, 0))  # of testConvGeneralDilated
WIDE: Pairs = ((10, 8), (7, 13))
NONE: Pairs = ((0, 0), (0, 0))
CUT: Pairs = ((-3, -3), (0, 0))
ONE_SIDE: Pairs = ((1, 0), (0, 1))  # of testConvGeneralDilatedGrad

CASES = (
    # testConv, testConvAgainstNumpy: (b, i, 9, 10) with (j, i, 4, 5), strides, VALID and SAME
    case("conv-valid-2-1", (2, 2, 9, 10), (3, 2, 4, 5), (2, 1)),
    case("conv-same", (2, 3, 9, 10), (2, 3, 4, 5), None, "SAME"),
    case("conv-same-1-2", (3, 3, 9, 10), (3, 3, 4, 5), (1, 2), "SAME"),
    case("conv-same-lower", (2, 3, 9, 10), (2, 3, 4, 5), (2, 1), "SAME_LOWER"),
    # testConvPreferredElement: its shapes
    case("conv-one-output", (1, 3, 4, 5), (2, 3, 4, 5)),
    # testConvWithGeneralPadding: ((1, 2), (2, 0)), both dilations (1, 1), (1, 2), (2, 2)
    case("padded-strided", (2, 1, 9, 10), (1, 1, 4, 5), (2, 1), GENERAL),
    case("padded-kernel-dilated", (2, 3, 9, 10), (2, 3, 4, 5), (1, 2), GENERAL, None, (2, 2)),
    case("input-dilated", (2, 3, 9, 10), (2, 3, 4, 5), None, ((0, 0), (0, 0)), (2, 2)),
    case("padded-input-dilated", (1, 3, 9, 10), (3, 3, 4, 5), None, GENERAL, (1, 2)),
    case("padded-both-dilated", (3, 2, 9, 10), (1, 2, 4, 5), None, GENERAL, (2, 2), (1, 2)),
    case("padded-both-dilated-strided", (2, 2, 9, 10), (3, 2, 4, 5), (1, 2), GENERAL, (2, 2), (2, 2)),
    # testConvGeneralDilated: both groups, both layouts, paddings wider than the window, dilations up to (1, 4)
    last("general", (2, 3, 9, 10), (3, 3, 4, 5), (2, 1), GENERAL, None, (1, 2)),
    case("general-wide", (2, 2, 9, 10), (3, 2, 4, 5), (2, 1), WIDE),
    case("general-wide-input-dilated", (2, 2, 9, 10), (3, 2, 4, 5), None, WIDE, (1, 4)),
    last("general-wide-both-dilated-strided", (2, 2, 9, 10), (3, 2, 4, 5), (2, 1), WIDE, (1, 4), (1, 2)),
    case("general-groups", (2, 4, 9, 10), (6, 2, 4, 5), None, GENERAL, feature_groups=2),
    last("general-groups-dilated", (3, 6, 9, 10), (4, 3, 4, 5), (2, 1), GENERAL, None, (1, 2), feature_groups=2),
    case("general-groups-wide", (2, 4, 9, 10), (4, 2, 4, 5), (2, 1), WIDE, None, (1, 4), feature_groups=2),
    last("general-groups-input-dilated", (2, 4, 9, 10), (6, 2, 4, 5), (2, 1), GENERAL, (1, 2), feature_groups=2),
    case("general-batch-groups", (4, 2, 9, 10), (6, 2, 4, 5), None, GENERAL, batch_groups=2),
    last("general-batch-groups-strided", (6, 3, 9, 10), (4, 3, 4, 5), (2, 1), GENERAL, batch_groups=2),
    case("general-batch-groups-dilated", (4, 3, 9, 10), (4, 3, 4, 5), (2, 1), WIDE, None, (1, 4), batch_groups=2),
    last("general-batch-groups-all", (4, 2, 9, 10), (6, 2, 4, 5), (2, 1), GENERAL, (1, 2), (1, 2), batch_groups=2),
    # testConvGrad: (b, i, 3, 4) with (j, i, 1, 2), and one position
    case("grad", (2, 3, 3, 4), (3, 3, 1, 2), (1, 2)),
    case("grad-same", (3, 2, 3, 4), (2, 2, 1, 2), (2, 1), "SAME"),
    case("grad-one-position-same", (4, 2, 1), (3, 2, 1), None, "SAME"),
    # testConvWithGeneralPaddingGrad: negative padding, and dilation of one position and of one tap
    case("grad-negative", (2, 2, 3, 4), (3, 2, 1, 2), None, ((-1, 0), (0, -1))),
    case("grad-negative-strided", (3, 3, 3, 4), (2, 3, 1, 2), (1, 2), ((-1, 0), (0, -1))),
    case("grad-negative-input-dilated", (2, 3, 3, 4), (3, 3, 1, 2), None, ((-1, 0), (0, -1)), (2, 1)),
    case("grad-negative-input-dilated-strided", (3, 2, 3, 4), (2, 2, 1, 2), (2, 1), ((-1, 0), (0, -1)), (2, 1)),
    case("grad-one-side", (2, 2, 3, 4), (2, 2, 1, 2), (2, 1), ONE_SIDE, (2, 1)),
    case("grad-one-position-all-dilated", (4, 2, 1), (3, 2, 1), None, ((1, 1),), (2,), (2,)),
    # testConvGeneralDilatedGrad: (b, i, 6, 7) with (j, i, 1, 2), (0, −1) padding, groups of both kinds
    case("general-grad-negative", (1, 2, 6, 7), (2, 2, 1, 2), (2, 1), ((0, -1), (0, 0)), None, (2, 2)),
    last("general-grad-negative-input-dilated", (2, 1, 6, 7), (1, 1, 1, 2), None, ((0, -1), (0, 0)), (2, 1), (2, 2)),
    case("general-grad-all", (2, 2, 6, 7), (1, 2, 1, 2), (2, 1), ONE_SIDE, (2, 1), (2, 2)),
    case("general-grad-groups", (2, 4, 6, 7), (4, 2, 1, 2), (1, 2), ((0, -1), (0, 0)), feature_groups=2),
    last("general-grad-groups-all", (1, 2, 6, 7), (4, 1, 1, 2), (2, 1), ONE_SIDE, (2, 1), (2, 2), feature_groups=2),
    case("general-grad-batch-groups", (4, 2, 6, 7), (2, 2, 1, 2), (1, 2), ((0, -1), (0, 0)), batch_groups=2),
    last("general-grad-batch-groups-all", (2, 1, 6, 7), (4, 1, 1, 2), (2, 1), ONE_SIDE, (2, 1), (2, 2), batch_groups=2),
    # beyond their tables: three spatial axes, depthwise of both kinds
    case("3d", (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), (1, 2, 1), ((1, 0), (-1, 2), (0, 1)), None, (2, 1, 1)),
    last("3d-input-dilated", (2, 2, 3, 4, 3), (3, 2, 2, 3, 2), None, ((1, 0), (2, 2), (0, 1)), (2, 1, 3)),
    case("depthwise", (2, 5, 9), (10, 1, 3), (2,), "SAME", feature_groups=5),
    case("batch-groups-of-one", (5, 3, 9), (5, 3, 3), (2,), ((1, 1),), batch_groups=5),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", **by_id(CASES))
def test_value_and_both_gradients(case: Case) -> None:
    assert_agree(ours(case), case.lax, *case.arrays())


def test_the_table_is_whole() -> None:
    """Each of the four ways of saying it is used, and no case is there twice."""
    assert len({case.id for case in CASES}) == len(CASES)
    ways = [f.func for f in map(ours, CASES)]  # type: ignore[attr-defined]
    assert all(ways.count(way) >= 5 for way in (conv, by_input_vjp, by_spreading, by_weight_vjp))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64, jnp.float64], ids=lambda d: d.__name__)
def test_dtypes(dtype: Any) -> None:
    """grad_inexact_dtypes of lax_autodiff_test. All sums stay below 2⁸, so bfloat16 holds them too."""
    small = case("dtypes", (2, 4, 3, 4), (4, 2, 1, 2), (1, 2), ONE_SIDE, feature_groups=2)
    with jax.enable_x64(dtype == jnp.float64):
        lhs, rhs, g = (
            (a * (1 + 2j if jnp.issubdtype(dtype, jnp.complexfloating) else 1)).astype(dtype)
            for a in small.arrays(most=1)
        )
        assert_agree(ours(small), small.lax, lhs, rhs, g)


# ----------------------------------------------------------------------------- dimension numbers, patches, 0 axes


@pytest.mark.parametrize(
    ("numbers", "lhs_shape", "rhs_shape"),
    [
        (("NHWC", "OIHW", "NCHW"), (2, 6, 7, 4), (3, 4, 2, 3)),  # testConvGeneralDilatedGrad
        (("NCHW", "HWIO", "NHWC"), (2, 4, 6, 7), (2, 3, 4, 3)),  # testConvGeneralDilated
        (("CWHN", "HOWI", "NCHW"), (4, 7, 6, 2), (2, 3, 3, 4)),  # testConvGeneralDilatedPatchesNonOverlapping
        (("CNH", "OHI", "HNC"), (4, 2, 7), (3, 2, 4)),
    ],
    ids=str,
)
def test_any_dimension_numbers_by_transposing(
    numbers: tuple[str, str, str], lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]
) -> None:
    axes = len(lhs_shape) - 2
    strides, padding = (1, 2)[:axes], GENERAL[:axes]
    of_lhs, of_rhs, of_out = FIRST[axes]

    def by_transposing(lhs: Array, rhs: Array) -> Array:
        lhs = jnp.transpose(lhs, [numbers[0].index(letter) for letter in of_lhs])
        rhs = jnp.transpose(rhs, [numbers[1].index(letter) for letter in of_rhs])
        y = conv(lhs, rhs, stride=strides, padding=padding)
        return jnp.transpose(y, [of_out.index(letter) for letter in numbers[2]])

    def by_lax(lhs: Array, rhs: Array) -> Array:
        return lax.conv_general_dilated(lhs, rhs, strides, padding, dimension_numbers=numbers)

    lhs, rhs = integers(0, lhs_shape, rhs_shape)
    (g,) = integers(1, jax.eval_shape(by_lax, lhs, rhs).shape)
    assert_agree(by_transposing, by_lax, lhs, rhs, g)


@pytest.mark.parametrize(
    ("lhs_shape", "filter_shape", "strides", "padding"),
    [
        ((3, 1, 4, 5), (1, 3), (1, 3), ((3, 1), (2, 2))),
        ((3, 2, 5, 6), (4, 3), (4, 3), ((5, 2), (2, 4))),
        ((2, 3, 4), (2,), (2,), ((0, 2),)),
    ],
    ids=str,
)
def test_patches_are_a_convolution(
    lhs_shape: tuple[int, ...], filter_shape: tuple[int, ...], strides: tuple[int, ...], padding: Pairs
) -> None:
    """testConvGeneralDilatedPatchesNonOverlapping: one kernel with a single 1 for each channel and tap."""
    channels, taps = lhs_shape[1], math.prod(filter_shape)
    picks = np.tile(
        np.eye(taps, dtype=np.float32).reshape(taps, 1, *filter_shape), (channels, *(1,) * (len(lhs_shape) - 1))
    )

    def both(lhs: Array) -> tuple[Array, Array]:
        patches = conv(lhs, picks, stride=strides, padding=padding, groups=channels)
        return patches, lax.conv_general_dilated_patches(lhs, filter_shape, strides, padding)

    assert_same(*jax.jit(both, compiler_options=UNOPTIMISED)(*integers(0, lhs_shape)))


def test_no_spatial_axis_is_one_of_one_position() -> None:
    """testConvGeneralDilated0D, testConv0DIsDot, testGradConv0D."""
    lhs, rhs, g = integers(0, (2, 5), (10, 5), (2, 10))

    def dot(lhs: Array, rhs: Array) -> Array:
        return conv(lhs[..., None], rhs[..., None])[..., 0]

    def by_lax(lhs: Array, rhs: Array) -> Array:
        return lax.conv_general_dilated(lhs, rhs, (), (), dimension_numbers=("NC", "OI", "NC"))

    assert_agree(dot, by_lax, lhs, rhs, g)
    with pytest.raises(ValueError, match=r"conv: `w\.shape` must have at least one spatial axis"):
        conv(lhs, rhs)


# ------------------------------------------------------------------------------------------- lax.conv_transpose


@dataclass(frozen=True)
class Transposed:
    """A call of lax.conv_transpose, channels last as its tests have it; rhs as of the convolution transposed.

    With turned, rhs goes to lax as transpose_kernel=False wants it: turned round, its channels exchanged.
    """

    id: str
    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str | Pairs
    rhs_dilation: tuple[int, ...] | None = None
    turned: bool = False

    def lax(self, lhs: Array, rhs: Array) -> Array:
        if self.turned:
            rhs = jnp.swapaxes(jnp.flip(rhs, tuple(range(len(self.strides)))), -1, -2)
        return lax.conv_transpose(
            lhs,
            rhs,
            self.strides,
            self.padding,
            self.rhs_dilation,
            LAST[len(self.strides)],
            transpose_kernel=not self.turned,
            use_consistent_padding=True,
        )

    def ours(self, lhs: Array, rhs: Array) -> Array:
        """lax makes the output s·m at least where the window is shorter than the stride: the output_padding says it."""
        dilation = self.rhs_dilation or (1,) * len(self.strides)
        windows = [d * (k - 1) + 1 for k, d in zip(self.rhs_shape, dilation, strict=False)]
        extra = [max(s - window, 0) for s, window in zip(self.strides, windows, strict=False)]
        return conv_transpose(
            lhs,
            rhs,
            stride=self.strides,
            padding=self.padding,
            output_padding=0 if self.padding == "SAME" else extra,
            dilation=dilation,
            layout="channels_last",
        )


TRANSPOSED = (
    # testConvTranspose2DT and testConvTranspose2D: strides to (3, 3), kernels of 3, 4, 5, paddings 0 to 2
    Transposed("valid", (2, 9, 10, 3), (3, 3, 2, 3), (1, 1), "VALID"),
    Transposed("valid-strided", (2, 9, 10, 2), (4, 4, 3, 2), (2, 1), "VALID", turned=True),
    Transposed("valid-dilated", (3, 9, 10, 2), (3, 3, 2, 2), (3, 3), "VALID", (2, 2)),
    Transposed("same", (2, 9, 10, 3), (5, 5, 2, 3), (2, 2), "SAME"),
    Transposed("same-even", (2, 9, 10, 2), (4, 4, 3, 2), (1, 2), "SAME"),
    Transposed("same-odd-total-dilated", (2, 9, 10, 2), (4, 4, 3, 2), (3, 3), "SAME", (2, 2)),
    Transposed("padded", (2, 9, 10, 3), (4, 4, 2, 3), (2, 2), ((0, 1), (2, 1))),
    Transposed("padded-dilated", (3, 9, 10, 2), (3, 3, 3, 2), (3, 3), ((2, 0), (1, 2)), (2, 2), turned=True),
    # testConvTranspose1D; then windows shorter than the stride, which _conv_transpose_via_grad allows for
    Transposed("1d-valid", (2, 10, 3), (3, 2, 3), (3,), "VALID", turned=True),
    Transposed("1d-same", (3, 10, 2), (4, 3, 2), (2,), "SAME", (2,)),
    Transposed("1d-same-short", (2, 10, 3), (2, 2, 3), (3,), "SAME"),
    Transposed("1d-same-shorter", (2, 10, 3), (1, 2, 3), (4,), "SAME"),
    Transposed("1d-valid-short", (2, 10, 3), (2, 2, 3), (4,), "VALID"),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", **by_id(TRANSPOSED))
def test_conv_transpose(case: Transposed) -> None:
    lhs, rhs = integers(0, case.lhs_shape, case.rhs_shape)
    (g,) = integers(1, jax.eval_shape(case.lax, lhs, rhs).shape)
    assert_agree(case.ours, case.lax, lhs, rhs, g)


# ------------------------------------------------------------------- nothing to compute: one size is fine, others not


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_batch_of_0_is_laxs(layout: str) -> None:
    """Empty value and dx, and a dw of zeros."""
    empty = case("empty", (0, 4, 9, 10), (6, 2, 4, 5), (2, 1), GENERAL, feature_groups=2, layout=layout)
    lhs, rhs, g = empty.arrays()
    assert g.size == 0
    assert_agree(ours(empty), empty.lax, lhs, rhs, g)
    spread = case("empty-spread", (0, 3, 9, 10), (2, 3, 4, 5), None, GENERAL, (2, 2), layout=layout)
    assert_agree(ours(spread), spread.lax, *spread.arrays())


NOTHING = {
    # lhs, rhs, padding, the shape that lax returns, the rule that ours names
    "testConvGeneralDilated-width-0": ((2, 3, 9, 0), (3, 3, 4, 5), GENERAL, (2, 3, 9, 0), "size 0 on batch axes"),
    "testConvGeneralDilated-width-0-wide": ((2, 3, 9, 0), (3, 3, 4, 5), WIDE, (2, 3, 24, 16), "size 0 on batch axes"),
    "testConvGeneralDilatedGrad-height-0": ((2, 3, 0, 4), (2, 3, 1, 2), NONE, (2, 2, 0, 3), "size 0 on batch axes"),
    "no-input-channel": ((2, 0, 9, 10), (3, 0, 4, 5), GENERAL, (2, 3, 9, 8), "must have no axis of size 0"),
    "no-output-channel": ((2, 3, 9, 10), (0, 3, 4, 5), GENERAL, (2, 0, 9, 8), "must have no axis of size 0"),
    "window-wider": ((2, 3, 3, 10), (3, 3, 4, 5), NONE, (2, 3, 0, 6), "must fit into the padded input"),
    "window-wider-than-what-is-left": ((2, 3, 9, 10), (3, 3, 4, 5), CUT, (2, 3, 0, 6), "must fit into the padded"),
}


@pytest.mark.parametrize(("lhs_shape", "rhs_shape", "padding", "of_lax", "rule"), NOTHING.values(), ids=NOTHING.keys())
def test_what_lax_lets_through_in_silence_is_an_error(
    lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...], padding: Pairs, of_lax: tuple[int, ...], rule: str
) -> None:
    """lax returns an empty array, or one of zeros where padding alone fills the windows."""
    lhs, rhs = np.zeros(lhs_shape, np.float32), np.zeros(rhs_shape, np.float32)
    result = lax.conv_general_dilated(lhs, rhs, (1, 1), padding)
    assert result.shape == of_lax
    assert not np.any(result)
    with pytest.raises(ValueError, match=rule):
        conv(lhs, rhs, padding=padding)


def test_an_integer_image_is_an_error() -> None:
    """all_dtypes of lax_test holds integers and bools; jaxconv says how to convert."""
    x, w = np.ones((1, 1, 4), np.int32), np.ones((1, 1, 2), np.int32)
    assert lax.conv_general_dilated(x, w, (1,), "VALID").dtype == x.dtype
    with pytest.raises(TypeError, match=r"convert with x\.astype\('float32'\)"):
        conv(x, w)
