#!/usr/bin/env bash
# JAX 0.12.0.1 on a CPU: a transposition that something reads takes two to eight times as long as the two apart.
#
# (4, 784, 512) float32 with its last two axes exchanged: by itself XLA moves it in one go. In x.swapaxes(1, 2) + 1 the
# transposition becomes a part of the addition's loop, which then steps through memory; optimization_barrier does not
# help, since the moved array may stay as it lies. With its order in memory asked for, by
# jax.experimental.layout.with_layout_constraint, and a barrier behind it, the sum takes about as long as its two parts.
#
# Seen on two AVX-512 cores, in ms, in a quiet hour and in another: transposition 0.25 and 0.64, addition 0.29 and 0.37,
# both 3.5 and 2.0, with a barrier between 3.2 and 3.0, with the order asked for 0.43 and 0.92. Times of another machine
# differ; what is asked below is a factor of 1.5.
#
# Needs Python 3.12 or later with venv and pip: python3, or what PYTHON names. Exit status 0: seen as described; else it
# has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.12.0.1 jaxlib==0.12.0.1

JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import time

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

print(f"jax {jax.__version__}")


def in_order(x):
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


forms = {
    "transposition": lambda x: x.swapaxes(1, 2),
    "addition": lambda x: x + 1,
    "both": lambda x: x.swapaxes(1, 2) + 1,
    "both, with a barrier between": lambda x: lax.optimization_barrier(x.swapaxes(1, 2)) + 1,
    "both, in order and with a barrier": lambda x: lax.optimization_barrier(in_order(x.swapaxes(1, 2))) + 1,
}
slow = []
for shape in ((4, 784, 512), (4, 3136, 128)):
    x = jax.random.normal(jax.random.key(0), shape)
    least = dict.fromkeys(forms, float("inf"))
    compiled = {name: jax.jit(form) for name, form in forms.items()}
    for _ in range(30):  # in turns; the least of a form is what it takes when nothing else runs
        for name, form in compiled.items():
            start = time.perf_counter()
            form(x).block_until_ready()
            least[name] = min(least[name], time.perf_counter() - start)
    print(shape, {name: f"{1e3 * seconds:.2f} ms" for name, seconds in least.items()})
    moved, added, both, behind, ordered = least.values()
    slow += [both > 1.5 * (moved + added), behind > 1.5 * (moved + added), both > 1.5 * ordered]
if not all(slow):
    raise SystemExit(f"no longer so: {slow}")
print("As described: the transposition within the addition's loop is the slow one.")
PY
