"""Pictures say what the mathematics says: their lines and cells are read back and compared with dense Jacobians."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import jax
import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.collections import LineCollection  # noqa: E402

from jaxconv import (  # noqa: E402
    GatedParams,
    Geometry,
    GradientFlow,
    TransposedWindow,
    Window,
    conv,
    conv_input_jacobian,
    conv_transpose,
    conv_weight_jacobian,
    gated_step,
    plot,
)

LINE = {
    "plain": ((5,), (3,), {}),
    "strided": ((8,), (3,), {"stride": 2}),
    "rest": ((10,), (3,), {"stride": 3}),
    "stride over the kernel": ((11,), (2,), {"stride": 4}),
    "padded": ((6,), (3,), {"padding": 2}),
    "one side": ((6,), (3,), {"padding": [(2, 0)], "stride": 2}),
    "negative": ((9,), (3,), {"padding": [(-2, -1)]}),
    "negative and wide": ((8,), (2,), {"padding": [(-3, 4)], "stride": 2}),
    "dilated": ((9,), (3,), {"dilation": 3}),
    "all": ((13,), (4,), {"stride": 3, "dilation": 2, "padding": [(3, 1)]}),
    "pointwise": ((4,), (1,), {"stride": 2}),
}
PLANE = {
    "plane": ((4, 5), (2, 3), {}),
    "plane, all": ((5, 6), (3, 2), {"stride": (2, 1), "dilation": (1, 2), "padding": [(1, 1), (2, 0)]}),
    "plane, negative": ((5, 6), (2, 2), {"stride": 2, "padding": [(-1, 0), (0, -1)]}),
}
ALL = {**LINE, **PLANE}

on_a_line = pytest.mark.parametrize("name", LINE)
on_a_plane = pytest.mark.parametrize("name", PLANE)
on_all = pytest.mark.parametrize("name", ALL)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def geometry(name):
    n, k, options = ALL[name]
    return Geometry.of("conv", n, k, **options)


@cache
def supports(name):
    """{(p, j)} and {(p, q)} with a non-zero derivative, and {(p, q): j}, from dense Jacobians of the library."""
    n, k, options = ALL[name]
    x = 1 + np.arange(np.prod(n), dtype=np.float32).reshape(1, *n)  # distinct, so that they name their position
    w = 1 + np.arange(np.prod(k), dtype=np.float32).reshape(1, 1, *k)
    axes = len(n)
    by_input = np.asarray(conv_input_jacobian(x, w, **options))[0, ..., *([0] + [slice(None)] * axes)]
    by_weight = np.asarray(conv_weight_jacobian(x, w, **options))[0, ..., *([0, 0] + [slice(None)] * axes)]
    reads = {(at[:axes], at[axes:]) for at in zip(*map(np.ndarray.tolist, np.nonzero(by_input)), strict=True)}
    taps = {
        (at[:axes], at[axes:]): tuple(int(i) for i in np.unravel_index(int(by_weight[at]) - 1, n))
        for at in zip(*map(np.ndarray.tolist, np.nonzero(by_weight)), strict=True)
    }
    return reads, taps


def lines(ax):
    """[(upper number, lower number, digit)], each end read off the text of the cell that it touches."""
    written = {(round(t.get_position()[0], 6), round(t.get_position()[1], 6)): t.get_text() for t in ax.texts}
    found = []
    for collection in ax.collections:
        assert isinstance(collection, LineCollection)
        for (x0, y0), (x1, y1) in collection.get_segments():
            above, below = (
                written[round(float(x), 6), round(float(y), 6)] for x, y in ((x0, y0 + 0.45), (x1, y1 - 0.45))
            )
            found.append((int(above), int(below), int(collection.get_gid().split(":")[1])))
    return found


def marked(ax, kind):
    """{position: its text} of the filled cells of a grid, told by where they stand: the input is the left one."""
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    found = {}
    for patch in ax.patches:
        which, *rest = str(patch.get_gid()).split(":")
        if which == kind and rest[-1] == "marked":
            at = patch.get_x() + 0.45, patch.get_y() + 0.45
            found[tuple(map(int, rest[:2]))] = next((t for p, t in texts.items() if np.allclose(p, at)), "")
    return found


# ---------------------------------------------------------------------------------------------- one axis, two axes


@pytest.mark.short("stride|dilation")
@on_a_line
def test_lines_are_the_support_of_the_jacobians(name):
    shape, (by_input, by_tap) = geometry(name), supports(name)
    (n,) = shape.input_size
    expected = {(p[0], q[0], j[0]) for (p, q), j in by_tap.items()}
    assert {(p, j) for p, _, j in expected} == {(p[0], j[0]) for p, j in by_input}

    forward = lines(plot.reads(shape))
    assert len(forward) == shape.output_size[0] * shape.taps  # those into the padding are drawn too
    assert {(p, q, j) for p, j, q in forward if 0 <= j < n} == expected
    backward = lines(plot.feeds(shape))
    assert sorted((p, q, j) for j, p, q in backward) == sorted(expected)
    kernel = lines(plot.weights(shape))
    assert {(p, q, j) for q, j, p in kernel if 0 <= j < n} == expected


@pytest.mark.short("padded", "dilated", "stride over")
@on_a_line
def test_one_position_alone(name):
    shape = geometry(name)
    last = shape.output_size[0] - 1
    assert {p for p, _, _ in lines(plot.reads(shape, output=last))} == {last}
    assert {q for q, _, _ in lines(plot.weights(shape, tap=0))} == {0}
    fed = {p for (p,), (j,) in supports(name)[0] if j == 2}
    assert {p for _, p, _ in lines(plot.feeds(shape, position=2))} == fed


@on_a_plane
def test_cells_are_the_support_of_the_jacobians(name):
    shape, (by_input, by_tap) = geometry(name), supports(name)

    def named(position):
        return ",".join(map(str, position))

    def existing(cells):
        return {
            j: text for j, text in cells.items() if all(0 <= a < n for a, n in zip(j, shape.input_size, strict=True))
        }

    for p in [(0, 0), tuple(m - 1 for m in shape.output_size)]:
        ax = plot.reads(shape, output=p)
        assert existing(marked(ax, "input")) == {j: named(q) for (p_, q), j in by_tap.items() if p_ == p}
        assert set(marked(ax, "output")) == {p}
    for j in [(0, 0), (2, 3)]:
        ax = plot.feeds(shape, position=j)
        assert set(marked(ax, "output")) == {p for p, j_ in by_input if j_ == j}
        assert set(marked(ax, "input")) == {j}
    for q in [(0, 0), (1, 1)]:
        cells = marked(plot.weights(shape, tap=q), "input")
        assert existing(cells) == {j: named(p) for (p, q_), j in by_tap.items() if q_ == q}


def test_feeds_is_the_picture_of_the_transposed_convolution():
    shape = geometry("all")
    (m,), n = shape.output_size, shape.input_size
    _, k, options = ALL["all"]
    w = np.ones((1, 1, *k), np.float32)
    columns = [
        np.asarray(conv_transpose(unit[None], w, output_size=n, **options))[0] for unit in np.eye(m, dtype=np.float32)
    ]
    support = {(p, int(j)) for p, column in enumerate(columns) for j in np.flatnonzero(column)}
    assert {(p, j) for j, p, _ in lines(plot.feeds(shape))} == support


@on_a_line
def test_what_no_window_reads_is_hatched_and_padding_dashed(name):
    shape = geometry(name)
    read = {j for _, (j,) in supports(name)[0]}
    kinds = [patch.get_gid() for patch in plot.reads(shape).patches]
    assert kinds.count("unread") == shape.input_size[0] - len(read)
    assert kinds.count("padding") == sum(max(side, 0) for side in shape.padding[0])


@on_a_plane
def test_two_axes_hatch_what_no_window_reads_and_say_what_the_marks_mean(name):
    shape = geometry(name)
    read = {j for _, j in supports(name)[0]}
    ax = plot.reads(shape)
    gids = [str(patch.get_gid()).split(":") for patch in ax.patches]
    kinds = [kind for which, _, _, kind, *_ in gids if which == "input"]
    assert kinds.count("unread") == np.prod(shape.input_size) - len(read)
    label = ax.get_xlabel()
    assert "in the cells: the taps q" in label
    assert ("hatched: not read" in label) == ("unread" in kinds)
    assert ("dashed: padding" in label) == ("padding" in kinds)


def test_too_many_lines_for_digits_are_told_apart_by_style():
    few, many = (plot.reads(Geometry.of("conv", (n,), (3,))).get_xlabel() for n in (10, 30))
    assert "the digit on a line is the tap q" in few
    assert "line style and colour: the tap q, modulo 6" in many
    assert "dashed" not in few


# ---------------------------------------------------------------------------------------------- blocks and stacks


@on_all
def test_a_block_is_the_support_of_the_jacobian(name):
    shape, (reads, taps) = geometry(name), supports(name)
    for draw, pairs, sizes in (
        (plot.input_jacobian, reads, shape.input_size),
        (plot.weight_jacobian, taps, shape.kernel_size),
    ):
        drawn = np.asarray(draw(shape).images[0].get_array()).reshape(*shape.output_size, *sizes)
        found = zip(*map(np.ndarray.tolist, np.nonzero(drawn >= 0)), strict=True)
        assert {(at[: shape.axes], at[shape.axes :]) for at in found} == set(pairs)


@pytest.mark.short("2-")
@pytest.mark.parametrize("name", ["all", "negative", "plane, all"])
@pytest.mark.parametrize("groups", [1, 2])
def test_blocks_of_channels_are_the_support_of_the_jacobians(name, groups):
    n, k, options = ALL[name]
    shape = Geometry.of("conv", n, k, **options, groups=groups)
    out, into = 4, 2
    x, w = np.ones((into, *n), np.float32), np.ones((out, into // groups, *k), np.float32)
    for draw, dense in ((plot.input_jacobian, conv_input_jacobian), (plot.weight_jacobian, conv_weight_jacobian)):
        jacobian = np.asarray(dense(x, w, **options, groups=groups))
        drawn = draw(shape, channels=(out, into)).images[0].get_array()
        np.testing.assert_array_equal(drawn >= 0, jacobian.reshape(drawn.shape) != 0)


def test_receptive_field_is_the_support_of_the_stack():
    layers = [Window(3, 2, 1), TransposedWindow(2, stride=2), Window(2, dilation=2)]
    ones = np.ones((1, 1, 3), np.float32)

    def stack(x):
        y = conv_transpose(conv(x, ones, stride=2, padding=1), ones[..., :2], stride=2)
        return conv(y, ones[..., :2], dilation=2)

    support = np.abs(np.asarray(jax.jacobian(stack)(np.ones((1, 9), np.float32)))[0, :, 0]) > 0
    for output in range(len(support)):
        ax = plot.receptive_field(layers, 9, output=output)
        gids = [str(patch.get_gid()).split(":") for patch in ax.patches]
        read = {int(j) for _, level, j, *rest in gids if level == "0" and rest}
        assert {j for j in read if 0 <= j < 9} == set(np.flatnonzero(support[output]))


# ---------------------------------------------------------------------------------------------- the others


@pytest.mark.parametrize("transposed", [False, True])
def test_animation_has_a_frame_for_each_output(transposed, tmp_path):
    from PIL import Image

    shape = geometry("one side")
    moving = plot.animation(shape, transposed=transposed)
    moving.save(tmp_path / "window.gif", writer="pillow", dpi=40)
    frames = shape.input_size[0] if transposed else shape.output_size[0]
    with Image.open(tmp_path / "window.gif") as gif:
        assert gif.n_frames == frames


@pytest.mark.parametrize("name", ["one side", "plane"])
def test_a_transposed_animation_bears_the_names_of_the_transposed_convolution(name):
    moving = plot.animation(geometry(name), transposed=True)
    moving._draw_was_started = True  # else matplotlib warns that nobody looked at it
    moving._draw_frame(next(moving.new_frame_seq()))
    ax = moving._fig.axes[0]
    written = {text.get_text().removesuffix(" (position)") for text in ax.texts} | {*ax.get_xlabel().split(" (")}
    assert {"output j", "input p"} <= written
    assert ax.get_title().startswith(f"j = {','.join('0' * geometry(name).axes)}: output j gathers the inputs p with")


def test_unrolled_has_both_ways_back_at_every_step():
    gids = {patch.get_gid() for patch in plot.unrolled(3).patches}
    for t in (1, 2, 3):
        assert {f"g:keep:{t}->{t - 1}", f"g:gate:{t}->{t - 1}", f"h:{t - 1}->{t}"} <= gids


def test_cell_is_wired_as_its_equations():
    """Followed along its arrows, with numbers in the boxes, the drawn diagram computes gated_step."""
    inputs = {}
    for patch in plot.cell().patches:
        if "->" in str(patch.get_gid()):
            source, target = patch.get_gid().split("->")
            inputs.setdefault(target, []).append(source)
    w = {"W_h": 0.7, "W_c": -0.4, "W_x": 1.3}

    def value(name):
        if name in ("h", "x"):
            return {"h": 0.5, "x": 2.0}[name]
        at = [value(source) for source in inputs[name]]
        if name in w:
            return w[name] * at[0]
        rules = {"gate": lambda a: 1 / (1 + np.exp(-a[0])), "rest": lambda a: 1 - a[0], "pre": sum, "sum": sum}
        return {**rules, "keep": np.prod, "write": np.prod, "h_next": sum}[name](at)

    params = GatedParams(*(np.full((1, 1), w[name], np.float32) for name in ("W_c", "W_h", "W_x")))
    exact = gated_step(params, np.array([0.5], np.float32), np.array([2.0], np.float32))
    np.testing.assert_allclose(value("h_next"), exact[0], rtol=1e-6)


def test_flow_draws_the_logarithms():
    flows = {name: GradientFlow(None, None, np.linspace(a, 0, 5)) for name, a in (("down", -3e3), ("up", 7.0))}
    drawn = plot.flow(flows).get_lines()
    for line, each in zip(drawn, flows.values(), strict=False):
        np.testing.assert_allclose(line.get_ydata(), each.log_norms / np.log(10))


def test_flow_draws_one_alone():
    ax = plot.flow(GradientFlow(None, None, np.linspace(-3, 0, 5)))
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), np.linspace(-3, 0, 5) / np.log(10))
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    ("flows", "kind", "message"),
    [
        (
            [1.0],
            TypeError,
            "flow: `flows` must be a GradientFlow, or a mapping from names to GradientFlows; got flows of type list.",
        ),
        ({"a": 3}, TypeError, "flow: `flows['a']` must be a GradientFlow; got flows['a'] of type int."),
        (
            {"a": GradientFlow(None, None, np.zeros((3, 2)))},
            ValueError,
            "flow: `flows['a']` must be that of one sequence; got norms.shape=(3, 2).",
        ),
        (
            GradientFlow(None, None, np.zeros((3, 2))),
            ValueError,
            "flow: `flows` must be that of one sequence; got norms.shape=(3, 2).",
        ),
    ],
)
def test_flow_says_what_it_takes(flows, kind, message):
    before = plt.get_fignums()
    with pytest.raises(kind) as caught:
        plot.flow(flows)
    assert str(caught.value) == message
    assert plt.get_fignums() == before


def test_pictures_take_the_colours_of_the_style_and_leave_the_settings():
    before = dict(matplotlib.rcParams)
    with plt.style.context("dark_background"):
        ax = plot.reads(geometry("plain"))
        assert {t.get_color() for t in ax.texts} == {"white"}
        assert {matplotlib.colors.to_hex(patch.get_facecolor()) for patch in ax.patches} == {"#000000"}
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("draw", [plot.reads, plot.feeds, plot.weights, plot.input_jacobian, plot.weight_jacobian])
def test_draws_into_the_axes_given_and_refuses_three(draw):
    figure, ax = plt.subplots()
    assert draw(geometry("plain"), ax=ax) is ax
    assert ax.get_xlabel()
    assert ax.get_title()
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(ValueError, match=r"must have 1 or 2 spatial axes to be drawn; got 3"):
        draw(Geometry.of("conv", (3, 3, 3), (2, 2, 2)))
    with pytest.raises(TypeError, match=r"`geometry` must be a Geometry; got geometry of type int"):
        draw(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plot.reads(geometry("plain"), output=3),
            r"reads: `output` must be a position inside \(3,\); got output=3",
        ),
        (lambda: plot.feeds(geometry("plane"), position=1), r"feeds: `position` must be a position inside \(4, 5\)"),
        (lambda: plot.weights(geometry("plain"), tap=-1), r"weights: `tap` must be a position inside \(3,\)"),
        (lambda: plot.receptive_field([Window(3)], 5, output=3), r"one of the 3 outputs of the stack; got output=3"),
        (lambda: plot.receptive_field([], 5), r"`layers` must name at least one layer"),
        (
            lambda: plot.input_jacobian(Geometry.of("conv", (5,), (3,), groups=2)),
            r"`channels` must be positive multiples of groups; got channels=\(1, 1\), groups=2",
        ),
        (
            lambda: plot.reads(Geometry.of("conv", (1000,), (3,))),
            r"reads: `geometry` must need at most 80 cells side by side .*; got 1001 cells\.",
        ),
        (
            lambda: plot.feeds(Geometry.of("conv", (224, 224), (3, 3))),
            r"feeds: `geometry` must need at most 80 cells side by side .*; got 448 cells\.",
        ),
        (
            lambda: plot.input_jacobian(Geometry.of("conv", (224, 224), (3, 3))),
            r"`geometry` must give at most 1200 rows and columns to be drawn .*; got 49284 × 50176\.",
        ),
        (
            lambda: plot.animation(Geometry.of("conv", (28, 28), (3, 3))),
            r"animation: `geometry` must have at most 200 outputs, a frame each .*; got 676\.",
        ),
        (lambda: plot.halos(128, 8, before=1, after=1), r"halos: `size` must need at most 80 cells"),
        (lambda: plot.receptive_field([Window(3)], 200), r"receptive_field: `size` must need at most 80 cells"),
        (lambda: plot.bench([]), r"`rows` must hold at least one measurement"),
        (
            lambda: plot.bench([{"name": "a", "map": "y", "ratio": 0}]),
            r"`rows\[0\]\['ratio'\]` must be positive; got 0",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_jaxconv_alone_imports_no_matplotlib_and_without_it_plot_says_what_to_install():
    program = """
