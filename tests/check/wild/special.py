"""Special functions and linear algebra: jax itself, and tensorflow-probability's JAX half."""

import jax
import jax.numpy as jnp
import mpmath as mp

from cases import POSITIVE, SPD, A, P, V, X, closed, elementwise, f32, student

# ------------------------------------------------------------------------------------------------------------- jax
NN, SP = "jax.nn", "jax.scipy.special"
closed(f"{NN}:relu", lambda x: jnp.where(x > 0, x, 0.0), f32(*X))
closed(f"{NN}:relu6", lambda x: jnp.clip(x, 0, 6), f32(*X, 7.0))
closed(f"{NN}:softmax", lambda x: jnp.exp(x) / jnp.sum(jnp.exp(x)), f32(*X))
elementwise(f"{NN}:log1mexp", lambda x: mp.log(1 - mp.exp(-x)), POSITIVE)
elementwise("jax.numpy:logaddexp", lambda x, y: mp.log(mp.exp(x) + mp.exp(y)), X, X[::-1])
elementwise("jax.numpy:logaddexp2", lambda x, y: mp.log(2**x + 2**y, 2), X, X[::-1])
elementwise("jax.numpy:hypot", lambda x, y: mp.sqrt(x * x + y * y), X, X[::-1])
elementwise("jax.numpy:sinc", lambda x: mp.sinc(mp.pi * x), [*X, 1e-4])
elementwise("jax.numpy:i0", lambda x: mp.besseli(0, x), X)
closed("jax.numpy.linalg:det", lambda a: a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0], jnp.asarray(A[:2, :2]), name=" 2×2")
closed("jax.numpy.linalg:det", lambda a: jnp.dot(a[0], jnp.cross(a[1], a[2])), jnp.asarray(A[:3, :3]), name=" 3×3")
closed("jax.numpy.linalg:det", lambda a: jnp.prod(jnp.linalg.eigvals(a)).real, jnp.asarray(A), name=" 4×4",
       within=lambda f: f)  # fmt: skip
closed("jax.numpy.linalg:slogdet", lambda a: 0.5 * jnp.log(jnp.prod(jnp.linalg.eigvalsh(a @ a.T))), jnp.asarray(A),
       within=lambda f: lambda a: f(a)[1])  # fmt: skip
closed("jax.numpy.linalg:pinv", lambda a: jnp.linalg.solve(a.T @ a, a.T), jnp.asarray(V))
elementwise(f"{SP}:logit", lambda p: mp.log(p / (1 - p)), P)
elementwise(f"{SP}:xlogy", lambda x, y: x * mp.log(y), X[:4], POSITIVE)
elementwise(f"{SP}:xlog1py", lambda x, y: x * mp.log(1 + y), X[:4], POSITIVE)
elementwise(f"{SP}:entr", lambda x: -x * mp.log(x), POSITIVE)
elementwise(f"{SP}:rel_entr", lambda p, q: p * mp.log(p / q), POSITIVE, POSITIVE[::-1])
elementwise(f"{SP}:kl_div", lambda p, q: p * mp.log(p / q) - p + q, POSITIVE, POSITIVE[::-1])
elementwise(f"{SP}:zeta", lambda q: mp.zeta(2.5, q), POSITIVE, within=lambda f: lambda q: f(2.5, q))
elementwise(f"{SP}:ndtri", lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), P)
elementwise(f"{SP}:log_ndtr", lambda x: mp.log(mp.ncdf(x)), [-30.0, -8.0, *X])
elementwise(f"{SP}:expi", mp.ei, X)
elementwise(f"{SP}:sici", mp.si, X, within=lambda f: lambda x: f(x)[0], name="[0]")
elementwise(f"{SP}:sici", mp.ci, POSITIVE, within=lambda f: lambda x: f(x)[1], name="[1]")
elementwise(f"{SP}:expn", lambda x: mp.expint(3, x), POSITIVE, within=lambda f: lambda x: f(3, x))
elementwise(f"{SP}:exp1", mp.e1, POSITIVE)
elementwise(f"{SP}:poch", lambda z: mp.rf(z, 1.5), POSITIVE, within=lambda f: lambda z: f(z, 1.5), name=" in z")
elementwise(f"{SP}:poch", lambda m: mp.rf(2.5, m), POSITIVE, within=lambda f: lambda m: f(2.5, m), name=" in m")
elementwise(f"{SP}:hyp1f1", lambda x: mp.hyp1f1(1.5, 2.5, x), X, within=lambda f: lambda x: f(1.5, 2.5, x))
elementwise(f"{SP}:hyp2f1", lambda x: mp.hyp2f1(0.5, 1.5, 2.5, x), [-0.6, 0.1, 0.7],
            within=lambda f: lambda x: f(0.5, 1.5, 2.5, x))  # fmt: skip
