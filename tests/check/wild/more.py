"""More rules of the twelve packages: those that need an object, a key or a solver around them."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np

from cases import POSITIVE, SPD, A, P, V, X, closed, elementwise, f32, named, student

# ------------------------------------------------------------------------------------------------------------- jax
closed(
    "jax.nn:softmax",
    lambda x: jnp.exp(x) / jnp.sum(jnp.exp(x), 0),
    jnp.asarray(V),
    within=lambda f: partial(f, axis=0),
    name=" of columns",
)
closed(
    "jax.nn:softmax",
    lambda x: (
        jnp.where(jnp.asarray([1, 1, 0, 1, 1], bool), jnp.exp(x), 0)
        / jnp.sum(jnp.where(jnp.asarray([1, 1, 0, 1, 1], bool), jnp.exp(x), 0))
    ),
    f32(*X),
    name=" where",
    within=lambda f: lambda x: f(x, where=jnp.asarray([1, 1, 0, 1, 1], bool)),
)
elementwise(
    "jax.scipy.special:xlogy", lambda y: 2.5 * mp.log(y), POSITIVE, within=lambda f: lambda y: f(2.5, y), name=" in y"
)
elementwise(
    "jax.scipy.special:zeta", lambda q: mp.zeta(4, q), POSITIVE, within=lambda f: lambda q: f(4.0, q), name=" of 4"
)
elementwise("jax.scipy.special:log_ndtr", lambda x: mp.log(mp.ncdf(x)), X, name=" near 0")
closed(
    "jax.numpy.linalg:slogdet",
    lambda a: jnp.log(jnp.abs(jnp.linalg.det(a))),
    jnp.asarray(A),
    within=lambda f: lambda a: f(a, method="qr")[1],
    name=" by QR",
)
closed(
    "jax.lax:custom_linear_solve",
    lambda b: jnp.linalg.inv(jnp.asarray(SPD, b.dtype)) @ b,
    f32(1.0, -2.0, 0.5, 3.0),
    within=lambda f: (
        lambda b: f(
            lambda x: jnp.asarray(SPD, b.dtype) @ x,
            b,
            symmetric=True,
            solve=lambda mv, b: jnp.linalg.solve(jnp.asarray(SPD, b.dtype), b),
        )
    ),
)

# ------------------------------------------------------------------------------------------------------------ flax
FP8 = "flax.linen.fp8_ops"
DIMS = (((1,), (0,)), ((), ()))
closed(
    f"{FP8}:dot_general_with_precision",
    lambda a, b: a @ b,
    jnp.asarray(A),
    jnp.asarray(V),
    within=lambda f: lambda a, b: f(a, b, DIMS),
)
closed(
    f"{FP8}:out_dq",
    "wrong",
    jnp.float32(2.0),
    jnp.float32(3.0),
    f32(*X),  # no gradient of the two scales
    within=lambda f: partial(f, jnp.float32),
)
closed(
    f"{FP8}:in_q",
    "wrong",
    f32(*X),
    jnp.float32(1.0),
    jnp.zeros(4, jnp.float32),  # scale and history as they are
    within=lambda f: lambda *args: f(jnp.float32, jnp.float8_e4m3fn, *args)[1],
)

# -------------------------------------------------------------------------------------------------------- equinox
closed(
    "equinox:error_if",
    lambda x: jnp.sin(x),
    f32(*X),
    within=lambda f: lambda x: f(jnp.sin(x), jnp.any(x > 1e6), "too large"),
)


def _filtered_vjp(wrap):
    rule = wrap(lambda arrays, k: jnp.sin(arrays["x"]) * arrays["y"] ** k)
    rule.def_fwd(lambda perturbed, arrays, k: (rule(arrays, k), None))

    def backward(kept, g, perturbed, arrays, k):
        x, y = arrays["x"], arrays["y"]
        return {"x": g * jnp.cos(x) * y**k, "y": g * jnp.sin(x) * k * y ** (k - 1)}

    rule.def_bwd(backward)
    return lambda x, y: rule({"x": x, "y": y}, 3)


closed("equinox:filter_custom_vjp", lambda x, y: jnp.sin(x) * y**3, f32(*X), f32(*X[::-1]), within=_filtered_vjp)


def _filtered_jvp(wrap):
    rule = wrap(lambda x, *, scale: jnp.sin(x) * scale)

    def tangent(primals, tangents, *, scale):
        (x,), (t,) = primals, tangents
        return jnp.sin(x) * scale, jnp.cos(x) * scale * t

    rule.def_jvp(tangent)
    return lambda x: rule(x, scale=2.5)


closed("equinox:filter_custom_jvp", lambda x: 2.5 * jnp.sin(x), f32(*X), within=_filtered_jvp)

# --------------------------------------------------------------------------------- lineax, optimistix, diffrax, jaxopt
closed(
    "lineax:linear_solve",
    lambda a, b: jnp.linalg.inv(a.T @ a) @ a.T @ b,
    jnp.asarray(V),
    f32(1.0, -2.0, 0.5, 3.0),
    within=lambda f: lambda a, b: f(named("lineax:MatrixLinearOperator")(a), b, named("lineax:QR")()).value,
    name=" least squares",
)
closed(
    "lineax:linear_solve",
    lambda b: jnp.linalg.inv(jnp.asarray(SPD, b.dtype)) @ b,
    f32(1.0, -2.0, 0.5, 3.0),
    within=lambda f: (
        lambda b: (
            f(
                named("lineax:MatrixLinearOperator")(
                    jnp.asarray(SPD, b.dtype), named("lineax:positive_semidefinite_tag")
                ),
                b,
                named("lineax:CG")(rtol=1e-7, atol=1e-7),
            ).value
        )
    ),
    name=" CG",
)


def _minimise(name):
    def made(find):
        import optimistix as optx

        solver = (
            optx.BFGS(rtol=1e-8, atol=1e-8) if name == "minimise" else optx.LevenbergMarquardt(rtol=1e-8, atol=1e-8)
        )
        residual = lambda y, a: jnp.stack([y - a, 2 * (y + 1)])  # noqa: E731
        loss = residual if name == "least_squares" else lambda y, a: jnp.sum(residual(y, a) ** 2)
        return lambda a: find(loss, solver, jnp.ones_like(a), a).value

    return made


for which in ("minimise", "least_squares"):  # (y − a) + 4 (y + 1) = 0
    closed(f"optimistix:{which}", lambda a: (a - 4) / 5, f32(0.5, 2.0, 7.0), within=_minimise(which))


def _jaxopt(make):
    def within(solver):
        x, y = np.asarray(V), np.asarray(V[:, 0] + 1)
        return lambda s: make(solver)(jnp.asarray(x, s.dtype), jnp.asarray(y, s.dtype), s)

    return within


def _ridge_of(x, y, s):
    return jnp.linalg.solve(x.T @ x / x.shape[0] + s * jnp.eye(x.shape[1], dtype=x.dtype), x.T @ y / x.shape[0])


def _objective(x, y):
    return lambda w, s: jnp.mean((x @ w - y) ** 2) + s * jnp.sum(w * w)


RIDGE = lambda s: _ridge_of(jnp.asarray(V, s.dtype), jnp.asarray(V[:, 0] + 1, s.dtype), s)  # noqa: E731
for which in ("BFGS", "LBFGS", "NonlinearCG"):
    closed(
        f"jaxopt:{which}",
        RIDGE,
        jnp.float32(0.5),
        within=_jaxopt(
            lambda solver: (
                lambda x, y, s: solver(_objective(x, y), maxiter=200, tol=1e-7).run(jnp.zeros(3, x.dtype), s).params
            )
        ),
    )
closed(
    "jaxopt:GaussNewton",
    lambda s: jnp.log(s + 1),
    jnp.float32(0.5),
    within=lambda solver: (
        lambda s: solver(lambda w, s: jnp.exp(w) - 1 - s, maxiter=50, tol=1e-7).run(jnp.zeros((), s.dtype), s).params
    ),
)
closed(
    "jaxopt:Bisection",
    lambda s: jnp.cbrt(s),
    jnp.float32(0.5),
    within=lambda solver: lambda s: solver(lambda w, s: w**3 - s, 0.0, 3.0, maxiter=60, tol=1e-7).run(None, s).params,
)
closed(
    "jaxopt:FixedPointIteration",
    lambda s: s / 0.7,
    f32(0.5, 2.0),
    within=lambda solver: (
        lambda s: solver(lambda w, s: 0.3 * w + s, maxiter=200, tol=1e-7).run(jnp.zeros_like(s), s).params
    ),
)
closed(
    "jaxopt:ProximalGradient",
    lambda b: jnp.sign(b) * jnp.maximum(jnp.abs(b) - 0.5, 0),
    f32(1.5, -0.2, -3.0),
    within=lambda solver: (
        lambda b: (
            solver(lambda w, b: 0.5 * jnp.sum((w - b) ** 2), named("jaxopt.prox:prox_lasso"), maxiter=100, tol=1e-7)
            .run(jnp.zeros_like(b), hyperparams_prox=jnp.asarray(0.5, b.dtype), b=b)
            .params
        )
    ),
)
closed(
    "jaxopt.prox:prox_lasso",
    lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0),
    f32(*X),
    within=lambda f: lambda x: f(x, jnp.asarray(0.5, x.dtype)),
)
closed("jaxopt.projection:projection_l2_sphere", lambda x: x / jnp.sqrt(jnp.sum(x * x)), f32(*X))
closed(
    "jaxopt.projection:projection_affine_set",
    lambda x: x - (jnp.sum(x) - 1) / 5,
    f32(*X),
    within=lambda f: lambda x: f(x, (jnp.ones((1, 5), x.dtype), jnp.ones(1, x.dtype))),
)
# The mean of the arg max at the samples: the gradient of the mean of the maxima at one key, as differences say.
closed(
    "jaxopt.perturbations:make_perturbed_max",
    "right",
    f32(*X),
    within=lambda f: (
        lambda x: f(lambda v: jax.nn.one_hot(jnp.argmax(v), v.shape[0]), num_samples=8, sigma=0.5)(
            x, jax.random.PRNGKey(0)
        )
    ),
)

# --------------------------------------------------------------------------------------------------------- numpyro
ND = "numpyro.distributions"
LOW, HIGH = 0.5, 4.0


def _cdf(x, a):
    if a == -1:
        return mp.log(x / LOW) / mp.log(HIGH / LOW)
    n = a + 1
    return (x**n - mp.mpf(LOW) ** n) / (mp.mpf(HIGH) ** n - mp.mpf(LOW) ** n)


def _icdf(q, a):
    if a == -1:
        return LOW * (mp.mpf(HIGH) / LOW) ** q
    n = a + 1
    return (mp.mpf(LOW) ** n + q * (mp.mpf(HIGH) ** n - mp.mpf(LOW) ** n)) ** (1 / mp.mpf(n))


for alpha in (-2.5, -1.0, 0.7):
    elementwise(
        f"{ND}:DoublyTruncatedPowerLaw",
        lambda x, a=alpha: _cdf(x, a),
        [0.6, 1.0, 2.0, 3.9],
        name=f".cdf in x, {alpha}",
        within=lambda d, a=alpha: lambda x: d(jnp.asarray(a, x.dtype), LOW, HIGH).cdf(x),
    )
    elementwise(
        f"{ND}:DoublyTruncatedPowerLaw",
        lambda q, a=alpha: _icdf(q, a),
        P,
        name=f".icdf in q, {alpha}",
        within=lambda d, a=alpha: lambda q: d(jnp.asarray(a, q.dtype), LOW, HIGH).icdf(q),
    )

# -------------------------------------------------------------------------------------------------------- ott, distrax
closed(
    "ott.math.utils:norm",
    lambda x: jnp.sqrt(jnp.sum(x * x, 1)),
    jnp.asarray(V),
    name=" of rows",
    within=lambda f: lambda x: f(x, axis=1),
)
# A gradient of the distribution, not of the sample at a key.
closed(
    "distrax:VonMises",
    "wrong",
    jnp.float32(2.0),
    name=".sample in concentration",
    within=lambda d: lambda c: d(jnp.zeros((), c.dtype), c).sample(seed=jax.random.PRNGKey(0), sample_shape=(3,)),
)

# ----------------------------------------------------------------------------------- tensorflow-probability's JAX half
TF = "tensorflow_probability.substrates.jax"
elementwise(f"{TF}.math.psd_kernels.internal.util:sqrt_with_finite_grads", mp.sqrt, POSITIVE)
elementwise(f"{TF}.bijectors:Softplus", lambda x: mp.log(1 + mp.exp(x)), X, within=lambda b: lambda x: b().forward(x))
elementwise(
    f"{TF}.bijectors:Sigmoid",
    lambda x: mp.log(1 / (1 + mp.exp(-x))) - mp.log(1 + mp.exp(x)),
    X,
    within=lambda b: lambda x: b().forward_log_det_jacobian(x, 0),
    name=".forward_log_det_jacobian",
)
elementwise(
    f"{TF}.distributions:StudentT",
    lambda p: _t_quantile(p),
    P,
    within=lambda d: lambda p: student(d, p).quantile(p),
    name=".quantile",
)
closed(
    f"{TF}.distributions:Gamma",
    "wrong",
    jnp.float32(2.5),
    name=".sample in concentration",  # as distrax's above
    within=lambda d: lambda a: d(a, jnp.ones((), a.dtype)).sample(3, seed=jax.random.PRNGKey(0)),
)
closed(
    f"{TF}.math:hpsd_quadratic_form_solvevec",
    lambda a, b: b @ jnp.linalg.inv((a + a.T) / 2) @ b,
    jnp.asarray(SPD),
    f32(1.0, -2.0, 0.5, 3.0),
    within=lambda f: lambda a, b: f((a + a.T) / 2, b),
)


def _t_quantile(p):
    def cdf(t):
        half = mp.betainc(mp.mpf(3.5) / 2, 0.5, 0, 3.5 / (3.5 + t * t), True) / 2
        return 1 - half if t > 0 else half

    start = 3 * (p - mp.mpf(0.5))
    return mp.findroot(lambda t: cdf(t) - p, (start, start + 0.1))
