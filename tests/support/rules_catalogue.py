"""Rules to try a checker of gradients on: wrong ones, each to be found, and right ones, none of which may be accused.

Written from what people get wrong, not from how `check_vjp` works. ``WRONG[name](large, random)`` and
``RIGHT[name](random)`` make a `Rule`; the right ones also vary their sizes with `random`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv


class Rule(NamedTuple):
    """A function with a rule of its own, arguments, and the same function without the rule."""

    f: Callable
    args: tuple
    reference: Callable


class Wrong(NamedTuple):
    """`named`: the report must hold one of these words to have named the pattern; empty where it has no name."""

    make: Callable[[bool, np.random.Generator], Rule]
    named: tuple[str, ...]


WRONG: dict[str, Wrong] = {}
RIGHT: dict[str, Callable[[np.random.Generator], Rule]] = {}


def wrong(*named: str) -> Callable:
    def keep(make: Callable) -> Callable:
        WRONG[make.__name__] = Wrong(make, named)
        return make

    return keep


def right(make: Callable) -> Callable:
    RIGHT[make.__name__] = make
    return make


def ruled(reference: Callable, backward: Callable) -> Callable:
    """`reference` with the rule ``backward(args, g)``, which returns one cotangent per argument."""
    f = jax.custom_vjp(reference)
    f.defvjp(lambda *args: (reference(*args), args), backward)
    return f


def spoilt(reference: Callable, args: tuple, change: Callable) -> Rule:
    """`reference` with JAX's own derivative after ``change(*cotangents)``."""
    return Rule(ruled(reference, lambda args, g: change(*jax.vjp(reference, *args)[1](g))), args, reference)


def normal(random: np.random.Generator, *shape: int, dtype: Any = np.float32) -> jax.Array:
    if np.issubdtype(dtype, np.complexfloating):
        return jnp.asarray((random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype))
    return jnp.asarray(random.normal(size=shape), dtype)


def product(x, w):
    return x @ w


def softmax(x):
    return jax.nn.softmax(x)


def relu(x):
    return jax.nn.relu(x)


HALF_A_MILLION = 720  # rows and columns: where a tolerance that grows with the array would show


def matrices(large: bool, random: np.random.Generator, n: int = 340) -> tuple:
    """As large as `check_vjp` calls large, or small; w is square, so that a transposed gradient fits."""
    rows, n = (n - 20, n) if large else (4, 5)
    return normal(random, rows, n), normal(random, n, n)


def correlate(x, w):
    return lax.conv_general_dilated(x, w, (1,), [(1, 1)])


def signals(large: bool, random: np.random.Generator, shape: tuple[int, int, int] = (16, 16, 1024)) -> tuple:
    """Likewise: batch, channels, size, and as many filters as channels."""
    (batch, channels, n), filters = (shape, shape[1]) if large else ((2, 3, 9), 4)
    return normal(random, batch, channels, n), normal(random, filters, channels, 3)


# ------------------------------------------------------------------------------------------------------- wrong ones


@wrong("factor")
def scaled_by_1_0001(large, random):
    return spoilt(product, matrices(large, random, HALF_A_MILLION), lambda dx, dw: (dx, dw * 1.0001))


