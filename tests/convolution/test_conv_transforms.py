"""What JAX does to a function it may do to ours, and the bits stay the same.

All data are small whole numbers: sums of their products are exact in any order, so equality is the test throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, export, lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import subjaxprs

from cases import FEW, Case, assert_same, by_id, integers, named
from jaxconv import conv, conv_input_jacobian, conv_input_vjp, conv_transpose, conv_weight_jacobian, conv_weight_vjp

pytestmark = pytest.mark.unoptimised

CASE = named("1d-groups-last")


@cache
def triple(case: Case) -> Any:
    """(x, w, g) ↦ (y, dx, dw), jitted; made once for each case, so that it is compiled once."""

    @jax.jit
    def all_three(x: Array, w: Array, g: Array) -> tuple[Array, ...]:
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, **case.options), x, w)
        return y, *pull_back(g)

    return all_three


def data(case: Case, *, mapped: tuple[int, ...] = ()) -> list[Array]:
    """x, w and g as whole numbers, with `mapped` leading axes."""
    return integers(1, *((*mapped, *shape) for shape in (case.x_shape, case.w_shape, case.y_shape)))


@pytest.mark.parametrize("case", **by_id(FEW[::3]))
def test_jit(case: Case) -> None:
    inputs = data(case)
    assert_same(triple(case)(*inputs), triple(case).__wrapped__(*inputs))


@pytest.mark.short("1d")
@pytest.mark.parametrize("axes", [(0, None, 0), (None, 0, 0), (0, 0, 0), (2, 1, 3), (0, 0, None)], ids=str)
@pytest.mark.parametrize("case", **by_id(FEW[4::5]))
def test_vmap_is_a_loop(case: Case, axes: tuple[int | None, ...]) -> None:
    """Over x, over w, over both, over axes further in, and with one cotangent for all."""
    inputs = [
        each[0] if axis is None else jnp.moveaxis(each, 0, axis)
        for each, axis in zip(data(case, mapped=(3,)), axes, strict=True)
    ]
    results = jax.jit(jax.vmap(triple(case), axes))(*inputs)
    for i in range(3):
        chosen = [each if axis is None else jnp.take(each, i, axis) for each, axis in zip(inputs, axes, strict=True)]
        assert_same(tuple(result[i] for result in results), triple(case)(*chosen))


def test_vmap_over_x_is_a_batch_axis() -> None:
    x, w, g = data(CASE, mapped=(3,))
    y, dx, dw = jax.vmap(triple(CASE), (0, None, 0))(x, w[0], g)
    y_merged, dx_merged, dw_merged = triple(CASE)(x, w[0], g)
    assert_same((y, dx, dw.sum(0)), (y_merged, dx_merged, dw_merged))


def test_vmap_of_grad() -> None:
    """Gradients example by example, as for clipping them one by one."""
    x, w = integers(2, (5, 3, 9), (4, 3, 3))
    loss = lambda w, x: (conv(x, w, stride=2) ** 2).sum()  # noqa: E731
    each = jax.vmap(jax.grad(loss), (None, 0))(w, x)
    assert_same(each.sum(0), jax.grad(loss)(w, x))
    assert_same(each[3], jax.grad(loss)(w, x[3]))


def test_grad_of_vmap() -> None:
    x, w = integers(2, (5, 3, 9), (2, 4, 3, 3))
    over_both = lambda x, w: (jax.vmap(lambda w: conv(x, w, padding=1))(w) ** 2).sum()  # noqa: E731
    one_by_one = lambda x, w: sum((conv(x, each, padding=1) ** 2).sum() for each in w)  # noqa: E731
    assert_same(jax.grad(over_both, (0, 1))(x, w), jax.grad(one_by_one, (0, 1))(x, w))


@pytest.mark.parametrize("case", **by_id(FEW[::3]))
def test_layouts_agree(case: Case) -> None:
    """The same numbers with the axes in the other order."""
    x, w, g = data(case)
    axes = case.axes

    def array_turned(a: Array) -> Array:
        last, first = -1, a.ndim - 1 - axes
        return jnp.moveaxis(a, first, last) if case.channels_first else jnp.moveaxis(a, last, first)

    def kernel_turned(a: Array) -> Array:
        return jnp.moveaxis(a, (0, 1), (-1, -2)) if case.channels_first else jnp.moveaxis(a, (-1, -2), (0, 1))

    layout = "channels_last" if case.channels_first else "channels_first"
    other = Case(f"{case.id}-turned", x.shape, w.shape, {**case.options, "layout": layout})
    y, dx, dw = triple(case)(x, w, g)
    turned = triple(other)(array_turned(x), kernel_turned(w), array_turned(g))
    assert_same((array_turned(y), array_turned(dx), kernel_turned(dw)), turned)


def test_reads_as_documented_with_any_number_of_batch_axes() -> None:
    x, w = integers(3, (2, 3, 4, 5, 9), (6, 5, 3))
    flat = conv(x.reshape(24, 5, 9), w)
    assert_same(conv(x, w), flat.reshape(2, 3, 4, 6, 7))
    assert_same(conv(x[0, 0, 0], w), flat[0])


# ------------------------------------------------------------------------------------------------ higher orders


def gradient_along(f: Callable[..., Array], direction: Sequence[Array]) -> Callable[..., Array]:
    """The derivative of f(x, w) along a direction, by reverse mode."""
    gradient = jax.grad(f, (0, 1))
    return lambda x, w: sum(jnp.vdot(t, d) for t, d in zip(direction, gradient(x, w), strict=True))


@pytest.mark.short("last")
@pytest.mark.parametrize("case", [named("1d-remainder"), named("1d-groups-last")], ids=lambda c: c.id)
def test_third_order(case: Case) -> None:
    x, w, *t = integers(4, *(case.x_shape, case.w_shape) * 3, most=1)

    def cubed(derivative: str) -> Callable[[Array, Array], Array]:
        return lambda x, w: (conv(x, w, **case.options, derivative=derivative) ** 3).sum()

    def third(derivative: str) -> tuple[Array, Array]:
        along_both = gradient_along(gradient_along(cubed(derivative), t[:2]), t[2:])
        return jax.jit(jax.grad(along_both, (0, 1)))(x, w)

    assert abs(third("jax")[0]).max() > 0
    assert_same(third("hand"), third("jax"))


@pytest.mark.parametrize("derivative", ["hand", "jax"])
def test_jacobians_are_made_of_the_gradients(derivative: str) -> None:
    x, w, g = data(CASE)
    into_x = conv_input_jacobian(x, w, **CASE.options, derivative=derivative)
    into_w = conv_weight_jacobian(x, w, **CASE.options, derivative=derivative)
    assert into_x.shape == (*g.shape, *x.shape)
    assert into_w.shape == (*g.shape, *w.shape)
    _, dx, dw = triple(CASE)(x, w, g)
    assert_same((jnp.tensordot(g, into_x, g.ndim), jnp.tensordot(g, into_w, g.ndim)), (dx, dw))


@pytest.mark.slow
def test_hessian_through_jax() -> None:
    """Where forward mode is asked for, derivative="jax" has it; reverse over reverse by hand agrees."""
    x, w = integers(5, (2, 3, 6), (2, 3, 3), most=1)
    loss = lambda w, how: (conv(x, w, padding=1, derivative=how) ** 3).sum()  # noqa: E731
    by_jax = jax.hessian(loss)(w, "jax")
    assert_same(by_jax, jax.jacrev(jax.grad(loss))(w, "hand"))


def test_forward_mode_through_jax() -> None:
    x, w, tx, tw = integers(6, *(CASE.x_shape, CASE.w_shape) * 2)
    by_jax = lambda x, w: conv(x, w, **CASE.options, derivative="jax")  # noqa: E731
    y, t = jax.jvp(by_jax, (x, w), (tx, tw))
    assert_same(y, conv(x, w, **CASE.options))
    assert_same(t, conv(tx, w, **CASE.options) + conv(x, tw, **CASE.options))
    assert_same(jax.jacfwd(by_jax)(x, w), conv_input_jacobian(x, w, **CASE.options))


def test_forward_mode_by_hand_is_refused() -> None:
    x, w = integers(6, (1, 5), (1, 1, 3))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(conv, (x, w), (x, w))


# ------------------------------------------------------------------------------------------- control flow


def test_checkpoint() -> None:
    x, w, g = data(CASE)
    f = lambda x, w: conv(x, w, **CASE.options)  # noqa: E731
    assert_same(jax.vjp(jax.checkpoint(f), x, w)[1](g), jax.vjp(f, x, w)[1](g))


def test_scan() -> None:
    """Layers of one shape as a scan over their kernels, and its gradient."""
    x, w = integers(7, (2, 3, 7), (4, 3, 3, 3), most=1)

    def scanned(x: Array, w: Array) -> Array:
        return lax.scan(lambda x, w: (conv(x, w, padding="SAME"), None), x, w)[0].sum()

    def unrolled(x: Array, w: Array) -> Array:
        for each in w:
            x = conv(x, each, padding="SAME")
        return x.sum()

    assert_same(jax.grad(scanned, (0, 1))(x, w), jax.grad(unrolled, (0, 1))(x, w))


def test_cond_and_while() -> None:
    x, w = integers(8, (2, 3, 7), (3, 3, 3), most=1)
    f = lambda x: conv(x, w, padding=1)  # noqa: E731
    assert_same(jax.grad(lambda x: lax.cond(x[0, 0, 0] < 99, f, jnp.zeros_like, x).sum())(x), jax.grad(_total(f))(x))
    assert_same(lax.fori_loop(0, 3, lambda _, x: f(x), x), f(f(f(x))))


def _total(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: f(x).sum()


def test_eval_shape() -> None:
    """Shapes alone suffice, and errors come from shapes alone."""
    x, w, g = (jax.ShapeDtypeStruct(each.shape, jnp.bfloat16) for each in data(CASE))
    for result, expected in zip(jax.eval_shape(triple(CASE), x, w, g), (g, x, w), strict=True):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)


def test_export_with_symbolic_batch_and_size() -> None:
    """One exported program for every batch and every length, gradients included."""
    w, *_ = integers(9, (4, 3, 3))
    batch, length = export.symbolic_shape("batch, length", constraints=["length >= 8"])
    f = jax.jit(lambda x: jax.value_and_grad(lambda x: (conv(x, w, padding=1) ** 2).sum())(x))
    exported = export.export(f)(jax.ShapeDtypeStruct((batch, 3, length), jnp.float32))
    for seed, shape in enumerate([(1, 3, 8), (3, 3, 11)]):
        (x,) = integers(seed, shape)
        assert_same(exported.call(x), f(x))


# ----------------------------------------------------------------------------- what is computed, kept, compiled


def convolutions(f: Callable[..., Any], *args: Array) -> list[dict[str, Any]]:
    """Parameters of every convolution in the program that f traces to, those of inner functions included."""

    def found(jaxpr: Any) -> list[dict[str, Any]]:
        here = [equation.params for equation in jaxpr.eqns if equation.primitive is lax.conv_general_dilated_p]
        return here + [each for inner in subjaxprs(jaxpr) for each in found(inner)]

    return found(jax.make_jaxpr(f)(*args).jaxpr)


@pytest.mark.parametrize(("wanted", "expected"), [((0,), 2), ((1,), 2), ((0, 1), 3)], ids=["dx", "dw", "dx-dw"])
def test_only_the_wanted_gradients_are_computed(wanted: tuple[int, ...], expected: int) -> None:
    """One convolution for the value, one for each gradient, and no dead code left to the compiler: so eagerly too."""
    x, w, b = integers(10, (2, 3, 9), (4, 3, 3), (4,))
    loss = lambda x, w: conv(x, w, b, lowering="reference").sum()  # noqa: E731
    assert len(convolutions(loss, x, w)) == 1
    assert len(convolutions(jax.grad(loss, wanted), x, w)) == expected


def remade(derivative: str, named: bool, policy: Any) -> int:
    """Convolutions, lax's or ours, that a rematerialised gradient holds beyond the value and the two gradients."""
    x, w = integers(10, (2, 3, 9), (4, 3, 3))

    def layer(x: Array, w: Array) -> Array:
        y = conv(x, w, derivative=derivative, lowering="reference")
        return jnp.sin(checkpoint_name(y, "y") if named else y)

    def found(jaxpr: Any) -> int:
        ours = [
            each.primitive.name for each in jaxpr.eqns if each.primitive.name in ("conv_general_dilated", "jaxconv")
        ]
        return len(ours) + sum(map(found, subjaxprs(jaxpr)))

    rematerialised = jax.checkpoint(layer, policy=policy)
    gradient = jax.grad(lambda x, w: rematerialised(x, w).sum(), (0, 1))
    assert_same(gradient(x, w), jax.grad(lambda x, w: layer(x, w).sum(), (0, 1))(x, w))
    return found(jax.make_jaxpr(gradient)(x, w).jaxpr) - 3