elementwise(f"{SP}:owens_t", lambda h, a: mp.quad(lambda t: mp.exp(-h * h * (1 + t * t) / 2) / (1 + t * t), [0, a])
            / (2 * mp.pi), X, X[::-1])  # fmt: skip
elementwise(f"{SP}:fresnel", mp.fresnels, X, within=lambda f: lambda x: f(x)[0], name="[0]")
elementwise(f"{SP}:fresnel", mp.fresnelc, X, within=lambda f: lambda x: f(x)[1], name="[1]")
elementwise(f"{SP}:erfcinv", lambda y: mp.erfinv(1 - y), P)
elementwise(f"{SP}:erfcx", lambda x: mp.exp(x * x) * mp.erfc(x), X)
elementwise(f"{SP}:dawsn", lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), X)
elementwise(f"{SP}:erfc", mp.erfc, X)
elementwise(f"{SP}:i1", lambda x: mp.besseli(1, x), X)


def odeint(f):
    return lambda y, k: f(lambda y, t, k: -k * y, y, jnp.asarray([0.0, 0.5, 1.0], y.dtype), k, rtol=1e-9, atol=1e-9)


closed("jax.experimental.ode:odeint", lambda y, k: jnp.stack([y * jnp.exp(-k * t) for t in (0.0, 0.5, 1.0)]),
       f32(1.0, 2.0), jnp.float32(0.7), within=odeint)  # fmt: skip
closed("jax.lax:custom_root", lambda a: jnp.cbrt(a), f32(0.5, 2.0, 7.0), within=lambda root: jax.vmap(
    lambda a: root(lambda y: y**3 - a, jnp.ones_like(a),
                   lambda g, y: jax.lax.fori_loop(0, 60, lambda _, y: y - g(y) / (3 * y * y), y),
                   lambda g, b: b / g(jnp.ones_like(b)))))  # fmt: skip
closed("jax.scipy.sparse.linalg:cg", lambda b: jnp.linalg.solve(jnp.asarray(SPD, b.dtype), b), f32(1.0, -2.0, 0.5, 3.0),
       within=lambda f: lambda b: f(jnp.asarray(SPD, b.dtype), b, tol=1e-12)[0])  # fmt: skip

# ----------------------------------------------------------------------------------- tensorflow-probability's JAX half
TM = "tensorflow_probability.substrates.jax.math"
elementwise(
    f"{TM}:bessel_ive", lambda z: mp.besseli(1.5, z) * mp.exp(-z), POSITIVE, within=lambda f: lambda z: f(1.5, z)
)
elementwise(
    f"{TM}:bessel_kve", lambda z: mp.besselk(1.5, z) * mp.exp(z), POSITIVE, within=lambda f: lambda z: f(1.5, z)
)
elementwise(f"{TM}:log_bessel_ive", lambda z: mp.log(mp.besseli(1.5, z)) - z, POSITIVE,
            within=lambda f: lambda z: f(1.5, z))  # fmt: skip
elementwise(f"{TM}:log_bessel_kve", lambda z: mp.log(mp.besselk(1.5, z)) + z, POSITIVE,
            within=lambda f: lambda z: f(1.5, z))  # fmt: skip
elementwise(f"{TM}:bessel_iv_ratio", lambda z: mp.besseli(1.5, z) / mp.besseli(0.5, z), POSITIVE,
            within=lambda f: lambda z: f(1.5, z))  # fmt: skip
