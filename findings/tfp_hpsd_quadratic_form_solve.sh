#!/usr/bin/env bash
# tensorflow-probability (nightly 2026-10-27, JAX half): the gradient of hpsd_quadratic_form_solve by its right-hand
# side is that of a symmetric cotangent, whatever the cotangent is.
#
# Q = Bᵀ A⁻¹ B has ∂⟨G, Q⟩/∂B = A⁻¹ B (G + Gᵀ). The rule gives 2 A⁻¹ B G, the same where G = Gᵀ alone: the gradient of one
# element off the diagonal, Q[0, 1], is wrong. That by A is right.
#
# Needs Python 3.12 or later with venv and pip: python3, or what PYTHON names. Exit status 0: seen as described; else it
# has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    jax==0.12.0.1 jaxlib==0.12.0.1 tfp-nightly==0.26.0.dev20261027

JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_probability
from tensorflow_probability.substrates.jax.math import hpsd_quadratic_form_solve

print(f"jax {jax.__version__}, tensorflow-probability {tensorflow_probability.__version__}")
jax.config.update("jax_enable_x64", True)
random = np.random.default_rng(0)
a = random.standard_normal((3, 3))
a, b = jnp.asarray(a @ a.T + 2 * np.eye(3)), jnp.asarray(random.standard_normal((3, 2)))
element = lambda b: hpsd_quadratic_form_solve(a, b)[0, 1]
got = np.asarray(jax.grad(element)(b))
right = np.asarray(jax.grad(lambda b: (b.T @ jnp.linalg.inv(a) @ b)[0, 1])(b))
g = np.zeros((2, 2))
g[0, 1] = 1
difference = (element(b.at[0, 0].add(1e-4)) - element(b.at[0, 0].add(-1e-4))) / 2e-4
print(f"d Q[0, 1] / d B by the rule\n{got}\nby JAX, of Bᵀ A⁻¹ B written out\n{right}")
print(f"element [0, 0] by a central difference: {difference:.8f}")
symmetric = np.asarray(jax.grad(lambda b: jnp.sum(hpsd_quadratic_form_solve(a, b)))(b))
written = np.asarray(jax.grad(lambda b: jnp.sum(b.T @ jnp.linalg.inv(a) @ b))(b))
seen = (
    np.allclose(got, 2 * np.linalg.solve(a, np.asarray(b)) @ g)
    and np.allclose(right, np.linalg.solve(a, np.asarray(b)) @ (g + g.T))
    and abs(difference - right[0, 0]) < 1e-6
    and not np.allclose(got, right, atol=0.01)
    and np.allclose(symmetric, written)
)
if not seen:
    raise SystemExit("no longer so")
print("As described: 2 A⁻¹ B G in place of A⁻¹ B (G + Gᵀ).")
PY
