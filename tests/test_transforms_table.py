"""The table: transform × op × derivative, one test a cell. Whole numbers, so that equal means equal to the last bit.

Forward mode and transposition are refused by derivative="hand", and those cells test the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, export, lax
from jax.experimental import jet
from jax.scipy.sparse.linalg import bicgstab, gmres

from cases import assert_same, integers
from jaxconv import conv, conv_input_vjp, conv_transpose, conv_weight_vjp

pytestmark = pytest.mark.unoptimised

X, W, G = (2, 4, 7), (6, 2, 3), (2, 6, 4)
OPTIONS = {"stride": 2, "padding": 1, "groups": 2}


def by_jax(x: Array, w: Array) -> Array:
    return lax.conv_general_dilated(x, w, (2,), [(1, 1)], feature_group_count=2)


def transposed_by_jax(g: Array, w: Array) -> Array:
    return jax.vjp(lambda x: by_jax(x, w), jnp.zeros((*g.shape[:-2], *X[1:])))[1](g)[0]


def weights_by_jax(x: Array, g: Array) -> Array:
    return jax.vjp(lambda w: by_jax(x, w), jnp.zeros(W))[1](g)[0]


Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class Op(NamedTuple):
    """A product f(a, b), the same by JAX alone, and the shapes of a and b."""

    f: Callable[[Array, Array], Array]
    right: Callable[[Array, Array], Array]
    shapes: Shapes
    forward: bool


OPS = {
    **{
        f"conv-{d}": Op(partial(conv, **OPTIONS, derivative=d), by_jax, (X, W), d != "hand")
        for d in ("hand", "any", "jax")
    },
    **{
        f"conv_transpose-{d}": Op(
            partial(conv_transpose, **OPTIONS, output_size=7, derivative=d), transposed_by_jax, (G, W), d != "hand"
        )
        for d in ("hand", "any", "jax")
    },
    **{
        f"conv_input_vjp-{d}": Op(
            partial(conv_input_vjp, **OPTIONS, input_size=7, derivative=d), transposed_by_jax, (G, W), d != "hand"
        )
        for d in ("hand", "any", "jax")
    },
    **{
        f"conv_weight_vjp-{d}": Op(
            partial(conv_weight_vjp, **OPTIONS, kernel_size=(3,), derivative=d), weights_by_jax, (X, G), d != "hand"
        )
        for d in ("hand", "any", "jax")
    },
}


def data(shapes: Shapes, *leading: tuple[int, ...]) -> list[Array]:
    """Factors with `leading` axes, one tuple for each."""
    first, second = leading or ((), ())
    return integers(3, (*first, *shapes[0]), (*second, *shapes[1]), most=1)


@cache
def by_jax_alone(how: str, right: Callable, shapes: Shapes) -> Any:
    transform, leading = TRANSFORMS[how]
    return transform(right)(*data(shapes, *leading))


def assert_as_jax_alone(how: str, op: Op) -> None:
    """A transform of ours gives what it gives of JAX's own."""
    transform, leading = TRANSFORMS[how]
    right = by_jax_alone(how, op.right, op.shapes)
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(right)) > 0
    assert_same(transform(op.f)(*data(op.shapes, *leading)), right)


def cubed(f: Callable) -> Callable:
    return lambda a, b: (f(a, b) ** 3).sum()


def along(f: Callable, order: int) -> Callable:
    """The gradient of f's cube of an order, along fixed directions."""
    if order == 1:
        return jax.grad(cubed(f), (0, 1))

    def directed(a: Array, b: Array) -> Array:
        da, db = along(f, order - 1)(a, b)
        return (da * jnp.sign(a)).sum() + (db * jnp.sign(b)).sum()

    return jax.grad(directed, (0, 1))


def scanned(f: Callable) -> Callable:
    return jax.grad(lambda a, b: lax.scan(lambda total, b: (total + (f(a, b) ** 2).sum(), None), 0.0, b)[0], (0, 1))


def looped(f: Callable) -> Callable:
    def run(a: Array, b: Array) -> Array:
        zero = jnp.zeros(jax.eval_shape(f, a, b).shape)
        return lax.while_loop(lambda at: at[0] < 3, lambda at: (at[0] + 1, at[1] + f(a, b)), (0, zero))[1]

    return run


def branched(f: Callable) -> Callable:
    return jax.grad(lambda a, b: lax.cond(a.sum() < 1e9, cubed(f), lambda a, b: b.sum() + a.sum(), a, b), (0, 1))


def ahead_of_time(f: Callable) -> Callable:
    return lambda a, b: jax.jit(along(f, 1)).lower(a, b).compile()(a, b)


def donated(f: Callable) -> Callable:
    step = jax.jit(lambda a, b: b - jax.grad(cubed(f), 1)(a, b), donate_argnums=1)
    return lambda a, b: step(a, b + 0)


def per_example(f: Callable) -> Callable:
    return jax.vmap(jax.grad(cubed(f), (0, 1)), (0, None))