elementwise(f"{TM}:betainc", lambda a, b, x: mp.betainc(a, b, 0, x, True), POSITIVE, POSITIVE[::-1], P)
elementwise(f"{TM}:dawsn", lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), X)
elementwise(f"{TM}:erfcinv", lambda y: mp.erfinv(1 - y), P)
elementwise(f"{TM}:erfcx", lambda x: mp.exp(x * x) * mp.erfc(x), X)
elementwise(f"{TM}:logerfc", lambda x: mp.log(mp.erfc(x)), X)
elementwise(f"{TM}:logerfcx", lambda x: x * x + mp.log(mp.erfc(x)), X)
elementwise(f"{TM}:igammainv", lambda p: mp.findroot(lambda x: mp.gammainc(2.5, 0, x, True) - p, 2.5), P,
            within=lambda f: lambda p: f(2.5, p))  # fmt: skip
elementwise(f"{TM}:igammacinv", lambda p: mp.findroot(lambda x: mp.gammainc(2.5, x, mp.inf, True) - p, 2.5), P,
            within=lambda f: lambda p: f(2.5, p))  # fmt: skip
elementwise(f"{TM}:betaincinv", lambda p: mp.findroot(lambda x: mp.betainc(2.5, 1.5, 0, x, True) - p, 0.6), P,
            within=lambda f: lambda p: f(2.5, 1.5, p))  # fmt: skip
elementwise(f"{TM}:lambertw", mp.lambertw, POSITIVE)
elementwise(f"{TM}:lbeta", lambda x, y: mp.log(mp.beta(x, y)), POSITIVE, POSITIVE[::-1])
elementwise(
    f"{TM}:log_gamma_difference", lambda x, y: mp.loggamma(y) - mp.loggamma(x + y), POSITIVE, [9.0, 12.0, 20.0, 31.0]
)
elementwise(f"{TM}:log_cosh", lambda x: mp.log(mp.cosh(x)), X)
elementwise(f"{TM}:owens_t", lambda h, a: mp.quad(lambda t: mp.exp(-h * h * (1 + t * t) / 2) / (1 + t * t), [0, a])
            / (2 * mp.pi), X, X[::-1])  # fmt: skip
elementwise(f"{TM}:softplus_inverse", lambda x: mp.log(mp.expm1(x)), POSITIVE)
closed(f"{TM}:hpsd_logdet", lambda a: jnp.sum(jnp.log(jnp.linalg.eigvalsh((a + a.T) / 2))), jnp.asarray(SPD),
       within=lambda f: lambda a: f((a + a.T) / 2))  # fmt: skip
closed(f"{TM}:hpsd_solve", lambda a, b: jnp.linalg.inv((a + a.T) / 2) @ b, jnp.asarray(SPD), jnp.asarray(V),
       within=lambda f: lambda a, b: f((a + a.T) / 2, b))  # fmt: skip
closed(f"{TM}:hpsd_quadratic_form_solve", lambda a, b: b.T @ jnp.linalg.inv((a + a.T) / 2) @ b, jnp.asarray(SPD),
       jnp.asarray(V), within=lambda f: lambda a, b: f((a + a.T) / 2, b))  # fmt: skip
closed(f"{TM}:clip_by_value_preserve_gradient", "wrong", f32(*X), within=lambda f: lambda x: f(x, -1.0, 1.0))
TD = "tensorflow_probability.substrates.jax.distributions"
elementwise(
    f"{TD}:StudentT",
    lambda t: (
        mp.quad(lambda s: (1 + s * s / 3.5) ** -2.25, [-mp.inf, 0, t])
        * mp.gamma(2.25)
        / (mp.sqrt(3.5 * mp.pi) * mp.gamma(1.75))
    ),
    X,
    within=lambda d: lambda x: student(d, x).cdf(x),
    name=".cdf",
)
elementwise(f"{TD}:VonMises", lambda x: mp.quad(lambda s: mp.exp(2 * mp.cos(s)), [-mp.pi, 0, x])
            / (2 * mp.pi * mp.besseli(0, 2)), X[:4], within=lambda d: d(0.0, 2.0).cdf, name=".cdf")  # fmt: skip
