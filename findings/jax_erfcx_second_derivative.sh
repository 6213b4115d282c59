#!/usr/bin/env bash
# JAX 0.12.0.1: jax.scipy.special.erfcx of an array has no second derivative, of a number it has.
#
# The derivative of erfcx is 2 x erfcx(x) - 2/sqrt(pi), that of it (2 + 4 x^2) erfcx(x) - 4 x/sqrt(pi). JAX gives it at
# a number, and at an array under jax.vmap; grad of grad and jvp of jvp at the array itself raise a TypeError of
# lax.select, whose cases have the shapes () and that of the array. erfc, dawsn and the others go through.
#
# Needs Python 3.12 or later with venv and pip: python3, or what PYTHON names. Exit status 0: seen as described; else it
# has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.12.0.1 jaxlib==0.12.0.1 mpmath==1.4.1

JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from jax.scipy.special import dawsn, erfc, erfcx

print(f"jax {jax.__version__}")
x = jnp.asarray([-2.5, 0.3, 1.1, 3.2], jnp.float32)
mpmath.mp.dps = 30
right = np.array([float(mpmath.diff(lambda t: mpmath.exp(t * t) * mpmath.erfc(t), float(v), 2)) for v in x])


def second(f):
    return jax.grad(lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(f(x)))(x)))


one = np.array([second(erfcx)(v) for v in x])
mapped = np.asarray(jax.vmap(second(erfcx))(x))
print(f"second derivative by mpmath {right.tolist()}")
print(f"at one number at a time     {one.tolist()}")
print(f"under vmap                  {mapped.tolist()}")
said = []
for name, ask in (
    ("grad of grad", lambda: second(erfcx)(x)),
    ("jvp of jvp", lambda: jax.jvp(lambda x: jax.jvp(erfcx, (x,), (x,))[1], (x,), (x,))),
):
    try:
        ask()
        said.append(f"{name} works")
    except TypeError as error:
        said.append("")
        print(f"{name} of the array: TypeError: {error}")
for f in (erfc, dawsn):
    second(f)(x)
if any(said) or not np.allclose(one, right, rtol=1e-3) or not np.allclose(mapped, right, rtol=1e-3):
    raise SystemExit(f"no longer so: {said}")
print("As described: no second derivative at an array.")
PY
