"""Halos on eight devices, run by test_many_devices.py: exchanged, sent back and added, and what was sent counted."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from cases import Case, arrays, assert_right, assert_same, computed, expected, integers
from jaxconv import conv, conv_sharded, halo_exchange, halo_exchange_vjp
from jaxconv.examples import data_parallel
from jaxconv.parallel.collectives import collectives as collectives_of
from jaxconv.parallel.collectives import least_bytes
from many_devices import collectives, mesh_of

pytestmark = pytest.mark.unoptimised


def by_shard(f: Any, *, over: Any = "i", mesh: Any = None, check_vma: bool = True) -> Any:
    """f of pieces of the first axis."""
    return jax.shard_map(f, mesh=mesh or mesh_of(8), in_specs=P(over), out_specs=P(over), check_vma=check_vma)


def whole(x: np.ndarray, shards: int, before: int, after: int, periodic: bool) -> np.ndarray:
    """What the shards see, one after the other: a window of the whole axis for each."""
    own = len(x) // shards
    at = np.concatenate([np.arange(r * own - before, (r + 1) * own + after) for r in range(shards)])
    inside = (at >= 0) & (at < len(x))
    seen = x[at % len(x)]
    return seen if periodic else np.where(inside.reshape(-1, *(1,) * (x.ndim - 1)), seen, 0)


WIDTHS = [(1, 1), (0, 2), (3, 0), (4, 7), (25, 30)]


@pytest.mark.parametrize("periodic", [False, True], ids=["ends", "round"])
@pytest.mark.parametrize(("before", "after"), WIDTHS)
def test_exchange_and_adjoint(before: int, after: int, periodic: bool) -> None:
    """Values against slices of the whole; ⟨E x, g⟩ = ⟨x, Eᵀ g⟩ in whole numbers; and each is the other's derivative."""
    how = {"axis": 0, "axis_name": "i", "before": before, "after": after, "periodic": periodic}
    x, g, t = integers(before, (24, 2), (24 + 8 * (before + after), 2), (24, 2))
    exchange, send_back = by_shard(partial(halo_exchange, **how)), by_shard(partial(halo_exchange_vjp, **how))

    @jax.jit
    def everything(x, g, t):  # one program, compiled once
        y, pull = jax.vjp(exchange, x)
        back, pull_back = jax.vjp(send_back, g)
        second = jax.vjp(lambda g: pull(g)[0], g)[1](t)[0]
        by_jax = jax.vjp(by_shard(partial(halo_exchange, **how, derivative="jax")), x)[1](g)[0]
        return y, pull(g)[0], back, pull_back(t)[0], second, by_jax, exchange(t)

    y, dx, back, dg, second, by_jax, of_t = everything(x, g, t)
    assert_same(np.asarray(y), whole(np.asarray(x), 8, before, after, periodic))
    assert float(jnp.vdot(y, g)) == float(jnp.vdot(x, back))
    assert_same((dx, by_jax), (back, back))
    assert_same((dg, second), (of_t, of_t))


def test_several_hops_are_counted() -> None:
    """A halo of 7 on pieces of 3 is three hops; one wider than everything, seven."""
    x = jnp.ones((24, 2))
    for before, after, hops in [(1, 1, 2), (3, 0, 1), (7, 4, 5), (0, 0, 0), (100, 0, 7)]:
        f = jax.jit(by_shard(partial(halo_exchange, axis=0, axis_name="i", before=before, after=after)))
        assert collectives(f.lower(x).compile()) == ({"collective-permute": hops} if hops else {})


def test_axis_over_two_mesh_axes() -> None:
    x = jnp.arange(16.0)
    see = partial(halo_exchange, axis=0, axis_name=("i", "j"), before=3, after=1)
    y = by_shard(see, over=("i", "j"), mesh=mesh_of(4, 2))(x)
    assert_same(np.asarray(y), whole(np.asarray(x), 8, 3, 1, False))


