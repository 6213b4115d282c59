"""Losses, projections, solvers, transport, distributions: optax, flax, equinox, lineax, optimistix, diffrax, jaxopt,
numpyro, ott, distrax.
"""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath as mp

from cases import POSITIVE, SPD, A, V, X, closed, elementwise, f32, named

# ------------------------------------------------------------------------------------------------------------- optax


def simplex(x, s=1.0):
    """The projection onto {p ≥ 0, Σ p = s} where it is smooth: the support from a fixed sort."""
    u = jnp.sort(x)[::-1]
    ind = jnp.arange(1, x.size + 1)
    k = jnp.sum(s / ind + u - jnp.cumsum(u) / ind > 0)
    theta = (jnp.sum(jnp.where(jnp.arange(x.size) < k, u, 0)) - s) / k
    return jnp.maximum(x - theta, 0)


closed("optax.projections:projection_simplex", simplex, f32(*X))
closed("optax.projections:projection_l1_ball", lambda x: jnp.sign(x) * simplex(jnp.abs(x)), f32(*X))
closed(
    "optax.losses._classification:weighted_logsoftmax",
    lambda x, w: w * (x - jnp.log(jnp.sum(jnp.exp(x)))),
    f32(*X),
    f32(0.2, 0.3, 0.1, 0.3, 0.1),
)
closed("optax.losses:safe_softmax_cross_entropy", lambda x, w: -jnp.sum(w * (x - jnp.log(jnp.sum(jnp.exp(x))))),
       f32(*X), f32(0.2, 0.0, 0.4, 0.3, 0.1))  # fmt: skip
closed("optax:scale_gradient", "wrong", f32(*X), within=lambda f: lambda x: f(x, 0.5))  # it is meant to be
closed("optax:scale_gradient", "right", f32(*X), within=lambda f: lambda x: f(x, 0.5), name=" with a reference",
       reference=lambda x: 0.5 * x + jax.lax.stop_gradient(0.5 * x))  # fmt: skip

# -------------------------------------------------------------------------------------------------------------- flax
closed("flax.nnx:custom_vjp", lambda x, y: jnp.sin(x) * y, f32(*X), f32(*X[::-1]), within=lambda wrap: _nnx(wrap))
# The gradient passes a rounding to eight bits as it came, "straight through".
closed("flax.linen.fp8_ops:in_qdq", "wrong", f32(*X), jnp.float32(1.0), jnp.zeros(4, jnp.float32),
       within=lambda f: partial(f, jnp.float32, jnp.float8_e4m3fn))  # fmt: skip
closed("flax.linen.fp8_ops:out_qdq", "wrong", f32(*X), jnp.float32(1.0), jnp.zeros(4, jnp.float32),
       within=lambda f: partial(f, jnp.float32, jnp.float8_e5m2))  # fmt: skip


def _nnx(wrap):
    rule = wrap(lambda x, y: jnp.sin(x) * y, graph_updates=False)
    rule.defvjp(
        lambda x, y: (rule(x, y), (x, y)), lambda kept, g: (jnp.cos(kept[0]) * kept[1] * g, jnp.sin(kept[0]) * g)
    )
    return rule


# ------------------------------------------------------------------------------- equinox, lineax, optimistix, diffrax
closed("equinox.internal:nextafter", lambda x: x, f32(*X))
closed("equinox.internal:prevbefore", lambda x: x, f32(*X))
closed("equinox.debug:backward_nan", lambda x: x, f32(*X), within=lambda f: partial(f, terminate=False))


def _checkpointed(loop):
    def f(x):
        step = lambda c: (c[0] + 1, jnp.sin(c[1]) * x)  # noqa: E731
        return loop(lambda c: c[0] < 5, step, (0, x), max_steps=8, kind="checkpointed")[1]

    return f


def _unrolled(x):
    c = x
    for _ in range(5):
        c = jnp.sin(c) * x
    return c


closed("equinox.internal:while_loop", _unrolled, f32(*X), within=_checkpointed)
closed("lineax.internal:two_norm", lambda x: jnp.sqrt(jnp.sum(x * x)), f32(*X))
closed("lineax.internal:rms_norm", lambda x: jnp.sqrt(jnp.mean(x * x)), f32(*X))
closed("lineax.internal:max_norm", lambda x: jnp.max(jnp.abs(x)), f32(*X))
closed("lineax:linear_solve", jnp.linalg.solve, jnp.asarray(A), f32(1.0, -2.0, 0.5, 3.0), within=lambda f: (
    lambda a, b: f(named("lineax:MatrixLinearOperator")(a), b).value))  # fmt: skip


def _root(find):
    import optimistix as optx

    solver = optx.Newton(rtol=1e-5, atol=1e-5)
    return lambda a: find(lambda y, a: y**3 + y - a, solver, jnp.ones_like(a), a).value


