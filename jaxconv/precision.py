"""Dtypes: which ones the library takes, and what each accumulates in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.arguments import wrong_kind

Precision = Any  # as lax takes it: None, a name, a lax.Precision, or one for each operand

HALF = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
DTYPES = (*HALF, *map(jnp.dtype, ("float32", "float64", "complex64", "complex128")))


def accumulator(dtype: Any) -> Any:
    """Dtype of the partial sums: float32 for half precision, else the dtype itself."""
    return jnp.dtype(jnp.float32 if jnp.dtype(dtype) in HALF else dtype)


def read_arrays(function: str, arrays: dict[str, Any]) -> None:
    """Raise unless all `arrays` are arrays of one floating or complex dtype."""
    first: tuple[str, Any] | None = None
    for name, value in arrays.items():
        if not isinstance(value, (jax.Array, np.ndarray)):
            hint = "" if value is None else f": convert with jax.numpy.asarray({name}, 'float32')"
            wrong_kind(function, f"`{name}` must be an array", f"{name} of type {type(value).__name__}{hint}")
        if value.dtype not in DTYPES:
            rule = f"`{name}` must have dtype bfloat16, float16, float32, float64, complex64 or complex128"
            wrong_kind(function, rule, f"{name}.dtype={value.dtype}: convert with {name}.astype('float32')")
        if first is None:
            first = name, value.dtype
        elif value.dtype != first[1]:
            rule = f"`{first[0]}` and `{name}` must share one dtype"
            # NumPy's float64 is what JAX would narrow by itself, so that is the one to convert.
            one, to = (first[0], name) if first[1] == np.float64 else (name, first[0])
            dtypes = f"{first[0]}.dtype={first[1]}, {name}.dtype={value.dtype}"
            wrong_kind(function, rule, f"{dtypes}: convert with {one}.astype({to}.dtype)")


def read_precision(function: str, precision: Any) -> Precision:
    """`precision` as lax takes it, hashable: None, one precision, or one for each of the two operands."""
    if isinstance(precision, (tuple, list)) and len(precision) == 2:
        return tuple(_read_one_precision(function, each) for each in precision)
    return _read_one_precision(function, precision)


def _read_one_precision(function: str, precision: Any) -> lax.Precision | None:
    if precision is None or isinstance(precision, lax.Precision):
        return precision
    if not isinstance(precision, str):
        rule = "`precision` must be None, a name, a lax.Precision or a pair of these"
        wrong_kind(function, rule, f"precision={precision!r}")
    try:
        return lax.Precision(precision)
    except ValueError:
        rule = "`precision` must be 'default', 'high' or 'highest'"
        raise ValueError(f"{function}: {rule}; got precision={precision!r}.") from None