@wrong("one element", "single element")
def one_element(large, random):
    x, w = matrices(large, random, HALF_A_MILLION)
    at = (w.shape[0] // 3, w.shape[1] - 2)
    return spoilt(product, (x, w), lambda dx, dw: (dx, dw.at[at].multiply(1.01)))


@wrong("flip")
def flipped_taps(large, random):
    return spoilt(correlate, signals(large, random), lambda dx, dw: (dx, dw[..., ::-1]))


@wrong("flip")
def kernel_not_flipped(large, random):
    def backward(args, g):
        x, w = args
        dx = lax.conv_general_dilated(g, jnp.swapaxes(w, 0, 1), (1,), [(1, 1)])
        return dx, jax.vjp(correlate, x, w)[1](g)[1]

    return Rule(ruled(correlate, backward), signals(large, random), correlate)


@wrong("bfloat16", "bf16", "precision", "rounding")
def bf16_inside(large, random):
    def backward(args, g):
        x, w, g = (each.astype(jnp.bfloat16) for each in (*args, g))
        return (g @ w.T).astype(args[0].dtype), (x.T @ g).astype(args[1].dtype)

    return Rule(ruled(product, backward), matrices(large, random), product)


@wrong("shift", "roll")
def wrong_pad(large, random):
    return spoilt(correlate, signals(large, random), lambda dx, dw: (jnp.roll(dx, 1, -1).at[..., 0].set(0), dw))


@wrong("shift", "roll")
def wrong_slice(large, random):
    def reference(x):
        return jnp.sin(x[3:-2])

    def backward(args, g):
        (x,) = args
        return (jnp.zeros_like(x).at[2:-3].set(g * jnp.cos(x[3:-2])),)

    return Rule(ruled(reference, backward), (normal(random, 500_000 if large else 12),), reference)


@wrong("factor", "sum", "mean", "averag")
def mean_for_sum(large, random):
    x = normal(random, *((700, 720) if large else (4, 6)))

    def reference(x):
        return jnp.sum(x**2, 1)

    return spoilt(reference, (x,), lambda dx: (dx / dx.shape[1],))


@wrong("swap", "other argument", "another")
def swapped_arguments(large, random):
    a, b = (normal(random, *((700, 720) if large else (3, 4))) for _ in range(2))

    def reference(a, b):
        return jnp.sin(a) * b

    return spoilt(reference, (a, b), lambda da, db: (db, da))


@wrong("zero")
def zero(large, random):
    return spoilt(product, matrices(large, random), lambda dx, dw: (jnp.zeros_like(dx), dw))


@wrong("nan")
def nan_at_zero(large, random):
    x = normal(random, 4000 if large else 4, 128 if large else 3).at[1].set(0)

    def reference(x):
        return jnp.sqrt(jnp.sum(x**2, -1) + 1)

    def backward(args, g):
        (x,) = args
        squares = jnp.sum(x**2, -1, keepdims=True)
        return (g[:, None] * jnp.where(squares == 0, x / squares, x / jnp.sqrt(squares + 1)),)

    return Rule(ruled(reference, backward), (x,), reference)


@wrong()
def detached_term(large, random):
    def reference(x):
        return x * jax.nn.sigmoid(x)

    f = ruled(reference, lambda args, g: (g * jax.nn.sigmoid(args[0]),))
    return Rule(f, (normal(random, 500_000 if large else 7),), reference)


@wrong("conj")
def conj_too_many(large, random):
    z, w = (normal(random, *((700, 360) if large else (3, 4)), dtype=np.complex64) for _ in range(2))

    def reference(z, w):
        return z * w

    f = ruled(reference, lambda args, g: (g * args[1].conj(), g * args[0]))
    return Rule(f, (z, w), reference)


@wrong("conj")
def conj_missing(large, random):
    def reference(z):
        return jnp.sum(z.real**2 + z.imag**2, -1)

    f = ruled(reference, lambda args, g: (2 * g[..., None] * args[0],))
    return Rule(f, (normal(random, *((700, 360) if large else (3, 4)), dtype=np.complex64),), reference)


@wrong("averag", "mean", "factor")
def bias_averaged(large, random):
    x, b = (normal(random, 4096, 128), normal(random, 128)) if large else (normal(random, 5, 3), normal(random, 3))
    f = ruled(lambda x, b: x + b, lambda args, g: (g, g.mean(0)))
    return Rule(f, (x, b), lambda x, b: x + b)


@wrong("axis", "sum", "broadcast")
def summed_over_the_wrong_axis(large, random):
    n = 720 if large else 5

    def reference(x, s):
        return x * s

    f = ruled(reference, lambda args, g: (g * args[1], (g * args[0]).sum(1)))
    return Rule(f, (normal(random, n, n), normal(random, n)), reference)


@wrong("one", "first", "sum", "slice")
def broadcast_not_summed(large, random):
    x, b = (normal(random, 4096, 128), normal(random, 128)) if large else (normal(random, 5, 3), normal(random, 3))
    f = ruled(lambda x, b: x + b, lambda args, g: (g, g[0]))
    return Rule(f, (x, b), lambda x, b: x + b)


@wrong("transpos")
def transposed(large, random):
    return spoilt(product, matrices(large, random), lambda dx, dw: (dx, dw.T))


@wrong("last")
def last_column_dropped(large, random):
    return spoilt(product, matrices(large, random), lambda dx, dw: (dx, dw.at[:, -1].set(0)))


@wrong("slice", "axis", "index", "part")
def one_slice(large, random):
    x, w = signals(large, random)
    return spoilt(correlate, (x, w), lambda dx, dw: (dx.at[:, 1].multiply(1.05), dw))


@wrong("sign", "factor: -1", "factor: −1", "−1", "-1")
def sign(large, random):
    return spoilt(product, matrices(large, random), lambda dx, dw: (-dx, dw))


@wrong("transpos", "permut", "order")
def axis_order(large, random):
    n = 80 if large else 3

    def reference(x):
        return jnp.sin(jnp.transpose(x, (1, 2, 0)))

    f = ruled(reference, lambda args, g: (jnp.transpose(g, (1, 2, 0)) * jnp.cos(args[0]),))
    return Rule(f, (normal(random, n, n, n),), reference)


@wrong("transpos", "permut", "order")
def axes_of_the_gradient_turned(large, random):
    n = 80 if large else 3
    return spoilt(jnp.tanh, (normal(random, n, n, n),), lambda dx: (jnp.transpose(dx, (1, 2, 0)),))


@wrong("zero", "none")
def none_for_one(large, random):
    return spoilt(product, matrices(large, random), lambda dx, dw: (dx, None))


@wrong("cotangent itself")
def chain_factor_missing(large, random):
    f = ruled(jnp.tanh, lambda args, g: (g,))
    return Rule(f, (normal(random, 500_000 if large else 6),), jnp.tanh)


@wrong("zero")
def stale_residual(large, random):
    def reference(x, w):
        return jnp.sum(jnp.sin(x + w) ** 2, 0)

    def backward(args, g):
        x, _ = args
        dx = g * 2 * jnp.sin(x) * jnp.cos(x)  # of x as it was before w came on top
        return dx, dx.sum(0)

    args = (normal(random, 700, 720), normal(random, 720)) if large else (normal(random, 3, 4), normal(random, 4))
    return Rule(ruled(reference, backward), args, reference)


@wrong("clip", "saturat")
def saturating(large, random):
    args = matrices(large, random)
    bound = float(jnp.abs(args[0].T @ jnp.ones((len(args[0]), args[1].shape[1]))).mean())
    return spoilt(product, args, lambda dx, dw: (dx, jnp.clip(dw, -bound / 2, bound / 2)))


@wrong("factor", "averag", "mean")
def averaged_over_the_batch(large, random):
    x, w = signals(large, random)
    return spoilt(correlate, (x, w), lambda dx, dw: (dx, dw / len(x)))


@wrong()
def dilation_for_stride(large, random):
    x, w = signals(large, random, (256, 8, 128))  # short: its wrong rule has a tap for every other element

    def reference(x, w):
        return lax.conv_general_dilated(x, w, (2,), [(1, 1)])

    def backward(args, g):
        x, w = args
        dw = lax.conv_general_dilated(x.swapaxes(0, 1), g.swapaxes(0, 1), (2,), [(1, 1)])  # for rhs_dilation
        wide = jnp.pad(dw, [(0, 0), (0, 0), (0, max(0, w.shape[-1] - dw.shape[-1]))])
        return jax.vjp(reference, x, w)[1](g)[0], wide[..., : w.shape[-1]].swapaxes(0, 1)

    return Rule(ruled(reference, backward), (x, w), reference)


@wrong("factor: 2", "factor")
def counted_twice(large, random):
    return spoilt(lambda x: jnp.cumsum(x, -1), (normal(random, *((70, 7200) if large else (2, 5))),),
                  lambda dx: (dx + dx,))  # fmt: skip


@wrong()
def softmax_without_its_mean(large, random):
    def backward(args, g):
        return (softmax(args[0]) * g,)

    f = ruled(softmax, backward)
    return Rule(f, (normal(random, *((5000, 100) if large else (3, 5))),), softmax)


@wrong("cotangent itself")
def ones_for_relu(large, random):
    f = ruled(relu, lambda args, g: (g,))
    return Rule(f, (normal(random, 500_000 if large else 9),), relu)


@wrong("dtype")
def wrong_dtype(large, random):
    args = matrices(large, random)
    return spoilt(product, args, lambda dx, dw: (dx, dw.astype(jnp.float16)))


@wrong("shape")
def wrong_shape(large, random):
    args = matrices(large, random)
    return spoilt(product, args, lambda dx, dw: (dx, dw[:-1]))


@wrong("structure", "tree", "number of", "length")
def wrong_structure(large, random):
    args = matrices(large, random)
    return spoilt(product, args, lambda dx, dw: (dx, {"w": dw}))


@wrong("slice", "half", "part", "rows", "zero", "index")
def half_of_the_batch(large, random):
    x, w = matrices(large, random)
    half = len(x) // 2
    return spoilt(product, (x, w), lambda dx, dw: (dx.at[half:].set(0), dw))


@wrong("offset", "constant", "added")
def an_epsilon_left_over(large, random):
    args = matrices(large, random)
    return spoilt(product, args, lambda dx, dw: (dx, dw + 1e-2))


@wrong("inf", "not finite", "nan")
def one_infinite(large, random):
    args = matrices(large, random)
    return spoilt(product, args, lambda dx, dw: (dx.at[1, 2].set(jnp.inf), dw))


@wrong("factor")
def ten_thousandth_in_a_tree(large, random):
    x, w = matrices(large, random)

    def reference(params, x):
        return {"y": jnp.tanh(x @ params["w"] / len(params["w"]) + params["b"])}

    def change(params, dx):
        return {"w": params["w"], "b": params["b"] * 1.001}, dx

    return spoilt(reference, ({"w": w, "b": normal(random, len(w))}, x), change)


# ------------------------------------------------------------------------------------------------------- right ones


def sizes(random: np.random.Generator, *bounds: tuple[int, int]) -> list[int]:
    return [int(random.integers(lo, hi + 1)) for lo, hi in bounds]


def plain(f: Callable, *args: Any) -> Rule:
    """JAX's own derivative on both sides."""
    return Rule(f, args, f)


def ours(f: Callable, *args: Any, **options: Any) -> Rule:
    return Rule(lambda *a: f(*a, **options), args, lambda *a: f(*a, **options, derivative="jax"))


@right
def conv1d_strided_grouped(random):
    batch, n, k, stride = sizes(random, (1, 3), (7, 20), (1, 4), (1, 3))
    x, w, b = normal(random, batch, 4, n), normal(random, 6, 2, k), normal(random, 6)
    return ours(jaxconv.conv, x, w, b, stride=stride, padding=1, groups=2)


@right
def conv2d_same(random):
    batch, n, m = sizes(random, (1, 2), (4, 9), (4, 9))
    x, w = normal(random, batch, 3, n, m), normal(random, 4, 3, 3, 3)
    return ours(jaxconv.conv, x, w, padding="SAME", dilation=int(random.integers(1, 3)))


@right
def conv_circular_last(random):
    n, c = sizes(random, (5, 9), (1, 4))
    x, w = normal(random, 2, n, c), normal(random, 3, c, 2)
    return ours(jaxconv.conv, x, w, padding=1, padding_mode="circular", layout="channels_last")


@right
def conv_depthwise(random):
    c, n = sizes(random, (1, 5), (5, 9))
    return ours(jaxconv.conv, normal(random, 2, c, n, n), normal(random, c, 1, 3, 3), groups=c, lowering="gemm")


@right
def conv_transposed(random):
    n, stride = sizes(random, (3, 7), (1, 3))
    x, w = normal(random, 2, 4, n), normal(random, 4, 3, 3)
    return ours(jaxconv.conv_transpose, x, w, stride=stride)


@right
def conv_bf16(random):
    n, c = sizes(random, (6, 14), (2, 6))
    x, w = normal(random, 2, c, n, dtype=jnp.bfloat16), normal(random, 3, c, 3, dtype=jnp.bfloat16)
    return ours(jaxconv.conv, x, w, padding=1)


@right
def conv_input_gradient(random):
    m, k = sizes(random, (4, 9), (1, 4))
    g, w = normal(random, 2, 3, m), normal(random, 3, 2, k)
    x = jnp.zeros((2, 2, m + k - 1), g.dtype)

    def f(g, w):
        return jaxconv.conv_input_vjp(g, w, input_size=m + k - 1)

    def reference(g, w):
        return jax.vjp(lambda x: lax.conv(x, w, (1,), "VALID"), x.astype(g.dtype))[1](g)[0]

    return Rule(f, (g, w), reference)


@right
def conv_weight_gradient(random):
    m, k = sizes(random, (4, 9), (1, 4))
    x, g = normal(random, 2, 2, m + k - 1), normal(random, 2, 3, m)
    w = jnp.zeros((3, 2, k))

    def f(x, g):
        return jaxconv.conv_weight_vjp(x, g, kernel_size=k)

    def reference(x, g):
        return jax.vjp(lambda w: lax.conv(x, w, (1,), "VALID"), w.astype(g.dtype))[1](g)[0]

    return Rule(f, (x, g), reference)


@right
def gated(random):
    time, n, m = sizes(random, (1, 12), (1, 5), (1, 6))
    params = jaxconv.gated_init(jax.random.key(int(random.integers(1000))), n, m)
    return ours(jaxconv.gated_scan, params, normal(random, time, 2, n), normal(random, 2, m))


@right
def gated_lengths(random):
    time, n, m = sizes(random, (3, 9), (1, 4), (1, 4))
    params = jaxconv.gated_init(jax.random.key(3), n, m, bias=False)
    lengths = jnp.asarray(random.integers(0, time + 1, 3))

    def f(derivative):
        options = {"reverse": True, "derivative": derivative}
        return lambda params, x, lengths: jaxconv.gated_scan(params, x, lengths=lengths, **options)

    return Rule(f("hand"), (params, normal(random, time, 3, n), lengths), f("jax"))


@right
def optax_softmax_cross_entropy(random):
    import optax

    rows, classes = sizes(random, (1, 6), (2, 12))
    labels = jax.nn.softmax(normal(random, rows, classes))
    return plain(optax.softmax_cross_entropy, normal(random, rows, classes) * 3, labels)


@right
def optax_integer_labels(random):
    import optax

    rows, classes = sizes(random, (1, 6), (2, 12))
    labels = jnp.asarray(random.integers(0, classes, rows))
    return plain(optax.softmax_cross_entropy_with_integer_labels, normal(random, rows, classes), labels)


@right
def optax_sigmoid(random):
    import optax

    (n,) = sizes(random, (1, 20))
    return plain(optax.sigmoid_binary_cross_entropy, normal(random, n) * 5, jnp.asarray(random.integers(0, 2, n) * 1.0))


@right
def optax_huber(random):
    import optax

    (n,) = sizes(random, (1, 20))
    return plain(optax.huber_loss, normal(random, n) * 2, normal(random, n))


@right
def optax_cosine(random):
    import optax

    n, m = sizes(random, (1, 6), (2, 9))
    return plain(optax.cosine_distance, normal(random, n, m), normal(random, n, m))


@right
def nn_relu(random):
    return plain(relu, normal(random, *sizes(random, (1, 5), (1, 30))))


@right
def nn_gelu(random):
    return plain(jax.nn.gelu, normal(random, *sizes(random, (1, 5), (1, 30))) * 2)


@right
def nn_silu_f16(random):
    return plain(jax.nn.silu, normal(random, *sizes(random, (1, 5), (1, 30)), dtype=np.float16))


@right
def nn_log_softmax(random):
    return plain(jax.nn.log_softmax, normal(random, *sizes(random, (1, 5), (2, 30))) * 4)


@right
def softmax_by_hand(random):
    def backward(args, g):
        y = softmax(args[0])
        return (y * (g - jnp.sum(y * g, -1, keepdims=True)),)

    return Rule(ruled(softmax, backward), (normal(random, *sizes(random, (1, 4), (1, 20))),), softmax)


@right
def logsumexp_large_values(random):
    x = normal(random, *sizes(random, (1, 4), (1, 20))) * 100
    return plain(lambda x: jax.nn.logsumexp(x, -1), x)


@right
def log1p_exp(random):
    f = ruled(lambda x: jnp.log1p(jnp.exp(x)), lambda args, g: (g * (1 - 1 / (1 + jnp.exp(args[0]))),))
    return Rule(f, (normal(random, *sizes(random, (1, 20))),), lambda x: jnp.log1p(jnp.exp(x)))


@right
def norm_near_zero(random):
    n, m = sizes(random, (1, 5), (2, 6))

    def reference(x):
        return jnp.sqrt(jnp.sum(x**2, -1))

    f = ruled(reference, lambda args, g: ((g / reference(args[0]))[:, None] * args[0],))
    return Rule(f, (normal(random, n, m) * 1e-5,), reference)


@right
def layer_norm(random):
    n, m = sizes(random, (1, 5), (3, 12))

    def reference(x, scale):
        centred = x - x.mean(-1, keepdims=True)
        return scale * centred * lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)

    def backward(args, g):
        x, scale = args
        centred = x - x.mean(-1, keepdims=True)
        inverse = lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)
        unit, h = centred * inverse, g * scale
        dx = inverse * (h - h.mean(-1, keepdims=True) - unit * jnp.mean(h * unit, -1, keepdims=True))
        return dx, jnp.sum(g * unit, 0)

    return Rule(ruled(reference, backward), (normal(random, n, m), normal(random, m)), reference)


