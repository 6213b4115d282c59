"""The nine worked exercises: answer, check by other means, and the common wrong answer shown to be wrong.

Each function works one exercise and returns what it found; it raises AssertionError where a check fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy import oracle
from jaxconv.accuracy.error_model import C, measured_units, spread, units
from jaxconv.convolution.api import conv, conv_weight_vjp
from jaxconv.convolution.jacobian import conv_input_jacobian, conv_weight_jacobian
from jaxconv.recurrence.flow import gradient_flow
from jaxconv.recurrence.gated import gated_scan, gated_step
from jaxconv.recurrence.gated_cell import GatedParams
from jaxconv.sizes.shapes import output_shape


class Answer(NamedTuple):
    """What an exercise asks, its formula, and the numbers that came out."""

    title: str
    formula: str
    found: str


def _expect(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(f"not so: {what}")


def _close(computed: object, exact: object, scale: object, length: int, what: str, *, measured: bool = False) -> None:
    """Within the error model: `scale` is Σ terms², or the spread of the exact result where it was `measured`."""
    distance = (measured_units if measured else units)(computed, exact, scale, length, np.float32)
    _expect(np.max(distance) <= C, f"{what} within the error model ({np.max(distance):.3g} units)")


def _layer() -> tuple[jax.Array, jax.Array, jax.Array]:
    """Exercise 3's layer: two channels, five positions, one filter of width 3, stride 2; and a cotangent."""
    x = jnp.array([[1.0, -2.0, 3.0, 0.5, 4.0], [2.0, 1.0, -1.0, 3.0, -0.5]])
    w = jnp.array([[[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]])
    return x, w, jnp.array([[1.0, -3.0]])


def sizes() -> Answer:
    """1. A 10 × 11 image, a 3 × 3 kernel, stride 2, no padding."""
    shape = output_shape((1, 10, 11), (1, 1, 3, 3), stride=2)
    # By other means: the positions at which a window starts and still ends inside the image.
    starts = [len([start for start in range(0, n, 2) if start + 3 <= n]) for n in (10, 11)]
    _expect(list(shape[1:]) == starts == [4, 5], "4 × 5 windows fit")
    return Answer("output size", "m = ⌊(n − k)/s⌋ + 1", "10 × 11 → 4 × 5")


def shapes() -> Answer:
    """2. C × H × W, F filters K × K, padding P, stride S, dilation D."""
    without_floor_differs = False
    for c, h, w, f, k, p, s, d in ((3, 10, 11, 8, 3, 0, 2, 1), (2, 9, 9, 4, 3, 1, 2, 2), (1, 7, 12, 5, 2, 2, 3, 1)):
        right = (f, *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n in (h, w)))
        y = conv(jnp.ones((c, h, w)), jnp.ones((f, c, k, k)), stride=s, padding=p, dilation=d)
        _expect(output_shape((c, h, w), (f, c, k, k), stride=s, padding=p, dilation=d) == right, "the formula")
        _expect(y.shape == right, "the array has that shape, without a trailing × C: channels are summed over")
        without_floor_differs |= any((n + 2 * p - d * (k - 1) - 1) % s for n in (h, w))
    _expect(without_floor_differs, "the formula without ⌊ ⌋ gives no integer somewhere")
    return Answer("output shape", "F × (⌊(H + 2P − D(K−1) − 1)/S⌋ + 1) × …", "3 layers; without ⌊ ⌋ or with × C wrong")


def forward() -> Answer:
    """3. One filter of width 3 over two channels of five positions, stride 2."""
    x, w, _ = _layer()
    y = conv(x, w, stride=2)
    terms = np.array([[[w[0, c, k] * x[c, 2 * r + k] for c in range(2) for k in range(3)] for r in range(2)]], float)
    _expect(y.shape == (1, 2), "shape (1, 2)")
    _close(y, terms.sum(-1), (terms**2).sum(-1), 6, "y")
    return Answer("forward", "y[0,r] = Σ_c Σ_k W[0,c,k] x[c, 2r+k]", f"y = {np.asarray(y).tolist()}")