@pytest.mark.short("hand")
@pytest.mark.parametrize("derivative", ["hand", "any", "jax"])
def test_rematerialisation_keeps_a_named_result(derivative: str) -> None:
    """A policy by lax's names remakes a convolution of ours; one by the result's own name does not."""
    policies = jax.checkpoint_policies
    assert remade(derivative, False, None) == 1
    assert remade(derivative, False, policies.dots_saveable) == (0 if derivative == "jax" else 1)
    assert remade(derivative, True, policies.save_only_these_names("y")) == 0


def test_left_to_jax_a_program_holds_laxs_primitives_alone() -> None:
    """What exporters walk, for which neither a custom rule nor a primitive of ours is known."""
    x, w, b, g = integers(10, (2, 3, 9), (4, 3, 3), (4,), (2, 4, 7))

    def names(jaxpr: Any) -> set[str]:
        return {each.primitive.name for each in jaxpr.eqns}.union(*map(names, subjaxprs(jaxpr)))

    def found(derivative: str) -> set[str]:
        def several(x: Array, w: Array, b: Array, g: Array) -> tuple[Array, ...]:
            y = conv(x, w, b, derivative=derivative)
            dx = conv_input_vjp(g, w, input_size=9, derivative=derivative)
            dw = conv_weight_vjp(x, g, kernel_size=3, derivative=derivative)
            return y, dx, dw, conv_transpose(g, w, derivative=derivative)

        unknown = ("custom", "jaxconv", "cond")
        return {name for name in names(jax.make_jaxpr(several)(x, w, b, g).jaxpr) if name.startswith(unknown)}

    assert not found("jax")
    assert all(map(found, ("hand", "any")))


