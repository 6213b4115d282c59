"""Lengths, blocks of time, residual policies: what must not be read, what is kept, what is the same either way."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gated_cases import BY_ID, WEIGHTS, Case, pick
from gated_judge import cast, expected, judge, scan
from jaxconv import GatedParams, gated_init, gated_scan, gated_scan_both, gated_step
from jaxconv.accuracy import error_model
from jaxconv.recurrence import affine, engine, time_chunks
from jaxconv.recurrence.engine import ScanConfig
from jaxconv.recurrence.gated_cell import GATED
from jaxconv.recurrence.time_chunks import TimeChunks

pytestmark = pytest.mark.unoptimised


def params_of(a):
    return GatedParams(*map(a.get, WEIGHTS))


def named(states):
    return dict(zip(("h_last", "h"), states, strict=True))


# ---------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.short("hand")
@pytest.mark.parametrize("derivative", ["hand", "jax"])
@pytest.mark.parametrize("case", pick("lengths-reverse", "linear-every-3"), ids=lambda case: case.id)
def test_nothing_past_the_length_is_read(case, derivative):
    """NaN in x and in the cotangents there changes nothing, and x's gradient there is 0."""
    exact, _, g_last, y_bar = case.draw()
    dead = np.arange(case.time)[:, None] >= np.array(case.lengths)
    exact["x"][dead], y_bar[dead] = np.nan, np.nan
    a, g_last, y_bar = cast((exact, g_last, y_bar), jnp.float32)

    @jax.jit
    def both(a):
        states, pull_back = jax.vjp(lambda a: scan(case, a, derivative), a)
        return states, pull_back((g_last, y_bar))[0]

    states, gradient = both(a)
    judge(case, named(states), *expected(case, "float32", "states"), "float32")
    judge(case, gradient, *expected(case, "float32", "gradient"), "float32")
    assert not np.any(states[1][dead])
    assert not np.any(gradient["x"][dead])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_traced_lengths_are_clipped(dtype):
    """Unknown while tracing, they cannot be refused: too long is the whole sequence, negative is nothing."""
    case = Case("clipped", time=200, n=1, m=1, batch=(3,))
    a = cast(case.draw()[0], jnp.float32)
    beyond = [-1 if dtype.startswith("int") else 0, 3, jnp.iinfo(dtype).max]
    run = jax.jit(lambda lengths: gated_scan(params_of(a), a["x"], a["h0"], lengths=lengths))
    known = np.array([0, 3, min(200, beyond[2])])
    jax.tree.map(np.testing.assert_array_equal, run(jnp.array(beyond, dtype)), run(jnp.array(known)))


def test_length_zero_returns_the_start():
    case = BY_ID["lengths"]
    a = cast(case.draw()[0], jnp.float32)
    np.testing.assert_array_equal(scan(case, a)[0][1], a["h0"][1])


def test_without_lengths_every_step_counts():
    case = replace(BY_ID["lengths-reverse"], lengths=(7, 7, 7, 7))
    a = cast(case.draw()[0], jnp.float32)
    for lengths in (None, jnp.full(4, 7)):
        states = gated_scan(params_of(a), a["x"], a["h0"], reverse=True, lengths=lengths)
        judge(case, named(states), *expected(case, "float32", "states"), "float32")


# ---------------------------------------------------------------------------------------------------------- streams


def test_a_stream_step_by_step_and_piece_by_piece():
    case = BY_ID["two-batch-axes"]
    a = cast(case.draw()[0], jnp.float32)
    params, h, by_steps = params_of(a), a["h0"], []
    for x in a["x"]:
        h = gated_step(params, h, x)
        by_steps.append(h)
    judge(case, {"h_last": h, "h": jnp.stack(by_steps)}, *expected(case, "float32", "states"), "float32")
    middle, first = gated_scan(params, a["x"][:3], a["h0"])
    last, second = gated_scan(params, a["x"][3:], middle)
    judge(case, named((last, jnp.concatenate([first, second]))), *expected(case, "float32", "states"), "float32")