def weight_jacobian() -> Answer:
    """4. ∂f/∂W."""
    x, w, _ = _layer()
    jacobian = conv_weight_jacobian(x, w, stride=2)
    expected = np.array([[[[[x[c, 2 * r + k] for k in range(3)] for c in range(2)]] for r in range(2)]])
    _expect(jacobian.shape == (1, 2, 1, 2, 3), "shape (1, 2) + (1, 2, 3)")
    _expect(np.array_equal(jacobian, expected), "the inputs themselves")
    added = jacobian.sum((0, 1))[0]  # the wrong answer: one 3 × 2 matrix, transposed, that adds both outputs
    _expect(not any(np.array_equal(added, jacobian[0, r, 0]) for r in range(2)), "the sum is neither output's")
    return Answer("∂f/∂W", "∂y[0,r]/∂W[0,c,k] = x[c, 2r+k]", "shape (1, 2) + (1, 2, 3); one 3 × 2 matrix is wrong")


def input_jacobian() -> Answer:
    """5. ∂f/∂x."""
    x, w, _ = _layer()
    jacobian = conv_input_jacobian(x, w, stride=2)
    expected = np.zeros((1, 2, 2, 5), np.float32)
    for r, c, k in np.ndindex(2, 2, 3):
        expected[0, r, c, 2 * r + k] = w[0, c, k]
    _expect(jacobian.shape == (1, 2, 2, 5), "shape (1, 2) + (2, 5)")
    _expect(np.array_equal(jacobian, expected), "the kernel, moved by 2 for the second output, zeros around")
    serves = (jacobian != 0).all(2).sum((0, 1))
    _expect(serves.tolist() == [1, 1, 2, 1, 1], "only the third position serves both outputs")
    formula = "W[0, c, i−2r] where 0 ≤ i−2r ≤ 2, else 0"
    return Answer("∂f/∂x", formula, "shape (1, 2) + (2, 5); only x[:, 2] serves both")


def weight_gradient() -> Answer:
    """6. ∂l/∂W from ∂l/∂y, as a sum, by the hand-written rule, by JAX, and as a dilated convolution."""
    x, w, g = _layer()
    terms = np.array([[[[g[0, r] * x[c, 2 * r + k] for r in range(2)] for k in range(3)] for c in range(2)]], float)
    ways = {
        "conv_weight_vjp": conv_weight_vjp(x, g, kernel_size=3, stride=2),
        "jax.vjp": jax.vjp(lambda w: conv(x, w, stride=2, derivative="jax"), w)[1](g)[0],
        # x meets the cotangent, dilated by the forward stride: each channel of x is an example of its own.
        "conv(x, ∂l/∂y, dilation=2)": conv(x[:, None], g[:, None], dilation=2)[:, 0][None],
    }
    for name, each in ways.items():
        _expect(each.shape == w.shape, f"{name} has the shape of W")
        _close(each, terms.sum(-1), (terms**2).sum(-1), 2, name)
    return Answer("∂l/∂W", "Σ_r ∂l/∂y[0,r] · x[c, 2r+k]", "sum, rule, JAX and conv(x, ∂l/∂y, dilation=2) agree")


def _cell() -> tuple[GatedParams, jax.Array, jax.Array]:
    draw = _draw(7)
    return GatedParams(draw(4, 3), draw(4, 4), draw(4, 3), draw(4), draw(4)), draw(6, 3), draw(6, 4)


def _draw(seed: int) -> Callable[..., jax.Array]:
    random = np.random.default_rng(seed)
    return lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)


def cell() -> Answer:
    """7. The cell: shapes, and the state after six steps, step by step."""
    params, x, _ = _cell()
    params64, x64 = jax.tree.map(oracle.to_double, (params, x))

    def states(rounded: Any) -> tuple[np.ndarray]:
        inputs = tuple(rounded(p) for p in params64)
        return (oracle.gated_scan(inputs, rounded(x64), np.zeros(4), rounded).h[-1],)

    (exact,), (scale,) = states(lambda value: value), spread(states, np.float32)
    h = jnp.zeros(4, x.dtype)
    for x_t in x:
        h = gated_step(params, h, x_t)
    _close(h, exact, scale, 5, "h[6]", measured=True)
    c = jax.nn.sigmoid(params.w_c @ x[0])
    _expect(params.w_c.shape == (4, 3) and c.shape == (4,), "W_c is (m, n), so c[t] is in R^m")
    formula = "c = σ(W_c x + b_c + W_h h), h' = c ⊙ h + (1−c) ⊙ v"
    return Answer("the cell", formula, "W_c (m, n) = (4, 3), x (3,), c (4,)")