V = (3,), (4, 3)
SAME: dict[str, tuple[Callable[[Callable], Callable], tuple]] = {
    "jit": (jax.jit, ()),
    "vmap-first": (lambda f: jax.vmap(f, (0, None)), ((3,), ())),
    "vmap-second": (lambda f: jax.vmap(f, (None, 0)), ((), (3,))),
    "vmap-both": (jax.vmap, ((3,), (3,))),
    "vmap-of-vmap": (lambda f: jax.vmap(jax.vmap(f), (None, 0)), V),
    "jit-vmap-per-example": (lambda f: jax.jit(per_example(f)), ((3,), ())),
    "grad-of-vmap": (lambda f: jax.grad(cubed(jax.vmap(f)), (0, 1)), ((3,), (3,))),
    "remat": (lambda f: along(jax.checkpoint(f), 1), ()),
    "scan": (scanned, ((), (3,))),
    "while": (looped, ()),
    "cond": (branched, ()),
    "grad-1": (lambda f: jax.jit(along(f, 1)), ()),
    "grad-2": (lambda f: jax.jit(along(f, 2)), ()),
    "grad-3": (lambda f: jax.jit(along(f, 3)), ()),
    "ahead-of-time": (ahead_of_time, ()),
    "donated": (donated, ()),
}
FORWARD: dict[str, tuple[Callable[[Callable], Callable], tuple]] = {
    "jvp": (lambda f: lambda a, b: jax.jvp(f, (a, b), (jnp.sign(a), b)), ()),
    "linearize": (lambda f: lambda a, b: jax.linearize(f, a, b)[1](jnp.sign(a), b), ()),
    "jacfwd": (lambda f: jax.jacfwd(f, (0, 1)), ()),
    "hessian": (lambda f: jax.jit(jax.hessian(cubed(f), 1)), ()),
    "vmap-of-jvp": (lambda f: jax.vmap(lambda a, b: jax.jvp(f, (a, b), (a, b)), (0, None)), ((3,), ())),
    "jvp-of-third-order": (lambda f: lambda a, b: jax.jvp(jax.grad(cubed(f), 1), (a, b), (a, b)), ()),
}


def transposed(f: Callable, number: int) -> Callable:
    """The adjoint of f in one factor, applied to f's own result."""

    def run(a: Array, b: Array) -> Array:
        linear, at = ((lambda a: f(a, b)), a) if number == 0 else ((lambda b: f(a, b)), b)
        return jax.linear_transpose(linear, at)(f(a, b))[0]

    return run


def in_a_jvp_rule(f: Callable) -> Callable:
    """The gradient of f's square, whose derivative is written out with f."""

    @jax.custom_jvp
    def squared(a: Array, b: Array) -> Array:
        return f(a, b) ** 2

    squared.defjvp(lambda at, along: (squared(*at), 2 * f(*at) * (f(along[0], at[1]) + f(at[0], along[1]))))
    return jax.grad(lambda a, b: squared(a, b).sum(), (0, 1))


TRANSPOSED: dict[str, tuple[Callable[[Callable], Callable], tuple]] = {
    "linear_transpose-first": (lambda f: transposed(f, 0), ()),
    "linear_transpose-second": (lambda f: jax.jit(transposed(f, 1)), ()),
    "vmap-of-linear_transpose": (lambda f: jax.vmap(transposed(f, 0), (None, 0)), ((), (3,))),
    "custom_jvp": (in_a_jvp_rule, ()),
}
TRANSFORMS = {**SAME, **FORWARD, **TRANSPOSED}
ops = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


@pytest.mark.short("-conv-hand$", "^grad-2-conv_.*-any$", "^grad-1-conv_.*-jax$")
@ops
@pytest.mark.parametrize("how", SAME)
def test_as_jax_alone(how: str, op: Op) -> None:
    assert_as_jax_alone(how, op)


@pytest.mark.short(
    "^jvp-conv-",
    "^hessian-conv-any",
    "^jacfwd-conv_weight_vjp-any",
    "^linearize-conv_input_vjp-any",
    "^vmap-of-jvp-conv_transpose-any",
    "^jvp-of-third-order-conv-any",
)
@ops
@pytest.mark.parametrize("how", FORWARD)
def test_forward(how: str, op: Op) -> None:
    if op.forward:
        assert_as_jax_alone(how, op)
    else:
        transform, leading = FORWARD[how]
        with pytest.raises(TypeError, match="forward-mode"):
            transform(op.f)(*data(op.shapes, *leading))


@pytest.mark.short("-conv-(hand|any)$|^custom_jvp-conv_weight_vjp-any")
@ops
@pytest.mark.parametrize("how", TRANSPOSED)
def test_transposition(how: str, op: Op) -> None:
    if op.forward:
        assert_as_jax_alone(how, op)
    else:
        transform, leading = TRANSPOSED[how]
        with pytest.raises(NotImplementedError, match=r"Transpose rule.*custom_vjp_call"):
            transform(op.f)(*data(op.shapes, *leading))