def test_forward_mode_and_vmap() -> None:
    x, t = integers(3, (3, 16), (3, 16))
    how = {"axis": 0, "axis_name": "i", "before": 1, "after": 2}
    f = jax.vmap(by_shard(partial(halo_exchange, **how, derivative="jax")))
    assert_same(jax.jvp(f, (x,), (t,)), (f(x), f(t)))
    assert_same(jax.vmap(by_shard(partial(halo_exchange, **how)))(x), f(x))


# ---------------------------------------------------------------------------------------------- the convolution


class Split(NamedTuple):
    """A convolution, the mesh, and the mesh axis of every spatial axis; the batch may lie over one too."""

    case: Case
    mesh: tuple[int, ...]
    names: tuple[Any, ...]
    batch: str | None = None
    permutes: int = 2  # of the value: ⌈before/L⌉ + ⌈after/L⌉ on every split axis


def last(**options: Any) -> dict[str, Any]:
    return {"layout": "channels_last", **options}


SPLITS = [
    Split(Case("3-same", (2, 3, 16), (4, 3, 3), {"padding": "SAME"}), (8,), ("i",)),
    Split(Case("even-kernel", (2, 3, 16), (4, 3, 4), {"padding": "SAME"}), (8,), ("i",)),
    Split(Case("wide", (2, 3, 16), (4, 3, 10), {"padding": "SAME"}), (8,), ("i",), permutes=5),  # 4 and 5 over 2
    Split(Case("causal-dilated", (2, 16, 3), (3, 3, 4), last(padding="CAUSAL", dilation=2)), (8,), ("i",), permutes=2),
    Split(Case("stride", (2, 3, 32), (4, 3, 3), {"stride": 2, "padding": 1}), (8,), ("i",), permutes=1),
    Split(Case("stride-dilated", (2, 3, 32), (4, 3, 3), {"stride": 2, "padding": "SAME", "dilation": 3}), (8,), ("i",)),
    Split(Case("patches", (2, 3, 32), (4, 3, 4), {"stride": 4}), (8,), ("i",), permutes=0),
    Split(Case("stride-over-kernel", (2, 3, 32), (4, 3, 1), {"stride": 2, "padding": [(0, 0)]}), (8,), ("i",), None, 0),
    Split(Case("cut-before", (2, 3, 16), (4, 3, 3), {"padding": [(-1, 3)]}), (8,), ("i",), permutes=2),
    Split(Case("groups", (2, 4, 16), (6, 2, 3), {"padding": 1, "groups": 2}), (8,), ("i",)),
    Split(Case("depthwise-last", (2, 16, 4), (3, 1, 4), last(padding=1, groups=4)), (8,), ("i",)),
    Split(Case("one-axis-of-two", (2, 3, 16, 5), (4, 3, 3, 2), {"padding": [(1, 1), (0, 1)]}), (8,), ("i", None)),
    Split(Case("two-axes", (2, 3, 8, 8), (4, 3, 3, 3), {"padding": 1}), (4, 2), ("i", "j"), permutes=4),
    Split(
        Case("two-axes-last", (2, 8, 12, 4), (3, 5, 2, 6), last(stride=(1, 2), padding="SAME", groups=2)),
        (4, 2),
        ("i", "j"),
        permutes=4,  # L = 2 and 6; before, after = (1, 1) and (1, 2)
    ),
    Split(Case("batch-and-space", (4, 3, 8, 8), (4, 3, 3, 3), {"padding": 1}), (2, 2, 2), ("j", "k"), "i", 4),
    Split(Case("over-two-mesh-axes", (2, 3, 16), (4, 3, 3), {"padding": 1}), (4, 2), (("i", "j"),)),
]


def specs(split: Split) -> P:
    """How x and y lie."""
    batch = (split.batch,) + (None,) * (len(split.case.x_shape) - split.case.axes - 2)
    return P(*batch, None, *split.names) if split.case.channels_first else P(*batch, *split.names)