def test_a_bias_alone_costs_no_convolution_backward() -> None:
    x, w, b = integers(10, (2, 3, 9), (4, 3, 3), (4,))
    assert len(convolutions(jax.grad(lambda b: conv(x, w, b, lowering="reference").sum()), b)) == 1


def test_nothing_but_the_factors_is_kept() -> None:
    """The pull-back holds the two factors, whole or not at all, and empty marks; no output, no copy."""
    x, w = integers(11, (2, 3, 9), (4, 3, 3))
    _, pull_back = jax.vjp(conv, x, w)
    held = [leaf.shape for leaf in jax.tree.leaves(pull_back) if leaf.size]
    assert sorted(held) == sorted([x.shape, w.shape])


INTERLEAVED = [("x", "w"), ("w", "x"), ("b", "x"), ("x", "b"), ("w", "b")]


@pytest.mark.short("^w-then-x", "^x-then-b")
@pytest.mark.parametrize("names", INTERLEAVED, ids="-then-".join)
def test_pull_backs_alive_together(names: tuple[str, ...]) -> None:
    """Each pull-back keeps to its own factor, however many were made before it is called.

    x, w and y have one shape here, so that a mixed-up factor would go unnoticed but for its numbers; and that shape is
    met in no other test, since JAX remembers how it traced a rule before.
    """
    n = 11 + INTERLEAVED.index(names)
    *factors, g = integers(12, (n, n, n), (n, n, n), (n,), (n, n, n), most=1)
    inputs = dict(zip("xwb", factors, strict=True))
    f = partial(conv, padding="SAME")
    pull_backs = {
        name: jax.vjp(lambda value, name=name: f(**{**inputs, name: value}), inputs[name])[1] for name in names
    }
    by_jax = dict(zip("xwb", jax.vjp(partial(f, derivative="jax"), *factors)[1](g), strict=True))
    for name in names:
        assert_same(pull_backs[name](g), (by_jax[name],))