def _cubic(a):
    """y³ + y = a, by Cardano."""
    r = jnp.sqrt(a * a / 4 + 1 / 27)
    return jnp.cbrt(a / 2 + r) + jnp.cbrt(a / 2 - r)


closed("optimistix:root_find", _cubic, f32(0.5, 2.0, 7.0), within=_root)
closed(
    "optimistix:fixed_point",
    lambda a: a / (1 - 0.3),
    f32(0.5, 2.0, 7.0),
    within=lambda find: (
        lambda a: (
            find(
                lambda y, a: 0.3 * y + a,
                named("optimistix:FixedPointIteration")(rtol=1e-7, atol=1e-7),
                jnp.zeros_like(a),
                a,
            ).value
        )
    ),
)


def _diffrax(adjoint, tolerance):
    def made(solve):
        import diffrax as dfx

        def f(y, k):
            term, control = dfx.ODETerm(lambda t, y, k: -k * y), dfx.PIDController(rtol=tolerance, atol=tolerance)
            end = solve(term, dfx.Tsit5(), 0.0, 1.0, 0.1, y, k, stepsize_controller=control,
                        adjoint=getattr(dfx, adjoint)())  # fmt: skip
            return end.ys[-1]

        return f

    return made


for which in ("BacksolveAdjoint", "RecursiveCheckpointAdjoint"):
    closed("diffrax:diffeqsolve", lambda y, k: y * jnp.exp(-k), f32(1.0, 2.0), jnp.float32(0.7),
           within=_diffrax(which, 1e-6), name=f" {which}")  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ jaxopt
JP = "jaxopt.projection"
closed(f"{JP}:projection_simplex", simplex, f32(*X))
closed(f"{JP}:projection_sparse_simplex", lambda x: simplex(jnp.where(x >= jnp.sort(x)[-3], x, -jnp.inf)), f32(*X),
       within=lambda f: partial(f, max_nz=3))  # fmt: skip
closed(f"{JP}:projection_l2_ball", lambda x: x / jnp.sqrt(jnp.sum(x * x)), f32(*X))
closed(f"{JP}:projection_l1_ball", lambda x: jnp.sign(x) * simplex(jnp.abs(x)), f32(*X))
closed(f"{JP}:projection_hyperplane", lambda x: x - (jnp.sum(x) - 1) / 5, f32(*X),
       within=lambda f: lambda x: f(x, (jnp.ones_like(x), 1.0)))  # fmt: skip
closed(
    f"{JP}:projection_box_section",
    "cannot under remat",  # jax.checkpoint of it raises UnexpectedTracerError in JAX itself; its gradient is right
    f32(*X),  # x − t clipped to a box, t the mean of what is free
    within=lambda f: lambda x: f(x, (jnp.zeros_like(x), jnp.ones_like(x), jnp.ones_like(x), jnp.ones((), x.dtype))),
)
closed(
    "jaxopt.isotonic:isotonic_l2_pav",
    lambda y: jnp.stack([y[0], *[(y[1] + y[2]) / 2] * 2, y[3]]),
    f32(0.1, 2.0, 1.0, 3.0),
)


def _ridge(solver):
    def f(x, y, strength):
        objective = lambda w, s: jnp.mean((x @ w - y) ** 2) + s * jnp.sum(w * w)  # noqa: E731
        made = solver(objective, maxiter=500, tol=1e-10, implicit_diff=True)
        return made.run(jnp.zeros(x.shape[1], x.dtype), strength).params

    return f


def _ridge_closed(x, y, strength):
    n = x.shape[0]
    return jnp.linalg.solve(x.T @ x / n + strength * jnp.eye(x.shape[1], dtype=x.dtype), x.T @ y / n)


closed("jaxopt:GradientDescent", lambda s: _ridge_closed(jnp.asarray(V, s.dtype), jnp.asarray(V[:, 0], s.dtype) + 1, s),
       jnp.float32(0.5), within=lambda solver: lambda s: _ridge(solver)(
           jnp.asarray(V, s.dtype), jnp.asarray(V[:, 0], s.dtype) + 1, s))  # fmt: skip

# ----------------------------------------------------------------------------------------------------------- numpyro
elementwise("numpyro.distributions.util:log1mexp", lambda x: mp.log(1 - mp.exp(x)), [-4.2, -1.3, -0.4, -0.05])
ND = "numpyro.distributions"
LOW, HIGH = 0.5, 4.0
for alpha in (-2.5, -1.0, 0.7):
    density = lambda x, a=alpha: (mp.log(x) * a - mp.log(  # noqa: E731
        mp.log(HIGH / LOW) if a == -1 else (mp.mpf(HIGH) ** (a + 1) - mp.mpf(LOW) ** (a + 1)) / (a + 1)))  # fmt: skip
    elementwise(f"{ND}:DoublyTruncatedPowerLaw", density, [0.6, 1.0, 2.0, 3.9], name=f".log_prob in x, {alpha}",
                within=lambda d, a=alpha: lambda x: d(jnp.asarray(a, x.dtype), LOW, HIGH).log_prob(x))  # fmt: skip