def sharded(split: Split, check_vma: bool = True, **how: Any) -> Any:
    """(x, w, b) ↦ y of whole arrays, each device with its piece."""
    f = partial(conv_sharded, axis_name=split.names, **split.case.options, **how)
    spec = specs(split)
    return jax.shard_map(f, mesh=mesh_of(*split.mesh), in_specs=(spec, P(), P()), out_specs=spec, check_vma=check_vma)


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.case.id)
def test_value_and_gradients(split: Split) -> None:
    """Within the error model of the one-device oracle; and no collective but the halos and one sum of dw and db."""
    inputs = arrays(split.case, jnp.float32)
    f = sharded(split)

    def both(x, w, b, g):
        y, pull_back = jax.vjp(f, x, w, b)
        return y, *pull_back(g)

    program = jax.jit(both).lower(*inputs[:4]).compile()
    names = ("y", "dx", "dw", "db")
    right = expected(split.case, inputs, names)
    for name, value in zip(names, program(*inputs[:4]), strict=True):
        assert_right(name, value, right[name], jnp.float32)
    found = collectives(program)
    assert found.pop("all-reduce") == 1
    assert found == ({"collective-permute": 2 * split.permutes} if split.permutes else {})


@pytest.mark.parametrize("split", [SPLITS[2], SPLITS[4], SPLITS[12]], ids=lambda split: split.case.id)
def test_second_order_and_by_jax(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = arrays(split.case, jnp.float32)

    def in_shards(x: Any, w: Any, b: Any, **how: Any) -> Any:
        return sharded(split, **{name: value for name, value in how.items() if name not in split.case.options})(x, w, b)

    monkeypatch.setattr("cases.conv", in_shards)
    by_hand, by_jax = computed(split.case, inputs)
    right = expected(split.case, inputs)
    for name, value in by_hand.items():
        assert_right(name, value, right[name], jnp.float32)
    for name, value in by_jax.items():
        assert_right(f"{name} by JAX", value, right[name], jnp.float32)


def test_without_the_check_of_varying_types() -> None:
    split = SPLITS[0]
    inputs = arrays(split.case, jnp.float32)
    _, pull_back = jax.vjp(sharded(split, check_vma=False), *inputs[:3])
    right = expected(split.case, inputs, ("dx", "dw", "db"))
    for (name, exact), value in zip(right.items(), pull_back(inputs.g), strict=True):
        assert_right(name, value, exact, jnp.float32)


@pytest.mark.parametrize("padding", [1, [(0, 2)], [(5, 3)]], ids=str)
def test_circular(padding: Any) -> None:
    """The ends meet: the same bits as on one device, gradients included."""
    k = 3 if padding != [(5, 3)] else 9
    x, w, g = integers(5, (2, 3, 16), (4, 3, k), (2, 4, 16))
    how = {"padding": padding, "padding_mode": "circular"}
    f = jax.shard_map(
        partial(conv_sharded, axis_name="i", **how),
        mesh=mesh_of(8),
        in_specs=(P(None, None, "i"), P()),
        out_specs=P(None, None, "i"),
    )
    y, pull_back = jax.vjp(f, x, w)
    expected_y, expected_pull_back = jax.vjp(partial(conv, **how), x, w)
    assert_same((y, *pull_back(g)), (expected_y, *expected_pull_back(g)))


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("lowering", ["reference", "gemm"])
def test_conv_itself_inside_shard_map(lowering: str, check_vma: bool) -> None:
    """A batch over the devices and one kernel for all: dw is the sum over the shards."""
    x, w, b = integers(6, (16, 4, 9), (4, 2, 3), (4,))

    def loss(x, w, b):
        return (conv(x, w, b, padding=1, groups=2, lowering=lowering) ** 2).sum()

    f = jax.shard_map(
        lambda *a: lax.psum(loss(*a), "i"),
        mesh=mesh_of(8),
        in_specs=(P("i"), P(), P()),
        out_specs=P(),
        check_vma=check_vma,
    )
    gradient = jax.jit(jax.grad(f, (0, 1, 2)))
    assert_same(gradient(x, w, b), jax.grad(loss, (0, 1, 2))(x, w, b))
    assert set(collectives(gradient.lower(x, w, b).compile())) == {"all-reduce"}


# -------------------------------------------------------------------------------------------------- bad input


def fails(match: str, kind: type = ValueError, *, shape: Any = (1, 3, 16), kernel: Any = (4, 3, 3), **how: Any) -> None:
    f = partial(conv_sharded, **{"axis_name": "i", "padding": 1, **how})
    specs = (P(*(None,) * (len(shape) - 1), "i"), P())
    sharded = jax.shard_map(f, mesh=mesh_of(8), in_specs=specs, out_specs=specs[0])
    with pytest.raises(kind, match=match):
        sharded(jnp.ones(shape), jnp.ones(kernel))


def test_errors_name_the_numbers() -> None:
    fails(r"`stride` must divide a shard's positions; got stride=3, 8 shards of 2 positions \(16 in all\)", stride=3)
    fails(
        r"must give n/stride = 16 outputs .*, 2 a shard: lo \+ hi from 2 to 2.*padding=\(0, 0\), which gives 14",
        padding=0,
    )
    fails("`axis_name` must be a mesh axis .*'rows', which is bound to none", axis_name="rows")
    fails("`axis_name` must have one entry", axis_name=("i", None))
    fails("`axis_name` must be a mesh axis or None", TypeError, axis_name=3)
    fails("must be a mesh axis of the surrounding", TypeError, axis_name=(3,))
    fails("once", axis_name=("i", "i"), shape=(1, 3, 4, 16), kernel=(4, 3, 3, 3))
    fails("`padding_mode` must be 'zeros' or 'circular' where", padding_mode="reflect")
    fails("`groups` must divide", groups=2)
    with pytest.raises(ValueError, match="must be a mesh axis of the surrounding"):
        conv_sharded(jnp.ones((1, 3, 16)), jnp.ones((4, 3, 3)), axis_name="i", padding=1)


@pytest.mark.parametrize(
    ("how", "kind", "match"),
    [
        ({"before": -1}, ValueError, "`before` must be at least 0"),
        ({"after": True}, TypeError, "`after` must be an integer"),
        ({"axis": 2}, ValueError, "`axis` must be an axis of `x`"),
        ({"periodic": 1}, TypeError, "`periodic` must be True or False"),
        ({"derivative": "hands"}, ValueError, "did you mean 'hand'"),
        ({"axis_name": "j"}, ValueError, "which is bound to none"),
    ],
    ids=lambda each: str(each)[:20],
)
def test_errors_of_the_exchange(how: Any, kind: type, match: str) -> None:
    f = partial(halo_exchange, **{"axis": 0, "axis_name": "i", "before": 1, "after": 1, **how})
    with pytest.raises(kind, match=match):
        by_shard(f)(jnp.ones(16))


def test_errors_of_the_adjoint() -> None:
    with pytest.raises(ValueError, match="`g` must have more positions on `axis` than the halos"):
        by_shard(partial(halo_exchange_vjp, axis=0, axis_name="i", before=1, after=1))(jnp.ones(16))


# ------------------------------------------------------------------------------------ what a program sends, in bytes


def test_bytes_of_a_data_parallel_step_are_at_their_limit() -> None:
    """One all-reduce of the gradients and the loss, outside every loop, on 2 and on 8 devices."""
    for row in data_parallel.scaling([2, 8]):
        assert (row["collectives"], row["in_loops"]) == (1, 0)
        assert 0 <= row["bytes_sent"] - row["limit"] <= 2 * 4  # the loss


def test_bytes_and_loops_are_read_right() -> None:
    def f(x: Any) -> Any:
        x = halo_exchange(x, axis=0, axis_name="i", before=1, after=0)[:-1]
        return lax.fori_loop(0, 3, lambda _, x: lax.all_gather(x, "i", axis=1).sum(1) * 0.5, x)

    program = jax.jit(by_shard(f, check_vma=False)).lower(jnp.ones((16, 3))).compile()
    found = {each.kind: each for each in collectives_of(program)}
    assert found["collective-permute"] == ("collective-permute", 1 * 3 * 4, False)
    assert found["all-gather"] == ("all-gather", 8 * 2 * 3 * 4, True)
    assert least_bytes(list(found.values()), 8) == 12 + 7 / 8 * 192