def test_both_directions():
    """Side by side what each direction gives alone; the stack of one feeds another."""
    case = BY_ID["lengths"]
    a = cast(case.draw()[0], jnp.float32)
    forward, backward, lengths = params_of(a), gated_init(jax.random.key(1), 3, 5), case.run["lengths"]
    h0 = a["h0"], jnp.ones((4, 5))
    h_last, h = jax.jit(lambda x: gated_scan_both(forward, backward, x, h0, lengths=lengths, residuals=3))(a["x"])
    there = gated_scan(forward, a["x"], h0[0], lengths=lengths)
    back = gated_scan(backward, a["x"], h0[1], lengths=lengths, reverse=True)
    judge(case, named((h_last[:, :4], h[..., :4])), *expected(case, "float32", "states"), "float32")
    u = error_model.unit_roundoff(np.float32)
    np.testing.assert_allclose(h_last, jnp.concatenate([there[0], back[0]], -1), rtol=0, atol=8 * u)
    np.testing.assert_allclose(h, jnp.concatenate([there[1], back[1]], -1), rtol=0, atol=8 * u)
    assert (
        gated_scan_both(gated_init(jax.random.key(2), 9, 2), gated_init(jax.random.key(3), 9, 2), h)[1].shape[-1] == 4
    )


# ----------------------------------------------------------------------------------------------------------- blocks

PIECES = [
    Case("even-blocks", time=12, batch=(2,)),
    Case("even-blocks-reverse", time=12, batch=(2,), reverse=True, residuals="save"),
    Case("remainder", time=11, batch=(2,), absent=("h0",)),
    Case("remainder-reverse-lengths", time=11, batch=(2,), reverse=True, lengths=(10, 4)),
]


@pytest.mark.parametrize("case", PIECES, ids=lambda case: case.id)
def test_states_of_the_default_policies(case, monkeypatch):
    """As in long sequences of wide states, several blocks, here of four steps, and δ and ν turned in memory."""
    monkeypatch.setattr(engine, "TURN", 1)
    monkeypatch.setattr(time_chunks, "NUMBERS", 0)
    monkeypatch.setattr(time_chunks, "LEAST", 8)
    monkeypatch.setattr(time_chunks, "SMALL", 0)
    monkeypatch.setattr(time_chunks, "PARTS", 1)
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)
    h0 = a.get("h0", jnp.zeros(g_last.shape))
    config = ScanConfig(GATED, case.reverse, 1, case.residuals)
    assert config.chunks(params_of(a), a["x"]).length == 4

    @jax.jit
    def both(a):
        run = lambda a: engine.scan(params_of(a), a["x"], (a.get("h0", h0),), case.run["lengths"], config)  # noqa: E731
        ((h_last,), h), pull_back = jax.vjp(run, a)
        return (h_last, h), pull_back(((g_last,), y_bar))[0]

    states, gradient = both(a)
    judge(case, named(states), *expected(case, "float32", "states"), "float32")
    judge(case, gradient, *expected(case, "float32", "gradient"), "float32")


@pytest.mark.parametrize(
    ("time", "batch", "m", "length"),
    [
        (1000, 1, 8, 1000),
        (500, 8, 64, 50),
        (1024, 8, 64, 128),
        (8192, 8, 64, 512),
        (1000, 32, 64, 125),
        (1024, 32, 256, 32),
        (1009, 32, 128, 64),
        (128, 32, 512, 16),
    ],
)
def test_length_of_a_block(time, batch, m, length):
    """All of 2¹⁵ numbers or fewer; else an eighth, up to 4096 rows or 2¹⁸ numbers, evenly if it can; 1009 is prime."""
    params, x = GatedParams(jnp.zeros((m, 1)), None, jnp.zeros((m, 1))), jnp.zeros((time, batch, 1))
    assert ScanConfig(GATED).chunks(params, x).length == length


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("time", "length"), [(6, 3), (7, 3), (2, 3), (3, 3), (5, 1)])
def test_blocks_cut_and_join(time, length, reverse):
    blocks, t = TimeChunks(time, min(length, time), reverse), jnp.arange(time)
    full, rest = blocks.cut(t)
    np.testing.assert_array_equal(blocks.join(full.ravel(), rest if rest.size else None), t)
    assert full.shape[1] == blocks.length
    assert rest.size == blocks.rest < blocks.length


# ------------------------------------------------------------------------------------------------------ the linear form