@contextmanager
def counted_work() -> Iterator[list[str]]:
    """Everything JAX traces, lowers or compiles in here, by the name of its event."""
    events: list[str] = []

    def note(event: str, duration: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, g: conv(x, w, stride=2),
        lambda x, w, g: conv_input_vjp(g, w, input_size=9, stride=2),
        lambda x, w, g: conv_weight_vjp(x, g, kernel_size=3, stride=2),
        lambda x, w, g: conv_transpose(g, w, stride=2, output_size=10),
        lambda x, w, g: jax.vjp(lambda x, w: conv(x, w, stride=2), x, w)[1](g),
    ],
    ids=["conv", "conv_input_vjp", "conv_weight_vjp", "conv_transpose", "gradients"],
)
def test_a_second_call_compiles_nothing(call: Callable[..., Any]) -> None:
    shapes = (5, 3, 9), (7, 3, 3), (5, 7, 4)  # met in no other test, so that the first call does have work
    with counted_work() as first:
        call(*integers(13, *shapes))
    with counted_work() as second:
        call(*integers(14, *shapes))
    assert first
    assert not [event for event in second if "backend_compile" in event or "trace" in event]


def test_precision_reaches_every_product() -> None:
    """It is one of lax's, and the gradients use the value's."""
    f = partial(conv, precision="high", lowering="reference")
    x, w, g = integers(15, (2, 3, 9), (4, 3, 3), (2, 4, 7))
    found = convolutions(lambda x, w, g: jax.vjp(f, x, w)[1](g), x, w, g)
    assert [each["precision"] for each in found] == [(lax.Precision.HIGH,) * 2] * 3


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=lambda d: d.__name__)
def test_half_precision_asks_for_single_sums(dtype: Any) -> None:
    """A CPU widens the sums unasked, so what is asked for is read from the program."""
    f = partial(conv, lowering="reference")
    x, w, g = (each.astype(dtype) for each in integers(15, (2, 3, 9), (4, 3, 3), (2, 4, 7)))
    found = convolutions(lambda x, w, g: jax.vjp(f, x, w)[1](g), x, w, g)
    assert [each["preferred_element_type"] for each in found] == [jnp.float32] * 3


def test_strict_promotion() -> None:
    """Nothing leans on JAX to widen a dtype or to add an axis in silence."""
    x, w, b, g = (each.astype(jnp.bfloat16) for each in integers(16, (2, 3, 9), (4, 3, 3), (4,), (2, 4, 9)))
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        y, pull_back = jax.vjp(lambda *args: conv(*args, padding=1, padding_mode="edge"), x, w, b)
        pull_back(g)
        conv_transpose(g, w, jnp.zeros(3, jnp.bfloat16), padding=1)
    assert np.isfinite(y.astype(np.float32)).all()
