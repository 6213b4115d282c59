"""Every form computes the three maps to the last bit, whatever its sizes of steps; what a program holds of them."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from cases import CASES, FEW, assert_same, by_id, integers
from jaxconv import conv
from jaxconv._jax import loops
from jaxconv.algorithms import canonical, direct, direct_dw, gemm, layout, patches, planes, taps
from jaxconv.algorithms.problem import Problem
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised

WEIGHTS, INPUTS, VALUE = "conv_weight_vjp", "conv_input_vjp", "conv"


def in_layout(layout, x, w, *gs):
    """Arrays and a kernel with channels first, in that layout; moved by NumPy, which compiles nothing."""
    if layout == "channels_first":
        return x, w, *gs
    x, w, *gs = map(np.asarray, (x, w, *gs))
    moved = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2)), *(np.moveaxis(g, 1, -1) for g in gs)
    return tuple(map(jax.device_put, moved))


def by_loops(which, geometry, a, b):
    """What is right, rounded once."""
    options = {name: getattr(geometry, name) for name in ("stride", "padding", "dilation", "groups", "layout")}
    sizes = {INPUTS: {"input_size": geometry.input_size}, WEIGHTS: {"kernel_size": geometry.kernel_size}}
    return getattr(oracles, which)(a, b, **options, **sizes.get(which, {})).astype(a.dtype)


def assert_exact(form, geometry, x, w, g, maps=(VALUE, INPUTS, WEIGHTS)):
    """On whole numbers right to the last bit; the form's maps in one program."""
    operands = {VALUE: (x, w), INPUTS: (g, w), WEIGHTS: (x, g)}

    @jax.jit
    def all_of(operands):
        return [getattr(form, which)(*operands[which], geometry) for which in maps]

    assert_same(all_of(operands), [by_loops(which, geometry, *operands[which]) for which in maps])


@pytest.mark.short(*(f"^{case.id}$" for case in FEW))
@pytest.mark.parametrize("case", **by_id(CASES))
def test_the_canonical_form(case):
    geometry = Geometry.of("conv", case.input_size, case.kernel_size, **case.options)
    x, w, g = integers(0, case.x_shape, case.w_shape, case.y_shape)
    x, g = (each.reshape(-1, *each.shape[-case.axes - 1 :]) for each in (x, g))
    assert_exact(canonical, geometry, x, w, g)