@right
def sorting(random):
    return plain(lambda x: jnp.sort(x, -1) * jnp.arange(x.shape[-1]), normal(random, *sizes(random, (1, 4), (1, 15))))


@right
def linear_solve(random):
    n, m = sizes(random, (1, 6), (1, 3))
    a = normal(random, n, n) + 4 * jnp.eye(n)

    def reference(a, b):
        return jnp.linalg.solve(a, b)

    def backward(args, g):
        a, b = args
        db = jnp.linalg.solve(a.T, g)
        return -db @ jnp.linalg.solve(a, b).T, db

    return Rule(ruled(reference, backward), (a, normal(random, n, m)), reference)


@right
def cholesky_logdet(random):
    (n,) = sizes(random, (1, 5))
    a = normal(random, n, n)
    f = lambda a: 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(a @ a.T + jnp.eye(len(a))))))  # noqa: E731
    return plain(f, a)


@right
def tiny_scale(random):
    rule = spoilt(lambda x, w: 1e-6 * (x @ w), (normal(random, 4, 5), normal(random, 5, 3)), lambda *each: each)
    return rule._replace(args=(rule.args[0] * 1e-6, rule.args[1]))


@right
def huge_scale(random):
    rows, n = sizes(random, (1, 6), (1, 9))
    return spoilt(lambda x, w: 1e6 * (x @ w), (normal(random, rows, n) * 1e6, normal(random, n, 3)), lambda *each: each)


