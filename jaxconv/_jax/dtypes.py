"""Dtypes: which ones the library takes, and what each accumulates in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.sizes.arguments import did_you_mean, wrong_kind

Precision = Any  # as lax's convolution takes it: see `read_precision`

HALF = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
PRECISIONS = ("default", "fastest", "bfloat16", "high", "bfloat16_3x", "tensorfloat32", "highest", "float32")
PRESETS = tuple(lax.DotAlgorithmPreset.__members__)
DTYPES = (*HALF, *map(jnp.dtype, ("float32", "float64", "complex64", "complex128")))


def accumulator(dtype: Any) -> Any:
    """Dtype of the partial sums: float32 for half precision, else the dtype itself."""
    return jnp.dtype(jnp.float32 if jnp.dtype(dtype) in HALF else dtype)


def read_arrays(function: str, arrays: dict[str, Any]) -> None:
    """Raise unless all `arrays` are arrays of one floating or complex dtype."""
    first: tuple[str, Any] | None = None
    for name, value in arrays.items():
        if not isinstance(value, (jax.Array, np.ndarray)):
            not_an_array(function, name, value, list(arrays))
        if value.dtype not in DTYPES:
            rule = f"`{name}` must have dtype bfloat16, float16, float32, float64, complex64 or complex128"
            numbers = jnp.issubdtype(value.dtype, np.number) or value.dtype == bool
            hint = f": convert with {name}.astype('float32')" if numbers else ""
            wrong_kind(function, rule, f"{name}.dtype={value.dtype}{hint}")
        if first is None:
            first = name, value.dtype
        elif value.dtype != first[1]:
            rule = f"`{first[0]}` and `{name}` must share one dtype"
            # NumPy's float64 is what JAX would narrow by itself, so that is the one to convert.
            one, to = (first[0], name) if first[1] == np.float64 else (name, first[0])
            dtypes = f"{first[0]}.dtype={first[1]}, {name}.dtype={value.dtype}"
            wrong_kind(function, rule, f"{dtypes}: convert with {one}.astype({to}.dtype)")


def not_an_array(function: str, name: str, value: Any, arguments: Sequence[str], dtype: str = "float32") -> NoReturn:
    """Raise for a `value` that is no array, with what can be done; `arguments` are those of the function, in order."""
    kind, hint = type(value).__name__, ""
    if isinstance(value, jax.Ref):
        kind, hint = "Ref", f": read it with {name}[...]"
    elif isinstance(value, jax.ShapeDtypeStruct):
        whole = dict.fromkeys(each.split(".")[0] for each in arguments)  # params.w_c is in params
        call = ", ".join(sorted(whole, key=lambda each: each != "params"))
        hint = f": for the shapes alone call jax.eval_shape(functools.partial({function}, …), {call})"
    elif value is not None and _can_be_an_array(value, dtype):
        hint = f": convert with jax.numpy.asarray({name}, {dtype!r})"
    wrong_kind(function, f"`{name}` must be an array", f"{name} of type {kind}{hint}")


def _can_be_an_array(value: Any, dtype: str) -> bool:
    try:
        jnp.asarray(value, dtype)
    except Exception:
        return False
    return True


def read_precision(function: str, precision: Any) -> Precision:
    """What lax's convolution makes of `precision`, hashable: None, a `lax.Precision`, or one for each of two operands.

    None is the precision in force (`jax.default_matmul_precision`) where the function is called, for its gradients,
    too. A `lax.DotAlgorithm` or preset is for matrix products alone: lax's convolution takes it and computes by
    default, so its name must not reach a form that is a matrix product.
    """
    if precision is None:
        precision = getattr(jax.config, "jax_default_matmul_precision", None)
    if precision is None or isinstance(precision, lax.Precision):
        return precision
    if isinstance(precision, (lax.DotAlgorithm, lax.DotAlgorithmPreset)):
        return lax.Precision.DEFAULT
    if isinstance(precision, str):
        return lax.Precision.DEFAULT if precision in PRESETS else _named(function, "precision", precision, PRESETS)
    if isinstance(precision, (tuple, list)) and len(precision) == 2:
        if all(isinstance(each, lax.Precision) for each in precision):
            return tuple(precision)
        if all(isinstance(each, str) for each in precision):
            return tuple(_named(function, f"precision[{i}]", each) for i, each in enumerate(precision))
        rule = "`precision` must be two names or two lax.Precision values where it is a pair"
        wrong_kind(function, rule, f"precision={precision!r}")
    rule = (
        "`precision` must be None, a name, a lax.Precision, a pair of names, a pair of lax.Precision values, "
        "a lax.DotAlgorithm or a lax.DotAlgorithmPreset"
    )
    wrong_kind(function, rule, f"precision={precision!r}")


def _named(function: str, argument: str, name: str, presets: Sequence[str] = ()) -> lax.Precision:
    """The precision of that name."""
    if name not in PRECISIONS:
        preset = " or the name of a lax.DotAlgorithmPreset" if presets else ""
        rule = f"`{argument}` must be one of {', '.join(map(repr, PRECISIONS))}{preset}"
        hint = did_you_mean(name, (*PRECISIONS, *presets))
        raise ValueError(f"{function}: {rule}; got {argument}={name!r}{hint or '.'}")
    return lax.Precision(name)