import sys, jaxconv
jaxconv.conv, jaxconv.Geometry, jaxconv.explain
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    import jaxconv.plot
except ImportError as error:
    assert "pip install jaxconv[notebooks]" in str(error)
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(("size", "shards", "before", "after"), [(8, 4, 1, 1), (6, 3, 0, 3), (4, 1, 2, 0)])
def test_halos_are_what_a_shard_sees(size, shards, before, after):
    """Row r holds the numbers of the positions from r·L − before on, and a dashed 0 outside the axis."""
    ax = plot.halos(size, shards, before=before, after=after)
    own = size // shards
    for r in range(shards):
        at = range(r * own - before, (r + 1) * own + after)
        row = {round(t.get_position()[0]): t.get_text() for t in ax.texts if round(t.get_position()[1]) == r}
        assert row == {j: str(j) if 0 <= j < size else "0" for j in at}
    outside = sum(patch.get_gid() == "padding" for patch in ax.patches)
    assert outside == sum(text.get_position()[0] not in range(size) for text in ax.texts)
    with pytest.raises(ValueError, match="`shards` must divide `size`; got size=7, shards=2"):
        plot.halos(7, 2, before=0, after=0)


def test_integers_of_numpy_and_jax_are_drawn():
    two = jax.numpy.int32(2)
    by_int = plot.halos(8, 2, before=2, after=2)
    assert len(plot.halos(np.array(8), two, before=np.int64(2), after=two).patches) == len(by_int.patches)
    by_int = plot.receptive_field([Window(3, 2, 2, 2)], 9).get_title()
    assert plot.receptive_field([Window(np.int64(3), two, two, two)], 9).get_title() == by_int
    with pytest.raises(TypeError, match=r"halos: `before` must be an integer; got before=1\.5"):
        plot.halos(8, 2, before=1.5, after=0)