@right
def embedding(random):
    rows, n = sizes(random, (2, 9), (1, 6))
    ids = jnp.asarray(random.integers(0, rows, 7))

    def backward(args, g):
        table, ids = args
        return jnp.zeros_like(table).at[ids].add(g), np.zeros(ids.shape, jax.dtypes.float0)

    f = ruled(lambda table, ids: table[ids], backward)
    return Rule(f, (normal(random, rows, n), ids), lambda table, ids: table[ids])


@right
def trees(random):
    n, m = sizes(random, (1, 5), (1, 6))

    def reference(params, batch):
        hidden = jnp.tanh(batch["x"] @ params["layers"][0] + params["b"])
        return {"y": hidden @ params["layers"][1], "loss": jnp.sum(hidden**2)}

    params = {"layers": [normal(random, n, m), normal(random, m, 2)], "b": normal(random, m)}
    return spoilt(reference, (params, {"x": normal(random, 3, n)}), lambda *each: each)


@right
def product_f16(random):
    def backward(args, g):
        x, w, g = (each.astype(jnp.float32) for each in (*args, g))
        return (g @ w.T).astype(jnp.float16), (x.T @ g).astype(jnp.float16)

    rows, n, m = sizes(random, (1, 9), (1, 30), (1, 9))
    args = normal(random, rows, n, dtype=np.float16), normal(random, n, m, dtype=np.float16)
    return Rule(ruled(product, backward), args, product)