def through_time() -> Answer:
    """8. Backpropagation through time, and two wrong answers."""
    params, x, y_bar = _cell()
    h0 = jnp.zeros(4, x.dtype)
    d_params, dx, dh0 = jax.grad(lambda *at: jnp.vdot(gated_scan(*at)[1], y_bar), (0, 1, 2))(params, x, h0)
    params64, x64, y_bar64 = jax.tree.map(oracle.to_double, (params, x, y_bar))

    def gradients(rounded: Any) -> tuple[np.ndarray, ...]:
        inputs = tuple(rounded(p) for p in params64), rounded(x64), np.zeros(4), y_bar64
        weights, d_x, d_h0 = oracle.gated_vjp(*inputs, rounded=rounded)
        return *weights, d_x, d_h0

    exact, scale = gradients(lambda value: value), spread(gradients, np.float32)
    for computed, right, distance, name in zip((*d_params, dx, dh0), exact, scale, _GRADIENTS, strict=True):
        _close(computed, right, distance, 6, name, measured=True)

    run = oracle.gated_scan(params64, x64, np.zeros(4))
    scalar, cut = np.zeros((4, 3)), np.zeros((4, 3))
    for t in range(6):
        total = oracle.gated_vjp(params64, x64[t + 1 :], run.h[t + 1], y_bar64[t + 1 :])[2] + y_bar64[t]
        scalar += np.outer(total, x64[t]) * (1 - run.c[t]).sum()
        cut += np.outer(y_bar64[t] * (1 - run.c[t]), x64[t])
    for wrong, name in ((scalar, "a scalar Σ(1 − c)"), (cut, "no path through h[t−1]")):
        distance = measured_units(wrong, exact[2], scale[2], 6, np.float32)
        _expect(np.max(distance) > C, f"{name} is wrong")
    return Answer("∂l/∂W_x", "Σ_t (g[t] ⊙ (1 − c[t])) x[t]ᵀ", "shape (m, n); scalar Σ(1−c) and a cut path are wrong")


_GRADIENTS = ("dW_c", "dW_h", "dW_x", "db_c", "db_x", "dx", "dh0")


def regimes() -> Answer:
    """9. Gradients through time vanish, hold and explode."""
    steps, m, draw = 60, 16, _draw(2)
    params = GatedParams(draw(m, m) / 4, 0.02 * draw(m, m), draw(m, m) / 4, jnp.zeros(m, jnp.float32))
    x = draw(steps, m)
    vanish = gradient_flow(params, x).norms[0]
    hold = gradient_flow(params._replace(b_c=jnp.full(m, 40.0, x.dtype)), x).norms[0]  # c → 1: the state stands still
    # An orbit that no rounding leaves: h = 1, −1, 1, … with every gate at σ(0) = 1/2, where two steps multiply a
    # gradient by (1/2 + W_h)(1/2 − W_h) = 1/4 − W_h².
    w_h = 3.0
    one = jnp.ones((1, 1), x.dtype)
    orbit = GatedParams(-w_h * one, w_h * one, -3 * one)
    signs = jnp.where(jnp.arange(steps)[:, None] % 2 == 0, one, -one)
    explode = gradient_flow(orbit, signs, one[0]).log_norms[0]
    _expect(vanish < 1e-6, "inside (0, 1) with a small W_h the gradient vanishes")
    _expect(abs(hold - 1) < 1e-3, "with c → 1 it holds")
    exact = steps / 2 * np.log(w_h**2 - 0.25)
    _close(explode, exact, exact**2 / steps, steps, "with a large W_h it explodes, sigmoid or not")
    first = {"vanish": vanish, "hold": hold, "explode": np.exp(exact)}
    found = ", ".join(f"{name} {value:.2g}" for name, value in first.items())
    return Answer("vanish, hold, explode", "‖∂h[T]/∂h[0]‖ = ‖∏ ∂h[t]/∂h[t−1]‖", found)


EXERCISES = (sizes, shapes, forward, weight_jacobian, input_jacobian, weight_gradient, cell, through_time, regimes)