@pytest.mark.parametrize("reverse", [False, True])
def test_prefix_sum_is_the_loop(reverse):
    """What other platforms run without W_h: the same states, and the same gradient."""
    case = Case("prefix", time=33, batch=(2,), absent=("w_h",), reverse=reverse)
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)

    def loss(a):
        x = a["x"]
        c, v = jax.nn.sigmoid(x @ a["w_c"].T + a["b_c"]), x @ a["w_x"].T + a["b_x"]
        h = affine.prefix_sum(c, (1 - c) * v, a["h0"], reverse)
        return jnp.vdot(h, y_bar) + jnp.vdot(h[0 if reverse else -1], g_last), h

    gradient, h = jax.jit(jax.grad(loss, has_aux=True))(a)
    exact, spread = expected(case, "float32", "states")
    judge(case, {"h": h}, {"h": exact["h"]}, spread, "float32")
    judge(case, gradient, *expected(case, "float32", "gradient"), "float32")


@pytest.mark.short("every-3")
@pytest.mark.parametrize("case", pick("linear-reverse", "every-3-of-7"), ids=lambda case: case.id)
def test_as_other_platforms_run_it(case, monkeypatch):
    """The whole rule with the form that accelerators take."""
    chosen = []

    def default(*arguments, cpu, default):
        chosen.append(default)
        return default(*arguments)

    monkeypatch.setattr(affine.lax, "platform_dependent", default)
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)
    config = ScanConfig(GATED, case.reverse, 1)
    ((h_last,), h), pull_back = jax.vjp(lambda a: engine.scan(params_of(a), a["x"], (a["h0"],), None, config), a)
    judge(case, named((h_last, h)), *expected(case, "float32", "states"), "float32")
    judge(case, pull_back(((g_last,), y_bar))[0], *expected(case, "float32", "gradient"), "float32")
    assert chosen


# ------------------------------------------------------------------------------------------------------ what it costs

KEPT = {"recompute": 1, "save": 3, 4: 0}  # arrays as large as h, beyond the inputs


@pytest.mark.parametrize("residuals", KEPT)
def test_kept(residuals):
    """Bytes between the passes; with k = 4 of 64 steps besides the inputs sixteen states."""
    x, params, h0 = jnp.ones((64, 2, 3)), gated_init(jax.random.key(0), 3, 5), jnp.ones((2, 5))
    _, pull_back = jax.vjp(lambda *a: gated_scan(*a, residuals=residuals), params, x, h0)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pull_back))
    starts = 16 if residuals == 4 else 1
    least = x.size + sum(p.size for p in params) + KEPT[residuals] * 64 * h0.size + starts * h0.size
    assert least <= kept <= least + (0 if residuals == 4 else params.w_h.size + h0.size)


def test_memory_of_a_long_sequence():
    """Of the last state alone the gradient needs T/k + k states, though T states pass by."""
    params, x = gated_init(jax.random.key(0), 2, 8), jnp.ones((4096, 2))

    def temporaries(**options):
        gradient = jax.grad(lambda params: gated_scan(params, x, **options)[0].sum())
        return jax.jit(gradient).lower(params).compile().memory_analysis().temp_size_in_bytes

    state = 8 * 4
    assert temporaries(residuals=64) < 20 * (64 + 64) * state  # a block's c, v, h, g … and both halves of a product
    assert temporaries() > 4096 * state


@pytest.mark.parametrize("case", pick("every-3-of-7"), ids=lambda case: case.id)
def test_inside_shard_map(case):
    """A loop's carry must vary over the mesh as its body does: sums start from a zero that does."""
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    a = cast({**case.draw()[0]}, jnp.float32)
    params, by_batch = params_of(a), spec(None, "batch")

    def loss(params, x):
        return jax.lax.psum(gated_scan(params, x, residuals=3)[1].sum(), "batch")  # no cotangent for the last state

    sharded = jax.shard_map(loss, mesh=mesh, in_specs=(spec(), by_batch), out_specs=spec())
    computed = jax.jit(jax.grad(sharded, (0, 1)))(params, a["x"])
    alone = jax.grad(lambda params, x: gated_scan(params, x, residuals=3)[1].sum(), (0, 1))
    u = error_model.unit_roundoff(np.float32)
    for ours, theirs in zip(jax.tree.leaves(computed), jax.tree.leaves(alone(params, a["x"])), strict=True):
        found = error_model.measured_units(ours, np.float64(theirs), u * np.abs(theirs), 14, np.float32)
        assert found.max() <= error_model.C
