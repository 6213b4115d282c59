"""The recurrence on eight devices, run by test_many_devices.py: batch or state over them, collectives counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gated_cases import BY_ID, WEIGHTS, Case
from gated_judge import cast, expected, judge, scan
from jaxconv import GatedParams, gated_scan, gated_step
from many_devices import collectives, mesh_of

pytestmark = pytest.mark.unoptimised

CASES = {
    "recompute": Case("sharded", batch=(8,), m=8),
    "save-reverse": Case("sharded-save", batch=(8,), m=8, residuals="save", reverse=True),
    "lengths-every-3": Case("sharded-lengths", batch=(8,), m=8, residuals=3, lengths=(7, 0, 3, 1, 7, 2, 6, 5)),
    "linear": replace(BY_ID["nothing-optional"], id="sharded-linear", batch=(8,), m=8, absent=("w_h", "b_c", "b_x")),
    "time-second": Case("sharded-time", batch=(8,), m=8, time_axis=1),
}
BATCH = {"x": P(None, "i"), "h0": P("i")}
STATE = {"w_c": P("i"), "w_h": P("i"), "w_x": P("i"), "b_c": P("i"), "b_x": P("i"), "h0": P(None, "i")}
BOTH = {**{name: P("j") for name in WEIGHTS}, "x": P(None, "i"), "h0": P("i", "j")}
SPLITS = {"batch": ((8,), BATCH), "state": ((8,), STATE), "both": ((4, 2), BOTH)}
MODES = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


def run(case: Case, sizes: tuple[int, ...], specs: dict[str, P], kind: AxisType) -> tuple[dict, dict, dict, dict]:
    """States, gradients, collectives of the compiled program, and the arrays as they were put."""
    mesh = mesh_of(*sizes, kind=kind)
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)
    at = {name: NamedSharding(mesh, specs.get(name, P())) for name in a}
    a = {name: jax.device_put(value, at[name]) for name, value in a.items()}

    def both(a: dict, g_last: Any, y_bar: Any) -> Any:
        (h_last, h), pull_back = jax.vjp(lambda a: scan(case, a), a)
        return (h_last, h), pull_back((g_last, y_bar))[0]

    with jax.set_mesh(mesh):
        of_state = tuple(specs["h0"]) + (None,) * (2 - len(specs["h0"]))
        cotangents = (
            jax.device_put(g_last, NamedSharding(mesh, P(*of_state))),
            jax.device_put(y_bar, NamedSharding(mesh, P(None, *of_state))),
        )
        program = jax.jit(both).lower(a, *cotangents).compile()
        (h_last, h), gradient = program(a, *cotangents)
    return {"h_last": h_last, "h": h}, gradient, collectives(program), a


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_batch_over_the_devices(case: Case, mode: str) -> None:
    """One sum of all weights' gradients, and nothing else: each device runs its own sequences.

    Where time is cut into blocks the partitioner sums in every block: once in their loop, once for the remainder.
    """
    sums = 2 if isinstance(case.residuals, int) else 1
    judged(case, *run(case, *SPLITS["batch"], MODES[mode]), expect={"all-reduce": sums})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("split", ["state", "both"])
def test_state_over_the_devices(split: str, mode: str) -> None:
    """Within the loops one gather of h a step forwards, one sum of W_hᵀ δ a step back; the others stand outside."""
    found = run(CASES["recompute"], *SPLITS[split], MODES[mode])
    judged(CASES["recompute"], *found)
    assert set(found[2]) <= {"all-gather", "all-reduce", "collective-permute"}
    assert found[2]["all-gather"] <= 4
    assert found[2]["all-reduce"] <= 6


def judged(case: Case, states: dict, gradient: dict, counted: dict, a: dict, expect: dict | None = None) -> None:
    judge(case, states, *expected(case, "float32", "states"), "float32")
    judge(case, gradient, *expected(case, "float32", "gradient"), "float32")
    for name, value in gradient.items():
        assert value.sharding.is_equivalent_to(a[name].sharding, value.ndim), name
    assert expect is None or counted == expect


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("case", [CASES["recompute"], CASES["lengths-every-3"]], ids=lambda case: case.id)
def test_inside_shard_map(case: Case, check_vma: bool) -> None:
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)
    lengths = None if case.run["lengths"] is None else jnp.asarray(case.run["lengths"], "int32")

    def loss(a: dict, lengths: Any, g_last: Any, y_bar: Any) -> Any:
        params = GatedParams(*map(a.get, WEIGHTS))
        h_last, h = gated_scan(params, a["x"], a["h0"], lengths=lengths, residuals=case.residuals)
        return lax.psum(jnp.vdot(h_last, g_last) + jnp.vdot(h, y_bar), "i")

    specs = {name: BATCH.get(name, P()) for name in a}
    where = (specs, P() if lengths is None else P("i"), P("i"), P(None, "i"))
    f = jax.shard_map(loss, mesh=mesh_of(8), in_specs=where, out_specs=P(), check_vma=check_vma)
    program = jax.jit(jax.grad(f)).lower(a, lengths, g_last, y_bar).compile()
    judge(case, program(a, lengths, g_last, y_bar), *expected(case, "float32", "gradient"), "float32")
    assert set(collectives(program)) == {"all-reduce"}


def test_explicit_mode_says_what_it_cannot_infer() -> None:
    mesh = mesh_of(8, kind=AxisType.Explicit)
    with jax.set_mesh(mesh):
        put = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, P(*spec)))  # noqa: E731
        w, x = jnp.ones((8, 8)), jnp.ones((8, 8, 8))
        rows = GatedParams(put(w, "i"), None, put(w, "i"))
        with pytest.raises(ValueError, match=r"gated_scan: `x` must be whole along time: say x = jax\.reshard"):
            gated_scan(GatedParams(w, None, w), put(x, "i"))
        with pytest.raises(ValueError, match=r"must not be split over one mesh axis twice: say jax\.reshard.*'i'"):
            gated_scan(rows, put(x, None, "i"))
        h_last, h = jax.jit(gated_scan)(rows, x)
        assert (jax.typeof(h_last).sharding.spec, jax.typeof(h).sharding.spec) == (P(None, "i"), P(None, None, "i"))
        assert jax.typeof(gated_step(GatedParams(w, w, w), put(x[0], "i"), put(x[0], "i"))).sharding.spec[0] == "i"