@right
def complex_product(random):
    rows, n = sizes(random, (1, 5), (1, 6))
    f = ruled(product, lambda args, g: (g @ args[1].T, args[0].T @ g))
    return Rule(f, (normal(random, rows, n, dtype=np.complex64), normal(random, n, 3, dtype=np.complex64)), product)


@right
def complex_modulus(random):
    def reference(z):
        return z.real**2 + z.imag**2

    f = ruled(reference, lambda args, g: (2 * g * args[0].conj(),))
    return Rule(f, (normal(random, *sizes(random, (1, 9)), dtype=np.complex64),), reference)


@right
def fourier(random):
    return plain(lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2, normal(random, *sizes(random, (1, 3), (2, 16))))


@right
def largest(random):
    return plain(lambda x: jnp.max(x, -1), normal(random, *sizes(random, (1, 5), (1, 12))))


@right
def cumulative_sums(random):
    f = ruled(lambda x: jnp.cumsum(x, -1), lambda args, g: (lax.cumsum(g, g.ndim - 1, reverse=True),))
    return Rule(f, (normal(random, *sizes(random, (1, 4), (1, 40))),), lambda x: jnp.cumsum(x, -1))


@right
def positive_sums(random):
    """Data of mean 1: partial sums grow like the sum itself."""
    rows, n = sizes(random, (50, 200), (2, 5))
    return spoilt(product, (1 + 0.1 * normal(random, rows, n), normal(random, n, 3)), lambda *each: each)


@right
def cancelling(random):
    """A difference of two nearly equal numbers: few digits are left, and no more can be asked."""
    (n,) = sizes(random, (1, 20))
    x = normal(random, n)
    return plain(lambda a, b: (a**3 - b**3) * 1e3, x, x * (1 + 1e-4 * normal(random, n)))


@right
def scan_of_products(random):
    time, n = sizes(random, (1, 12), (1, 4))

    def f(w, x):
        return lax.scan(lambda h, x: (jnp.tanh(w @ h + x),) * 2, jnp.zeros(len(w), w.dtype), x)[1]

    return plain(f, normal(random, n, n), normal(random, time, n))


@right
def underflowing(random):
    """Gradients below the smallest normal number of float16."""
    x = normal(random, *sizes(random, (1, 20)), dtype=np.float16)
    f = ruled(lambda x: x * jnp.float16(1e-3), lambda args, g: (g * jnp.float16(1e-3),))
    return Rule(f, (x,), lambda x: x * jnp.float16(1e-3))


@right
def nothing_at_all(random):
    """Arrays without elements."""
    return spoilt(product, (normal(random, 0, 3), normal(random, 3, int(random.integers(0, 3)))), lambda *each: each)