@pytest.mark.short("float32-channels_first|bfloat16-channels_last")
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("n", "k", "options"),
    [
        ((7,), (9,), {"padding": 4}),
        ((7,), (4,), {"padding": [(3, 3)]}),
        ((3, 6), (4, 2), {"padding": [(3, 1), (-1, 2)]}),
        ((5, 4), (3, 2), {"padding": [(0, 0), (2, 1)], "dilation": (1, 2)}),
        ((8, 5), (5, 2), {"padding": [(-1, 0), (1, 0)]}),
        ((4, 9), (5, 3), {"padding": 2, "stride": (1, 2)}),
    ],
)
def test_a_kernel_longer_than_what_it_slides_over(n, k, options, layout, dtype):
    """Its padding is an array of its own: XLA's product is tuned for no other."""
    geometry = Geometry.of("conv", n, k, layout=layout, **options)
    shapes = (2, 3, *n), (4, 3, *k), (2, 4, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(canonical, geometry, x, w, g)


@pytest.mark.short("image-float32-channels_first|together-bfloat16-channels_last")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 1, 3), "padding": [(1, 0), (-1, 2), (0, 1)]},
        {"stride": (3, 2, 1), "padding": [(-1, 2), (1, 1), (0, 0)]},
        {"dilation": (2, 1, 2), "padding": [(2, 3), (0, 0), (1, 0)]},
    ],
)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("by_image", [False, True], ids=["together", "by image"])
def test_three_axes_as_planes(options, layout, dtype, by_image, monkeypatch):
    if by_image:
        monkeypatch.setattr(planes, "U_BYTES", 0)
    geometry = Geometry.of("conv", (7, 6, 5), (3, 2, 2), layout=layout, **options)
    shapes = (2, 3, 7, 6, 5), (4, 3, 3, 2, 2), (2, 4, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(planes, geometry, x, w, g)


STRIDED = [
    ((7,), (3,), {"stride": 3}),
    ((9,), (2,), {"stride": 4, "padding": [(1, 2)]}),
    ((7, 6), (1, 1), {}),
    ((7, 6), (1, 1), {"stride": 2, "padding": [(1, 0), (0, 0)]}),
    ((8, 9), (2, 3), {"stride": (2, 4), "padding": [(-1, 0), (2, -2)]}),
    ((7, 6, 5), (2, 1, 3), {"stride": 3, "padding": [(1, 2), (0, 0), (1, 1)]}),
]
OVERLAPPING = [
    ((9,), (5,), {"stride": 2, "padding": [(2, 1)]}),
    ((8, 9), (7, 3), {"stride": (2, 3), "padding": [(3, 3), (-1, 2)]}),
    ((12, 9), (3, 2), {"stride": (2, 3), "padding": [(0, 5), (-2, 0)], "dilation": (3, 2)}),
    ((7, 6, 5), (3, 2, 4), {"stride": (2, 1, 3), "padding": 1}),
]


def of_channels_last(n, k, options, dtype):
    geometry = Geometry.of("conv", n, k, layout="channels_last", **options)
    return geometry, *(
        each.astype(dtype) for each in integers(0, (4, *n, 2), (*k, 2, 3), (4, *geometry.output_size, 3))
    )


@pytest.mark.short("^2-float32|^1-bfloat16-n[04]")
@pytest.mark.parametrize(("n", "k", "options"), STRIDED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("images", [1, 2, 4])
def test_windows_apart_as_patches(n, k, options, dtype, images, monkeypatch):
    """So many images at a time."""
    geometry, x, w, g = of_channels_last(n, k, options, dtype)
    of_image = math.prod(geometry.output_size) * geometry.taps * 2 * 4
    monkeypatch.setattr(patches, "STEP_BYTES", images * of_image)
    assert_exact(patches, geometry, x, w, g)


@pytest.mark.short("^1000-float32-(n2|n4)|^1-bfloat16-n5")
@pytest.mark.parametrize(
    ("n", "options"),
    [
        ((9,), {}),
        ((5, 6), {}),
        ((5, 6), {"groups": 2}),
        ((4,), {"stride": 4, "groups": 2}),
        ((7, 6), {"stride": (2, 3), "padding": [(1, 0), (0, 2)]}),
        ((6, 5, 4), {"stride": (1, 2, 4), "padding": [(-1, 0), (0, 0), (0, -1)]}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_1x1_image_by_image_and_some_at_once(size, dtype, n, options, monkeypatch):
    monkeypatch.setattr(patches, "STEP_BYTES", size)
    geometry = Geometry.of("conv", n, [1] * len(n), **options)
    for channels, filters in ((2, 6), (6, 2)):
        kernel = filters, channels // geometry.groups, *geometry.kernel_size
        shapes = (6, channels, *n), kernel, (6, filters, *geometry.output_size)
        assert_exact(patches, geometry, *(each.astype(dtype) for each in integers(0, *shapes)))


@pytest.mark.short("float32-(n0|n1)|bfloat16-n2")
@pytest.mark.parametrize(
    ("n", "k", "options"),
    [((1, 1), (1, 1), {}), ((3, 4), (3, 4), {}), ((5,), (5,), {"stride": 2}), ((2, 1, 3), (2, 1, 3), {})],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_one_window_is_the_whole_image(n, k, options, dtype, layout):
    geometry = Geometry.of("conv", n, k, layout=layout, **options)
    one = [1] * len(n)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, (4, 2, *n), (3, 2, *k), (4, 3, *one))))
    assert patches.unsupported(Problem.of(VALUE, x, w, geometry)) is None
    assert_exact(patches, geometry, x, w, g)


def test_half_precision_in_steps():
    x, g = (each.astype(jnp.bfloat16) for each in integers(0, (6, 2, 3), (6, 4, 3)))
    assert_same(loops.chunked_map(lambda part: part * 2, x, 2), x * 2)
    total = loops.chunked_sum(lambda total, x, g: total + x.sum() * g.sum(), jnp.float32(0), (x, g), 2)
    assert total == sum(float(x[i : i + 2].sum() * g[i : i + 2].sum()) for i in (0, 2, 4))


@pytest.mark.parametrize(
    ("n", "k", "filters", "options"), [((32, 32), (1, 1), 32, {}), ((1024,), (4,), 64, {"padding": 2, "groups": 64})]
)
@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="XLA in JAX 0.10 does not slice bfloat16 on a CPU")
def test_half_precision_is_neither_widened_nor_copied_as_a_whole(n, k, filters, options, monkeypatch):
    """A few images at a time, within the loop."""
    monkeypatch.setattr(direct_dw, "STEP_BYTES", 1 << 18)
    geometry = Geometry.of("conv", n, k, **options)
    x, g = jnp.ones((8, 64, *n), jnp.bfloat16), jnp.ones((8, filters, *geometry.output_size), jnp.bfloat16)
    form = gemm if geometry.groups == 1 else direct
    compiled = jax.jit(lambda x, g: form.conv_weight_vjp(x, g, geometry)).lower(x, g).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_positions_apart_and_together(channels):
    (x,) = integers(0, (2, 4, 6, 10, channels))
    blocks = x.reshape(2, 2, 2, 2, 3, 2, 5, channels).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    for taps_read in ((2, 3, 5), (1, 3, 5), (2, 1, 4), (1, 1, 1)):
        first = blocks[..., : taps_read[0], : taps_read[1], : taps_read[2], :]
        assert_same(layout.space_to_depth(x, (2, 3, 5), taps_read), first)
    assert_same(layout.depth_to_space(blocks, 3), x)


@pytest.mark.parametrize("columns", [1, 4, 128])
@pytest.mark.parametrize(("filters", "channels"), [(2, 9), (9, 2)])
def test_patches_on_either_side_of_the_product(filters, channels, columns, monkeypatch):
    """With the side of fewer columns transposed before, or not."""
    monkeypatch.setattr(patches, "COLUMNS", columns)
    geometry = Geometry.of("conv", (6, 5), (1, 1), layout="channels_last")
    x, g = integers(0, (4, 6, 5, channels), (4, 6, 5, filters))
    assert_same(patches.conv_weight_vjp(x, g, geometry), by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.short("^float32-2|^bfloat16-1-n4")
@pytest.mark.parametrize(("n", "k", "options"), [case for case in STRIDED + OVERLAPPING if len(case[0]) > 1])
@pytest.mark.parametrize(("dtype", "images"), [("float32", 4), ("float32", 2), ("bfloat16", 1)])
def test_a_dw_tap_by_tap(n, k, options, dtype, images, monkeypatch):
    geometry, x, w, g = of_channels_last(n, k, options, dtype)
    of_image = math.prod(geometry.output_size) * (math.prod(geometry.kernel_size[1:]) * 2 + 3) * 4
    monkeypatch.setattr(taps, "STEP_BYTES", images * of_image)
    assert_exact(taps, geometry, x, w, g, (WEIGHTS,))


@pytest.mark.short("x[05]-")
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((4, 12, 12, 8), (1, 1, 8, 32), {}),
        ((4, 12, 12, 8), (1, 1, 8, 32), {"stride": 2}),
        ((4, 12, 12, 3), (4, 4, 3, 32), {"stride": 4}),
        ((4, 4, 8, 8, 3), (2, 2, 2, 3, 32), {"stride": 2}),
        ((2, 15, 14, 3), (7, 7, 3, 8), {"stride": 2, "padding": 3}),
        ((1, 49, 48, 3), (7, 7, 3, 32), {"stride": 2, "padding": 3}),
        ((2, 13, 12, 3), (4, 4, 3, 9), {"padding": 2}),
        ((2, 5, 6, 128), (3, 2, 128, 128), {"stride": (1, 2), "padding": 1}),
    ],
)
def test_channels_last_through_every_derivative(x, w, options):
    """Where the table serves a form of its own: gradients, a gradient's gradient, and `vmap`, as lax makes them."""
    geometry = Geometry.of("conv", x[1:-1], w[:-2], layout="channels_last", **options)
    x, w, g = integers(0, x, w, (x[0], *geometry.output_size, w[-1]))

    def results(form):
        def both(x, w, g):
            return jax.vjp(lambda x, w: conv(x, w, layout="channels_last", lowering=form, **options), x, w)[1](g)

        def twice(x, w, g):
            return jax.vjp(both, x, w, g)[1]((x, w))

        return both(x, w, g), twice(x, w, g), jax.vmap(both, (0, None, 0))(x[:, None], w, g[:, None])

    jax.tree.map(assert_same, results("auto"), results("reference"))


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_in_a_loop_lax_is_met_in_its_own_layout_alone(layout):
    """Any other is not tuned there: 80 to 400 times slower."""
    x, w = in_layout(layout, jnp.ones((2, 32, 6, 6)), jnp.ones((32, 32, 3, 3)))
    padded = {"padding": 1, "layout": layout, "lowering": "canonical"}

    def loss(x, w):
        return jax.lax.scan(lambda y, _: (conv(y, w, **padded), None), x, None, 2)[0].sum()

    text = jax.jit(jax.grad(loss, (0, 1))).trace(x, w).lower(lowering_platforms=("cpu",)).as_text()
    layouts = set(re.findall(r"dim_numbers = ([^ ]+.*?),\s*window", text))
    assert layouts == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_gradients_example_by_example_make_no_grouped_convolution(layout):
    x, w = jnp.ones((4, 1, 32, 6, 6)), jnp.ones((32, 32, 3, 3))
    if layout == "channels_last":
        x, w = jnp.moveaxis(x, 2, -1), jnp.moveaxis(w, (0, 1), (-1, -2))
    each = jax.vmap(jax.grad(lambda w, x: (conv(x, w, padding=1, layout=layout) ** 2).sum()), (None, 0))
    text = jax.jit(each).trace(w, x).lower(lowering_platforms=("cpu",)).as_text()
    assert "dot_general" in text
    assert set(re.findall(r"feature_group_count = (\d+)", text)) <= {"1"}


@pytest.mark.short("^1-400.*[13]$|^256-1-.*[023]$")
@pytest.mark.parametrize(
    "options", [{}, {"stride": (2, 1)}, {"stride": (1, 3), "dilation": (2, 1), "padding": 2}, {"groups": 3}]
)
@pytest.mark.parametrize("size", [1, 400, 1 << 22])
@pytest.mark.parametrize("positions", [1, 256])
def test_pieces_with_a_remainder(options, size, positions, monkeypatch):
    """Images in pieces along one axis and one, two or all at a time."""
    monkeypatch.setattr(gemm, "PIECE_BYTES", size)
    monkeypatch.setattr(gemm, "POSITIONS", positions)
    geometry = Geometry.of("conv", (11, 9), (3, 3), **options)
    groups = options.get("groups", 1)
    x, w, g = integers(0, (2, 6, 11, 9), (6, 6 // groups, 3, 3), (2, 6, *geometry.output_size))
    assert_exact(gemm, geometry, x, w, g)


@pytest.mark.parametrize("positions", [1, 1000])
def test_a_dw_of_two_images_at_a_time_or_one(positions, monkeypatch):
    monkeypatch.setattr(gemm, "POSITIONS", positions)
    geometry = Geometry.of("conv", (7, 6), (3, 2), padding=1)
    x, g = integers(0, (4, 3, 7, 6), (4, 5, *geometry.output_size))
    assert_same(gemm.conv_weight_vjp(x, g, geometry), by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.short("^2048-.*last|^1-float32-n0")
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("dtype", "n", "k", "options"),
    [
        ("float32", (12, 7), (3, 2), {"padding": ((2, 1), (0, 3))}),
        ("bfloat16", (11, 9), (2, 3), {"stride": (3, 2), "dilation": (2, 1)}),
        ("float32", (9, 8), (3, 3), {"padding": ((-1, 0), (1, -2))}),
        ("float32", (16,), (4,), {"stride": 2, "padding": 3}),
        ("bfloat16", (5, 4, 6), (2, 2, 3), {"padding": 1}),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 11])
def test_a_depthwise_dw_in_steps_and_blocks(layout, dtype, n, k, options, size, monkeypatch):
    """Image by image or a few at a time, of a number that has divisors and a prime: the same to the bit."""
    monkeypatch.setattr(direct_dw, "STEP_BYTES", size)
    monkeypatch.setattr(direct_dw, "FEW", 0)
    geometry = Geometry.of("conv", n, k, groups=3, layout=layout, **options)
    for batch in (6, 7):
        x, g = (a.astype(dtype) for a in integers(batch, (batch, 3, *n), (batch, 6, *geometry.output_size), most=1))
        if layout == "channels_last":
            x, g = jnp.moveaxis(x, 1, -1), jnp.moveaxis(g, 1, -1)
        made = jax.jit(lambda x, g: direct.conv_weight_vjp(x, g, geometry))(x, g)
        assert_same(made, by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.short("float32-1-1|bfloat16-2-3")
@pytest.mark.parametrize(("channels", "filters"), [(1, 1), (1, 4), (4, 1), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_direct_dw_of_few_channels(dtype, channels, filters):
    geometry = Geometry.of("conv", (7, 6), (3, 2), stride=(2, 1), padding=1, layout="channels_last")
    x, g = (each.astype(dtype) for each in integers(0, (4, 7, 6, channels), (4, *geometry.output_size, filters)))
    assert_same(direct.conv_weight_vjp(x, g, geometry), by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.parametrize(("which", "channels", "filters"), [(VALUE, 1, 64), (INPUTS, 64, 1)])
def test_one_channel_is_not_repeated_for_each_of_many(which, channels, filters):
    """But for groups: then what is made would else not be in order."""
    geometry = Geometry.of("conv", (40, 40), (5, 5), stride=2, padding=2, layout="channels_last")
    x, w, g = integers(0, (2, 40, 40, channels), (5, 5, channels, filters), (2, *geometry.output_size, filters))
    operands = {VALUE: (x, w), INPUTS: (g, w)}[which]
    compiled = jax.jit(lambda a, b: getattr(direct, which)(a, b, geometry)).lower(*operands).compile()
    made = compiled(*operands)
    assert_same(made, by_loops(which, geometry, *operands))
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * made.nbytes


@pytest.mark.short("first-n0|last-n1")
@pytest.mark.parametrize(
    ("n", "k", "options"),
    [((11,), (3,), {"padding": 1}), ((12,), (4,), {"stride": 2, "padding": [(3, 1)]}), ((9,), (3,), {"dilation": 2})],
)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sequence_group_by_group(dtype, layout, n, k, options, monkeypatch):
    monkeypatch.setattr("jaxconv.algorithms.layout.POSITION_BYTES", 0)
    geometry = Geometry.of("conv", n, k, groups=3, layout=layout, **options)
    shapes = (4, 6, *n), (9, 2, *k), (4, 9, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(gemm, geometry, x, w, g)


@pytest.mark.short("float32-6-1|bfloat16-5")
@pytest.mark.parametrize(("batch", "most"), [(6, 3), (6, 1), (6, 6), (5, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_channels_of_some_images_are_moved_at_a_time(batch, most, dtype, monkeypatch):
    """Two at least, or all where the batch is odd."""
    monkeypatch.setattr(gemm, "POSITIONS", 1)
    monkeypatch.setattr(gemm, "MOVED_BYTES", most * (4 * 30 + 6 * 20) * 4)
    geometry = Geometry.of("conv", (6, 5), (3, 2), groups=2, layout="channels_last")
    x, g = (each.astype(dtype) for each in integers(0, (batch, 6, 5, 4), (batch, 4, 4, 6)))
    made = jax.jit(lambda x, g: gemm.conv_weight_vjp(x, g, geometry))(x, g)
    assert_same(made, by_loops(WEIGHTS, geometry, x, g))


def test_large_batches_of_few_channels_in_steps(monkeypatch):
    """An image or a few at a time, where together they are new memory in every call."""
    monkeypatch.setattr(direct, "MOST_BYTES", 1 << 12)
    geometry = Geometry.of("conv", (8, 8), (3, 3), padding=1, groups=2)
    x, w = integers(0, (6, 4, 8, 8), (2, 2, 3, 3))
    for images in (1, 3, 6):
        monkeypatch.setattr(direct, "STEP_BYTES", images * (4 * 100 + 2 * 64) * 4)
        assert_same(direct.conv(x, w, geometry), by_loops(VALUE, geometry, x, w))


SHIFTED = [
    ((7,), (3,), {"stride": 2, "padding": 1}),
    ((9,), (4,), {"padding": [(3, -1)]}),
    ((6, 7), (1, 1), {}),
    ((6, 7), (3, 2), {"padding": [(2, 1), (0, 3)], "dilation": (2, 1)}),
    ((9, 8), (2, 3), {"stride": (3, 2), "padding": [(-1, 0), (1, -2)]}),
    ((11, 8), (3, 3), {"stride": (2, 3), "padding": [(6, -1), (5, 3)], "dilation": (3, 2)}),
    ((4, 6, 5), (2, 2, 3), {"padding": 1, "dilation": (1, 2, 1)}),
]


@pytest.mark.short("^1-3.*(n0|n3|n5).*first|^3-2-float32.*(n1|n4).*last|^3-2-bfloat16.*n5.*first")
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("n", "k", "options"), SHIFTED)
@pytest.mark.parametrize(
    ("channels", "filters", "dtype", "most"),
    [(1, 1, "float32", 25), (1, 3, "float32", 25), (3, 2, "float32", 2), (3, 2, "bfloat16", 3)],
)
def test_groups_of_few_channels(layout, n, k, options, channels, filters, dtype, most, monkeypatch):
    """Sums of shifted arrays in one loop and in several."""
    monkeypatch.setattr(direct, "TERMS", most)
    monkeypatch.setattr(direct, "FEWEST", 1)
    geometry = Geometry.of("conv", n, k, groups=3, layout=layout, **options)
    shapes = (2, 3 * channels, *n), (3 * filters, channels, *k), (2, 3 * filters, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(direct, geometry, x, w, g)


def test_one_product_where_windows_do_not_overlap():
    """Also with a single input channel: a program of a few lines, not one for every phase of the stride."""
    geometry = Geometry.of("conv", (32, 32), (16, 16), stride=16)
    w, g = integers(0, (8, 1, 16, 16), (2, 8, 2, 2))
    dx = jax.make_jaxpr(lambda g, w: gemm.conv_input_vjp(g, w, geometry))(g, w)
    assert str(dx).count("dot_general") == 1
    assert_same(gemm.conv_input_vjp(g, w, geometry), by_loops(INPUTS, geometry, g, w))


def test_an_exported_call_is_each_platforms_own():
    """On a CPU the product, elsewhere lax's convolution."""
    x, w = jnp.ones((1, 4, 6)), jnp.ones((4, 1, 3))
    programs = {
        platform: jax.export.export(jax.jit(lambda x, w: conv(x, w, groups=4)), platforms=[platform])(
            x, w
        ).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert {platform for platform, text in programs.items() if "stablehlo.convolution" in text} == {"cuda", "tpu"}
