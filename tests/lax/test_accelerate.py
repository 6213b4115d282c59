"""The switch, and what it must not touch."""

import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import jaxconv
from jaxconv._jax import conv_rule
from jaxconv.lax.accelerated import SWITCH, Accelerated, LeftRow, TakenRow
from jaxconv.lax.route import Record

pytestmark = pytest.mark.unoptimised

X = jnp.sin(jnp.arange(2 * 6 * 5 * 8.0)).reshape(2, 6, 5, 8)
W = jnp.cos(jnp.arange(3 * 3 * 2 * 8.0)).reshape(3, 3, 2, 8)
NUMBERS = ("NHWC", "HWIO", "NHWC")


def loss(convolve=lax.conv_general_dilated):
    """A new function every time, so that nothing of it is compiled yet: four groups, stride two."""

    def of(x, w):
        y = convolve(x, w, (2, 1), "SAME", dimension_numbers=NUMBERS, feature_group_count=4)
        return jnp.sum(y * jnp.cos(y))

    return of


def own_rule() -> bool:
    """Whether JAX's own rule stands in its table."""
    return conv_rule._table()[lax.conv_general_dilated_p].rule.__module__ != conv_rule.__name__


@pytest.fixture(autouse=True)
def _off(monkeypatch):
    """As in a process in which the drop-in was never called."""
    monkeypatch.setattr(SWITCH, "_marked", False)
    SWITCH._apply()
    assert own_rule()
    yield
    SWITCH.stop(Accelerated(), Record())


def maps(handle):
    return {row.which: row.times for row in handle.report().taken}


def test_a_block_takes_value_and_both_gradients():
    right = jax.grad(loss(), (0, 1))(X, W)
    with jaxconv.accelerate() as handle:
        assert not own_rule()
        got = jax.jit(jax.grad(loss(), (0, 1)))(X, W)
    assert own_rule()
    assert maps(handle) == {"conv": 1, "conv_input_vjp": 1, "conv_weight_vjp": 1}
    assert handle.report().left == ()
    for ours, theirs in zip(got, right, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_twice_is_once_and_stop_restores():
    first, second = jaxconv.accelerate(), jaxconv.accelerate()
    jax.jit(loss())(X, W)
    assert maps(first) == maps(second) == {"conv": 1}
    second.stop()
    assert own_rule()
    jax.jit(loss())(X, W)
    assert maps(first) == {"conv": 1}
    first.stop()
    assert own_rule()


def test_blocks_within_blocks():
    with jaxconv.accelerate() as outer:
        with jaxconv.accelerate() as inner:
            jax.jit(loss())(X, W)
        assert not own_rule(), "the outer block is still open"
        jax.jit(loss())(X, W)
    assert (maps(outer), maps(inner)) == ({"conv": 2}, {"conv": 1})
    assert own_rule()


def test_a_block_does_not_end_what_was_on_before():
    handle = jaxconv.accelerate()
    with jaxconv.accelerate():
        pass
    assert not own_rule()
    handle.stop()
    assert own_rule()


def test_it_is_off_after_an_error():
    with pytest.raises(ZeroDivisionError), jaxconv.accelerate():
        _ = 1 / 0
    assert own_rule()


def test_blocks_in_threads_may_overlap():
    opened, closed, seen = threading.Event(), threading.Event(), {}

    def other():
        with jaxconv.accelerate() as handle:
            opened.set()
            closed.wait(60)
            jax.jit(loss())(X, W)
            seen.update(maps(handle))

    thread = threading.Thread(target=other)
    with jaxconv.accelerate():
        thread.start()
        assert opened.wait(60)
    closed.set()
    thread.join(60)
    assert seen == {"conv": 1}
    assert own_rule()


def test_what_was_compiled_before_stays():
    compiled = jax.jit(loss())
    compiled(X, W)
    with jaxconv.accelerate() as handle:
        compiled(X, W)
        assert maps(handle) == {}
        jax.clear_caches()
        compiled(X, W)
        assert maps(handle) == {"conv": 1}


def test_the_library_itself_is_left_alone():
    """What its algorithms call of lax is lowered as it stands: the choice is not made twice."""
    with jaxconv.accelerate() as handle:
        for lowering in ("auto", "reference", "gemm"):
            how = {"lowering": lowering, "layout": "channels_last", "padding": 1, "groups": 4}
            jax.jit(jax.grad(lambda x, w, how=how: jaxconv.conv(x, w, **how).sum(), (0, 1)))(X, W)
    assert handle.report() == ((), ())


def test_why_something_is_left():
    with jaxconv.accelerate() as handle:
        jax.jit(lambda x, w: lax.conv(x, w, (1, 1), "SAME"))(jnp.ones((1, 1, 4, 4), int), jnp.ones((1, 1, 2, 2), int))
        both = {"lhs_dilation": (2, 1), "rhs_dilation": (2, 1)}
        jax.jit(lambda x, w: lax.conv_general_dilated(x, w, (2, 2), [(0, 0)] * 2, **both))(
            jnp.ones((1, 1, 9, 9)), jnp.ones((1, 1, 2, 2))
        )
    report = handle.report()
    assert report.taken == ()
    assert {row.why.split(":")[0] for row in report.left} == {
        "dtype int32",
        "lhs_dilation, rhs_dilation and window_strides all exceed 1",
    }
    assert str(report).splitlines()[0] == "0 convolutions compiled by jaxconv"


def test_the_report_in_words():
    report = type(jaxconv.accelerate().report())((TakenRow("conv", "gemm", 1),), (LeftRow("two dtypes", 2),))
    assert str(report).splitlines() == [
        "1 convolution compiled by jaxconv", "    1  conv              gemm", "2 left to JAX", "    2  two dtypes",
    ]  # fmt: skip


def test_an_export_for_several_platforms_is_portable():
    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (X, W)]
    with jaxconv.accelerate() as handle:
        exported = export.export(jax.jit(jax.grad(loss())), platforms=("cpu", "cuda", "tpu"))(*shapes)
    assert sum(maps(handle).values()) > 0
    text = exported.mlir_module()
    assert text.count("stablehlo.convolution") >= 2, "lax's own, for the others"
    assert "custom_call" not in text.replace("@Sharding", "")
    again = export.deserialize(exported.serialize())
    np.testing.assert_allclose(again.call(X, W), jax.grad(loss())(X, W), rtol=1e-4, atol=1e-4)


def test_another_platform_is_untouched():
    lower = lambda: jax.jit(loss()).trace(X, W).lower(lowering_platforms=("cuda",)).as_text()  # noqa: E731
    plain = lower()
    with jaxconv.accelerate() as handle:
        assert lower() == plain
    assert handle.report() == ((), ())


def test_a_jax_without_the_names_is_warned_of_and_unchanged(monkeypatch):
    monkeypatch.setattr(conv_rule, "missing", lambda: "JAX 99 has no such rule")
    with pytest.warns(RuntimeWarning, match="JAX 99 has no such rule: nothing is changed"):
        handle = jaxconv.accelerate()
    with handle:
        assert own_rule()
        jax.jit(loss())(X, W)
    assert handle.report() == ((), ())
    y = jaxconv.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=NUMBERS, feature_group_count=4)
    assert y.shape == X.shape


def test_the_names_are_there():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert conv_rule.missing() is None
