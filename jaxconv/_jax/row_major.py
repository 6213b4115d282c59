"""An array of its own, row by row in memory.

XLA picks the order in which an array lies in memory. One whose axes are moved it may leave as it lay, so that whatever
reads it steps through memory: (4, 784, 512) float32 with its last two axes exchanged, plus one, takes 3.2 ms so, and
0.43 ms where the moved array is made first (JAX 0.12.0.1, two AVX-512 cores). `jax.experimental.layout` asks for the
order; its call is no promise, and `jax.export` refuses it, so that an exported program goes without, as does one for
another platform than a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jaxconv._jax.conv_rule import is_exported

_held = Primitive("jaxconv_row_major")


def row_major(x: Array) -> Array:
    """x, made before it is read, its last axis contiguous: a hint to the compiler of a CPU."""
    return lax.optimization_barrier(_held.bind(x))


def transposed(x: Array, order: Sequence[int]) -> Array:
    """x.transpose(order) in one move: neither what makes x nor what reads the result goes through memory in steps."""
    return row_major(lax.optimization_barrier(x).transpose(order))


def _in_order(x: Array) -> Array:
    try:
        from jax.experimental.layout import Layout, with_layout_constraint
    except ImportError:
        return x
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def _lower_for_cpu(ctx: Any, x: Any) -> Any:
    return [x] if is_exported(ctx, unknown=True) else mlir.lower_fun(_in_order, multiple_results=False)(ctx, x)


def _batched(args: Any, axes: Any) -> Any:
    return _held.bind(*args), axes[0]


_held.def_impl(lambda x: x)
_held.def_abstract_eval(lambda x: x)
batching.primitive_batchers[_held] = _batched
mlir.register_lowering(_held, lambda ctx, x: [x])
mlir.register_lowering(_held, _lower_for_cpu, platform="cpu")