@pytest.mark.short("bicgstab-conv-any|gmres-conv_transpose-hand")
@ops
@pytest.mark.parametrize("solver", [bicgstab, gmres], ids=lambda each: each.__name__)
def test_gradient_through_a_solver(solver: Callable, op: Op) -> None:
    """Σ v where (16 + M) v = 1, beside a dense solution by JAX alone, in float64.

    M is the map in its first factor, its result cut or filled up to that factor's size.
    """
    with jax.enable_x64(True):
        a, b = (each.astype(jnp.float64) for each in data(op.shapes))

        def system(f: Callable, v: Array, b: Array) -> Array:
            y = f(v, b).ravel()
            return 16 * v + jnp.pad(y, (0, max(0, v.size - y.size)))[: v.size].reshape(v.shape)

        def solved(b: Array) -> Array:
            return solver(lambda v: system(op.f, v, b), jnp.ones_like(a), tol=1e-12, atol=0.0)[0].sum()

        def dense(b: Array) -> Array:
            matrix = jax.jacfwd(lambda v: system(op.right, v, b))(a).reshape(a.size, a.size)
            return jnp.linalg.solve(matrix, jnp.ones(a.size)).sum()

        if op.forward:
            np.testing.assert_allclose(jax.grad(solved)(b), jax.grad(dense)(b), rtol=1e-9, atol=1e-9)
        else:
            with pytest.raises(NotImplementedError, match=r"Transpose rule.*custom_vjp_call"):
                jax.grad(solved)(b)


@pytest.mark.short("^conv-any")
@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.forward])
def test_taylor_series(name: str) -> None:
    """y(t) = f(a + t·a' + t²·a'', b + t·b'): orders are products of the terms, summed; by `jax.experimental.jet`."""
    op = OPS[name]
    a, b = data(op.shapes)
    first, second, tilt = jnp.sign(a), a - 1, jnp.sign(b)
    for f in (op.f, jax.jit(op.f)):
        y, terms = jet.jet(f, (a, b), ([first, second], [tilt, 0 * b]), factorial_scaled=False)
        g = op.right
        assert_same((y, *terms), (g(a, b), g(first, b) + g(a, tilt), g(second, b) + g(first, tilt) + g(a, 0 * b)))


@ops
def test_shapes_alone(op: Op) -> None:
    a, b = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in op.shapes)
    ours, right = jax.eval_shape(op.f, a, b), jax.eval_shape(op.right, *data(op.shapes))
    assert (ours.shape, ours.dtype) == (right.shape, jnp.bfloat16)


@pytest.mark.short("hand")
@ops
def test_traced_once_for_each_shape(op: Op) -> None:
    traces: list[Any] = []

    @jax.jit
    def gradient(a: Array, b: Array) -> Any:
        traces.append(a.shape)
        return along(op.f, 1)(a, b)

    a, b = data(op.shapes)
    for scale in (1, 2, 3):
        gradient(scale * a, b)
    assert len(traces) == 1
    two = jnp.concatenate([a, a]), jnp.concatenate([b, b]) if "weight" in str(op.f) else b
    gradient(*two)
    gradient(*two)
    assert len(traces) == 2


@pytest.mark.short("hand")
@ops
def test_exported(op: Op) -> None:
    """Value and gradients, for three platforms from this one, any batch; serialised, reloaded, right."""

    def all_three(a: Array, b: Array) -> Any:
        y, pull_back = jax.vjp(op.f, a, b)
        return y, *pull_back(y)

    (n,) = export.symbolic_shape("n")
    (first, second), weights = op.shapes, "weight" in str(op.f)
    shapes = (n, *first[1:]), (n, *second[1:]) if weights else second
    exported = export.export(jax.jit(all_three), platforms=("cpu", "cuda", "tpu"))(
        *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    reloaded = export.deserialize(exported.serialize())
    for batch in (1, 3):
        a, b = integers(batch, (batch, *first[1:]), (batch, *second[1:]) if weights else second)
        y, pull_back = jax.vjp(op.right, a, b)
        assert_same(tuple(reloaded.call(a, b)), (y, *pull_back(y)))


@pytest.mark.short("hand")
@pytest.mark.parametrize("mapped", ["first", "second", "both"])
@pytest.mark.parametrize(
    "name", [f"{op}-{d}" for op in ("conv", "conv_input_vjp", "conv_weight_vjp") for d in ("hand", "any")]
)
def test_vmap_is_one_map(name: str, mapped: str) -> None:
    """One convolution, however many examples, and its groups are multiplied only where both factors are mapped."""
    op = OPS[name]
    f = partial(op.f, lowering="reference")
    axes = {"first": (0, None), "second": (None, 0), "both": (0, 0)}[mapped]
    factors = data(op.shapes, *(() if axis is None else (5,) for axis in axes))
    text = jax.jit(jax.vmap(f, axes)).lower(*factors).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert "stablehlo.while" not in text
    groups = 10 if mapped == "both" else 2
    assert f"_group_count = {groups} : i64" in text
