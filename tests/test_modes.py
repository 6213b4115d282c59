"""JAX's own modes: each public call gives under each of them what it gives without.

One table of calls, one of modes. All pairs are the long part of the suite, but for the few in `NOT`, which JAX itself
rules out; the short part takes those modes under which calls have failed, on calls of that kind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from cases import assert_close
from jaxconv import (
    GatedParams,
    Geometry,
    GRUParams,
    LSTMParams,
    assert_vjp,
    causal_conv,
    check_vjp,
    conv,
    conv_general_dilated,
    conv_input_jacobian,
    conv_input_vjp,
    conv_sharded,
    conv_transpose,
    conv_weight_jacobian,
    conv_weight_vjp,
    explain,
    gated_init,
    gated_scan,
    gated_scan_both,
    gated_step,
    gated_step_jacobian,
    global_batch,
    gradient_flow,
    gru_init,
    gru_scan,
    gru_scan_both,
    gru_step,
    gru_step_jacobian,
    halo_exchange,
    halo_exchange_vjp,
    lstm_init,
    lstm_scan,
    lstm_scan_both,
    lstm_step,
    lstm_step_jacobian,
    smallest_failure,
)

pytestmark = pytest.mark.unoptimised

# ---------------------------------------------------------------------------------------------------- the arrays


class Arrays:
    """What the calls are given, on the device already, small numbers with few digits."""

    def __init__(self, dtype: str) -> None:
        random = np.random.default_rng(0)

        def draw(*shape: int) -> jax.Array:
            return jax.device_put((random.integers(-4, 5, shape) / 4).astype(jnp.dtype(dtype)))

        self.dtype = dtype
        self.x, self.w, self.b, self.g = draw(2, 4, 7), draw(6, 2, 3), draw(6), draw(2, 6, 4)
        self.image, self.last, self.volume = draw(2, 2, 6, 6), draw(2, 6, 6, 2), draw(1, 2, 3, 3, 3)
        self.kernel, self.kernel_last, self.kernel_3d = draw(2, 2, 3, 3), draw(3, 3, 2, 2), draw(2, 2, 2, 2, 2)
        self.line, self.taps, self.several = draw(1, 2, 8), draw(2, 2, 3), draw(3, 2, 4, 7)
        self.cell = GatedParams(draw(4, 3), draw(4, 4), draw(4, 3), draw(4), draw(4))
        self.linear = GatedParams(self.cell.w_c, None, self.cell.w_x)
        self.steps, self.first, self.state = draw(5, 2, 3), draw(5, 3), draw(2, 4)
        self.now, self.row, self.single, self.number = draw(2, 3), draw(3), draw(2, 8), draw()
        self.lengths = jax.device_put(np.array([5, 2], np.int32))
        self.key = jax.random.key(0)
        self.depthwise = draw(4, 1, 3)
        self.gru = GRUParams(draw(12, 3), draw(12, 4), draw(12), draw(12))
        self.lstm = LSTMParams(draw(16, 3), draw(16, 4), draw(16), draw(16))


@cache
def arrays(dtype: str) -> Arrays:
    with jax.enable_x64(dtype == "float64"):
        return Arrays(dtype)


# ----------------------------------------------------------------------------------------------------- the calls


def pulled(f: Callable, *args: Any) -> Any:
    """The value, and its own pull-back."""
    values, pull_back = jax.vjp(f, *args)
    return values, pull_back(values)


def squares(f: Callable) -> Callable:
    return lambda *args: sum((leaf * leaf).sum() for leaf in jax.tree.leaves(f(*args)))


def sharded(f: Callable, *specs: Any, out: Any) -> Callable:
    mesh = Mesh(jax.devices()[:1], "i")
    return jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=out)


@jax.custom_vjp
def right(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x @ scale


@jax.custom_vjp
def wrong(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x @ scale


right.defvjp(lambda x, s: (x @ s, (x, s)), lambda kept, g: (g[:, None] * kept[1][None], kept[0].T @ g))
wrong.defvjp(lambda x, s: (x @ s, (x, s)), lambda kept, g: (g[:, None] * kept[1][None], kept[0].T[::-1] @ g))


def verdict(report: Any) -> str:
    """What a report says of every input and every transform: that of a right rule has no False in it."""
    rows, transforms = ([each.passed for each in part] for part in (report.rows, report.transforms))
    return f"{rows} {transforms} {report.passed}"


OPTIONS: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
SPACE, WHOLE = PartitionSpec(None, None, "i"), PartitionSpec()
HALO: dict[str, Any] = {"axis": 2, "axis_name": "i", "before": 1, "after": 2, "periodic": True}
DERIVATIVES = ("hand", "any", "jax")

CALLS: dict[str, Callable[[Arrays], Any]] = {
    **{f"conv-{d}": lambda a, d=d: pulled(partial(conv, **OPTIONS, derivative=d), a.x, a.w, a.b) for d in DERIVATIVES},
    **{
        f"conv_transpose-{d}": lambda a, d=d: pulled(
            partial(conv_transpose, **OPTIONS, output_padding=1, derivative=d), a.g, a.w
        )
        for d in DERIVATIVES
    },
    **{
        f"conv-{mode}": lambda a, m=mode: pulled(partial(conv, padding=1, padding_mode=m), a.image, a.kernel)
        for mode in ("reflect", "edge", "circular")
    },
    **{
        f"conv-{form}": lambda a, form=form: pulled(partial(conv, padding=1, lowering=form), a.image, a.kernel)
        for form in ("reference", "gemm")
    },
    "conv-last": lambda a: pulled(partial(conv, padding="SAME", layout="channels_last"), a.last, a.kernel_last),
    "conv-3d": lambda a: pulled(partial(conv, padding=1), a.volume, a.kernel_3d),
    "conv-no-batch": lambda a: pulled(partial(conv, padding="CAUSAL"), a.single, a.taps),
    "conv-vmap-of-grad": lambda a: jax.jit(jax.vmap(jax.grad(squares(partial(conv, **OPTIONS)), (0, 1)), (0, None)))(
        a.several, a.w
    ),
    "conv-grad-of-grad": lambda a: jax.jit(jax.grad(squares(jax.grad(squares(conv), (0, 1))), (0, 1)))(a.line, a.taps),
    **{
        f"conv-jvp-{d}": lambda a, d=d: jax.jvp(partial(conv, **OPTIONS, derivative=d), (a.x, a.w), (a.x, a.w))
        for d in ("any", "jax")
    },
    "conv_input_vjp": lambda a: pulled(partial(conv_input_vjp, **OPTIONS, input_size=7), a.g, a.w),
    "conv_weight_vjp": lambda a: pulled(partial(conv_weight_vjp, **OPTIONS, kernel_size=3), a.x, a.g),
    "conv_general_dilated": lambda a: pulled(
        lambda x, w: conv_general_dilated(x, w, (2,) * (x.ndim - 2), "SAME", feature_group_count=2), a.x, a.w
    ),
    "conv_input_jacobian": lambda a: pulled(lambda w: conv_input_jacobian(a.x, w, **OPTIONS), a.w),
    "conv_weight_jacobian": lambda a: pulled(lambda x: conv_weight_jacobian(x, a.w, **OPTIONS), a.x),
    **{f"conv_input_jacobian-{d}": lambda a, d=d: conv_input_jacobian(a.x, a.w, **OPTIONS, derivative=d) for d in
       ("any", "jax")},
    "gated_init": lambda a: gated_init(jax.random.clone(a.key), 3, 4, dtype=a.dtype),
    "gated_step": lambda a: pulled(gated_step, a.cell, a.state, a.now),
    "gated_step-linear": lambda a: pulled(gated_step, a.linear, a.state, a.now),
    "gated_step-fewer-axes": lambda a: pulled(gated_step, a.cell, a.state, a.row),
    "gated_step_jacobian": lambda a: gated_step_jacobian(a.cell, a.state, a.now),
    "gated_step_jacobian-linear": lambda a: gated_step_jacobian(a.linear, a.state, a.row),
    **{
        f"gated_scan-{name}": lambda a, o=options: pulled(partial(gated_scan, **o), a.cell, a.steps, a.state)
        for name, options in {
            "recompute": {}, "save": {"residuals": "save"}, "every-2": {"residuals": 2, "unroll": 2},
            "reverse": {"reverse": True}, "by-JAX": {"derivative": "jax"},
        }.items()
    },
    **{
        f"gated_scan-lengths-{name}": lambda a, o=options: pulled(partial(gated_scan, lengths=a.lengths, **o), a.cell,
                                                                  a.steps)
        for name, options in {"recompute": {}, "every-2": {"residuals": 2, "reverse": True},
                              "by-JAX": {"derivative": "jax"}}.items()
    },
    "gated_scan-linear": lambda a: pulled(gated_scan, a.linear, a.steps),
    "gated_scan-linear-lengths": lambda a: pulled(
        partial(gated_scan, lengths=a.lengths, residuals=2, reverse=True), a.linear, a.steps
    ),
    "gated_scan-time_axis": lambda a: pulled(partial(gated_scan, time_axis=1), a.cell, a.steps),
    "gated_scan-one-length": lambda a: pulled(partial(gated_scan, lengths=2), a.cell, a.first),
    "gated_scan-lengths-of-numpy": lambda a: gated_scan(a.cell, a.steps, lengths=np.array([5, 2])),
    "gated_scan-jvp": lambda a: jax.jvp(lambda x: gated_scan(a.cell, x, derivative="jax"), (a.steps,), (a.steps,)),
    "gated_scan_both": lambda a: pulled(partial(gated_scan_both, lengths=a.lengths), a.cell, a.cell, a.steps),
    "causal_conv": lambda a: pulled(causal_conv, a.x, a.depthwise),
    **{
        f"{cell}_init": lambda a, init=init: init(jax.random.clone(a.key), 3, 4, memory=9, dtype=a.dtype)
        for cell, init in (("gru", gru_init), ("lstm", lstm_init))
    },
    "gru_step": lambda a: pulled(gru_step, a.gru, a.state, a.now),
    "gru_step_jacobian": lambda a: gru_step_jacobian(a.gru, a.state, a.now),
    "gru_scan": lambda a: pulled(partial(gru_scan, lengths=a.lengths), a.gru, a.steps, a.state),
    "gru_scan-before": lambda a: pulled(partial(gru_scan, reset="before", reverse=True), a.gru, a.steps),
    "gru_scan_both": lambda a: pulled(gru_scan_both, a.gru, a.gru, a.steps),
    "lstm_step": lambda a: pulled(lstm_step, a.lstm, (a.state, a.state), a.now),
    "lstm_step_jacobian": lambda a: lstm_step_jacobian(a.lstm, (a.state, a.state), a.now),
    "lstm_scan": lambda a: pulled(partial(lstm_scan, lengths=a.lengths, residuals=2), a.lstm, a.steps),
    "lstm_scan_both": lambda a: pulled(lstm_scan_both, a.lstm, a.lstm, a.steps),
    "gradient_flow": lambda a: gradient_flow(a.cell, a.steps),
    "gradient_flow-linear": lambda a: gradient_flow(a.linear, a.steps, a.state),
    "gradient_flow-summary": lambda a: gradient_flow(a.cell, a.steps).summary().split()[0],
    **{
        f"conv_sharded-{d}": lambda a, d=d: pulled(
            sharded(partial(conv_sharded, axis_name="i", padding="SAME", derivative=d), SPACE, WHOLE, out=SPACE),
            a.line, a.taps,
        )
        for d in DERIVATIVES
    },
    "halo_exchange": lambda a: pulled(sharded(partial(halo_exchange, **HALO), SPACE, out=SPACE), a.line),
    "halo_exchange_vjp": lambda a: pulled(sharded(partial(halo_exchange_vjp, **HALO), SPACE, out=SPACE), a.line),
    "gated_scan-in-shard_map": lambda a: pulled(
        sharded(gated_scan, WHOLE, PartitionSpec(None, "i"), out=(PartitionSpec("i"), PartitionSpec(None, "i"))),
        a.cell, a.steps,
    ),
    "global_batch": lambda a: global_batch({"x": a.x}, mesh=Mesh(jax.devices()[:1], "i"), axis_name="i"),
    "check_vjp-right": lambda a: verdict(check_vjp(right, a.now, a.row)),
    "check_vjp-wrong": lambda a: verdict(check_vjp(wrong, a.now, a.row, reference=lambda x, s: x @ s)),
    "check_vjp-conv": lambda a: verdict(check_vjp(partial(conv, **OPTIONS), a.x, a.w, directions=2)),
    "check_vjp-gated_scan": lambda a: verdict(
        check_vjp(lambda p, x: gated_scan(p, x, lengths=a.lengths)[1], a.cell, a.steps, directions=2)
    ),
    "assert_vjp": lambda a: verdict(assert_vjp(right, a.now, a.row)),
    "smallest_failure": lambda a: smallest_failure(wrong, lambda i, j: ((i, j), (j,))),
    "explain": lambda a: str([check.passed for check in explain(conv, a.line, a.taps, padding=1).checks]),
    "explain-geometry": lambda a: str([check.passed for check in explain(Geometry.of("conv", 9, 3, stride=2)).checks]),
}  # fmt: skip

# ----------------------------------------------------------------------------------------------------- the modes


@contextlib.contextmanager
def flags(**values: Any) -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


class Mode(NamedTuple):
    """What is switched on, the dtype of the arrays, and what is on in the run that it is compared with."""

    on: Callable[[], Any]
    dtype: str = "float32"
    beside: Callable[[], Any] = contextlib.nullcontext


STRICT: dict[str, Any] = {"jax_numpy_dtype_promotion": "strict", "jax_numpy_rank_promotion": "raise"}
MODES = {
    "rank promotion": Mode(partial(jax.numpy_rank_promotion, "raise")),
    "strict dtypes": Mode(partial(jax.numpy_dtype_promotion, "strict")),
    "strict bfloat16": Mode(partial(flags, **STRICT), "bfloat16"),
    "x64": Mode(partial(jax.enable_x64, True)),
    "strict x64": Mode(partial(flags, jax_enable_x64=True, **STRICT)),
    "strict float64": Mode(partial(flags, jax_enable_x64=True, **STRICT), "float64", partial(jax.enable_x64, True)),
    "explicit x64 dtypes": Mode(partial(flags, jax_explicit_x64_dtypes="error")),
    "transfer guard": Mode(partial(jax.transfer_guard, "disallow")),
    "disable_jit": Mode(jax.disable_jit),
    "debug_nans": Mode(partial(jax.debug_nans, True)),
    "debug_infs": Mode(partial(jax.debug_infs, True)),
    "checking_leaks": Mode(jax.checking_leaks),
    "enable_checks": Mode(partial(jax.enable_checks, True)),
    "key reuse": Mode(partial(jax.debug_key_reuse, True)),
    "no legacy keys": Mode(partial(jax.legacy_prng_key, "error")),
    "threefry not partitionable": Mode(partial(jax.threefry_partitionable, False)),
    "highest precision": Mode(partial(jax.default_matmul_precision, "highest")),
}

# What JAX itself rules out: pairs of a call and a mode, and why.
NOT = {
    ("gated_init", "threefry not partitionable"): "JAX then draws other numbers",
    ("gru_init", "threefry not partitionable"): "JAX then draws other numbers",
    ("lstm_init", "threefry not partitionable"): "JAX then draws other numbers",
}


@cache
def without(call: str, dtype: str, beside: Callable[[], Any]) -> Any:
    with beside():
        return CALLS[call](arrays(dtype))


def assert_unchanged(call: str, name: str) -> None:
    mode = MODES[name]
    given, expected = arrays(mode.dtype), without(call, mode.dtype, mode.beside)
    with mode.on():
        found = CALLS[call](given)
    if isinstance(expected, str):
        assert found == expected
    else:
        assert_close(found, expected)
    if call.startswith(("check_vjp", "assert_vjp")):
        assert ("False" in found) == (call == "check_vjp-wrong")


# The modes under which calls have failed, and calls that stand for the others of their kind.
QUICK = {
    "rank promotion": (
        "gated_step-fewer-axes", "gated_step_jacobian", "gated_scan-lengths-every-2", "conv-hand",
    ),
    "strict bfloat16": ("conv-hand",),
    "strict x64": ("conv-any", "gated_scan-linear-lengths"),
    "transfer guard": (
        "conv_input_jacobian", "gradient_flow", "gated_init", "gated_scan-one-length", "halo_exchange_vjp",
        "check_vjp-right", "explain",
    ),
    "disable_jit": ("conv_sharded-hand",),
}  # fmt: skip


@pytest.mark.parametrize(("mode", "call"), [(mode, call) for mode, calls in QUICK.items() for call in calls])
def test_unchanged_under(mode: str, call: str) -> None:
    assert_unchanged(call, mode)


# Under these some calls stand for the others; those of the checker that take long stand under `FULL`.
FIRST = {
    "conv-hand", "conv_transpose-hand", "conv_weight_vjp", "conv_general_dilated", "gated_init", "gated_scan-recompute",
    "gru_scan", "lstm_scan", "gradient_flow", "conv_sharded-hand", "check_vjp-right", "explain",
}  # fmt: skip
LIGHT = MODES.keys() - {"rank promotion", "strict bfloat16", "strict x64"}
LONG, FULL = {"check_vjp-conv", "check_vjp-gated_scan", "smallest_failure"}, {"rank promotion", "strict x64"}


def in_long_part(call: str, mode: str) -> bool:
    """Whether a pair is one of the long part."""
    if mode in LIGHT and call not in FIRST:
        return False
    return (call not in LONG or mode in FULL) and call not in QUICK.get(mode, ()) and (call, mode) not in NOT


@pytest.fixture(scope="module")
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """One mode after the other; its programs are let go: of their mappings a process has some 65,000."""
    yield request.param
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "call"), [(m, c) for m in MODES for c in CALLS if in_long_part(c, m)], indirect=["mode"]
)
def test_every_call_under_every_mode(mode: str, call: str) -> None:
    assert_unchanged(call, mode)


def test_the_table_is_whole() -> None:
    """Every public function that computes with arrays stands in it; those that carry weights over compute nothing."""
    import jaxconv

    called = {call.split("-")[0] for call in CALLS}
    sizes = {"conv_cost", "input_sizes", "merge_receptive_fields", "output_shape", "output_size", "receptive_field",
             "same_padding", "transpose_output_size", "unread_inputs"}  # fmt: skip
    others = {"accelerate", "conv_algorithm", "layers", "recurrent", "use_wisdom", "gru_from", "gru_to", "lstm_from",
              "lstm_to"}  # fmt: skip
    assert {name for name in jaxconv.__all__ if name.islower()} == called | sizes | others


def test_what_jax_forbids_eagerly() -> None:
    """Under the transfer guard JAX's own gradient, outside jit, sends the number 1; compiled nothing is sent."""
    a = arrays("float32")
    loss = jax.jit(squares(conv))
    expected = jax.grad(loss)(a.line, a.taps)
    with jax.transfer_guard("disallow"):
        with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
            jax.grad(lambda x: jax.lax.mul(x, x))(a.number)
        found = jax.jit(jax.grad(loss))(a.line, a.taps)
    assert_close(found, expected)


@pytest.mark.slow
def test_exercises_under_strict_x64() -> None:
    from jaxconv.verify.exercises import EXERCISES

    with flags(jax_enable_x64=True, **STRICT):
        assert all(exercise().title for exercise in EXERCISES)


@pytest.mark.slow
@pytest.mark.parametrize("x64", ["0", "1"])
def test_command_under_strict_modes(x64: str) -> None:
    """The trainings, too: set in the environment, as people do."""
    on = {"JAX_ENABLE_X64": x64, **{name.upper(): value for name, value in STRICT.items()}}
    command = [sys.executable, "-m", "jaxconv", "verify", "--quick"]
    run = subprocess.run(command, env={**os.environ, **on}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-3000:]