def _power_law(x, a):
    """With ∫ tᵃ dt = Lᵃ⁺¹ (e^{(a+1) log H/L} − 1)/(a+1); the branch is at −1 alone, however near differences come."""
    n, log = a + 1, mp.log(mp.mpf(HIGH) / LOW)
    return a * mp.log(x) - mp.log(log if n == 0 else mp.mpf(LOW) ** n * mp.expm1(n * log) / n)


elementwise(f"{ND}:DoublyTruncatedPowerLaw", lambda a: _power_law(2.0, a), [-2.5, -1.0, 0.7], name=".log_prob in alpha",
            within=lambda d: lambda a: d(a, LOW, HIGH).log_prob(jnp.asarray(2.0, a.dtype)))  # fmt: skip

# --------------------------------------------------------------------------------------------------------------- ott
OM = "ott.math.utils"
closed(f"{OM}:norm", lambda x: jnp.sqrt(jnp.sum(x * x)), f32(*X))
closed(f"{OM}:norm", lambda x: jnp.sum(jnp.abs(x)), f32(*X), within=lambda f: lambda x: f(x, 1), name=" 1")
closed(f"{OM}:logsumexp", lambda x: jnp.log(jnp.sum(jnp.exp(x), 1)), jnp.asarray(V), within=lambda f: lambda x: f(x, 1))
closed(f"{OM}:logsumexp", lambda x, b: jnp.log(jnp.sum(b * jnp.exp(x), 1)), jnp.asarray(V), jnp.abs(jnp.asarray(V)) + 1,
       within=lambda f: lambda x, b: f(x, 1, False, b), name=" weighted")  # fmt: skip
closed(
    f"{OM}:softmin",
    lambda x: -0.5 * jnp.log(jnp.sum(jnp.exp(x / -0.5))),
    f32(*X),
    within=lambda f: lambda x: f(x, 0.5, None),
)
elementwise(f"{OM}:lambertw", mp.lambertw, POSITIVE)
OS = "ott.math.matrix_square_root"


def _root_of(a):
    values, vectors = jnp.linalg.eigh((a + a.T) / 2)
    return vectors * jnp.sqrt(values) @ vectors.T


symmetric = lambda f: lambda a: f((a + a.T) / 2, threshold=1e-12)  # noqa: E731
closed(f"{OS}:sqrtm_only", _root_of, jnp.asarray(SPD), within=symmetric)
closed(f"{OS}:inv_sqrtm_only", lambda a: jnp.linalg.inv(_root_of(a)), jnp.asarray(SPD), within=symmetric)
closed(f"{OS}:sqrtm", _root_of, jnp.asarray(SPD), within=lambda f: lambda a: f((a + a.T) / 2, 1e-12)[0])


def _sinkhorn(solve):
    from ott.geometry import pointcloud

    return lambda x, y: solve(pointcloud.PointCloud(x, y, epsilon=0.5), threshold=1e-5).reg_ot_cost


def _sinkhorn_closed(x, y):
    c = jnp.sum((x[:, None] - y[None]) ** 2, -1)
    log = lambda v: jax.scipy.special.logsumexp(v, 1)  # noqa: E731
    f, g, n, m = jnp.zeros(x.shape[0]), jnp.zeros(y.shape[0]), x.shape[0], y.shape[0]
    for _ in range(300):
        f = -0.5 * log((g - c) / 0.5 - jnp.log(m))
        g = -0.5 * log((f[:, None] - c).T / 0.5 - jnp.log(n))
    return jnp.mean(f) + jnp.mean(g)


closed("ott.solvers.linear:solve", _sinkhorn_closed, jnp.asarray(V), jnp.asarray(V[::-1] + 0.3), within=_sinkhorn)

# ----------------------------------------------------------------------------------------------------------- distrax
DM = "distrax._src.utils.math"
closed(f"{DM}:multiply_no_nan", lambda x, y: x * y, f32(*X), f32(*X[::-1]))
closed(f"{DM}:multiply_no_nan", lambda x, y: x * y, f32(*X), f32(0.0, 1.0, 0.0, 2.0, 3.0), name=" by 0")
elementwise(f"{DM}:power_no_nan", lambda x, y: x**y, POSITIVE, X[:4])
closed(f"{DM}:mul_exp", lambda x, y: x * jnp.exp(y), f32(*X), f32(*X[::-1]))
elementwise("distrax:VonMises", lambda x: mp.quad(lambda s: mp.exp(2 * mp.cos(s)), [-mp.pi, 0, x])
            / (2 * mp.pi * mp.besseli(0, 2)), X[:4], name=".cdf",
            within=lambda d: lambda x: d(0.0, 2.0).cdf(x))  # fmt: skip
