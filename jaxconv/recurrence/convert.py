"""Weights of a GRU or an LSTM from and to the libraries that hold them, as pure functions of arrays.

| library | holds, for a GRU (k = 3) and an LSTM (k = 4) | gates of a GRU | of an LSTM | reset= |
|---|---|---|---|---|
| torch | weight_ih_l0 (km, n), weight_hh_l0 (km, m), bias_ih_l0, bias_hh_l0 (km,); a cell's without _l0 | r z n | i f g o | after |
| flax, nnx | dense_i.kernel (n, km), dense_h.kernel (m, km); GRUCell dense_i.bias, OptimizedLSTMCell dense_h.bias (km,) | r z n | i f g o | after |
| flax, linen | one Dense a gate, kernel (n, m) or (m, m): ir iz in hr hz hn, bias (m,) of i· and hn; ii if ig io hi hf hg ho, bias of h· | r z n | i f g o | after |
| equinox | weight_ih (km, n), weight_hh (km, m), bias (km,), bias_n (m,) of a GRU | r z n | i f g o | after |
| haiku | GRU: w_i (n, 3m), w_h (m, 3m), b (3m,), z of the opposite sense; LSTM: w (n + m, 4m), b (4m,), 1 less for f | z r n | i g f o | before |
| keras | kernel (n, km), recurrent_kernel (m, km), bias: (2, 3m) of a GRU with reset_after, else (km,) | z r n | i f g o | after, before |
| onnx | W (1, km, n), R (1, km, m), B (1, 2km), of one direction | z r n | i o f g | linear_before_reset 1: after, 0: before |

A wrong order of gates has the right shape, so nothing can see it: that is what the table is for. Where a library means
something else by lengths, reverse or a state, the table in the README of this folder says so.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxconv.recurrence.gru import Reset
from jaxconv.recurrence.gru_cell import GRU, GRUParams
from jaxconv.recurrence.lstm_cell import LSTMParams
from jaxconv.sizes.arguments import one_of, wrong_kind, wrong_value

LIBRARIES = ("torch", "flax", "linen", "equinox", "haiku", "keras", "onnx")  # linen: what `…_to` makes of flax's
OURS = {"gru": "rzn", "lstm": "ifgo"}
ORDERS = {
    "gru": {"haiku": "zrn", "keras": "zrn", "onnx": "zrn"},
    "lstm": {"haiku": "igfo", "onnx": "iofg"},
}  # the others': as ours
Quad = tuple[Array, Array, Array | None, Array | None]  # w_ih, w_hh, b_ih, b_hh

# ------------------------------------------------------------------------------------------------- reading


def _array(value: Any) -> Any:
    """An array of a library: a tensor of PyTorch, a variable of flax or keras, an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    elif type(value).__module__.split(".")[0] == "flax":
        value = value[...]
    elif hasattr(value, "numpy") and hasattr(value, "assign"):
        value = value.value if isinstance(value.value, Array) else value.numpy()
    return value if isinstance(value, Array) else jnp.asarray(value)


class _Source:
    """Weights of a library by name, nested or with attributes; a name that is missing is an error with those there."""

    def __init__(self, function: str, library: str, weights: Any) -> None:
        self.function, self.library, self.weights = function, library, weights

    def get(self, *path: str) -> Any:
        """The array at this path, None where there is none."""
        at = self.weights
        for name in path:
            at = at.get(name) if isinstance(at, Mapping) else getattr(at, name, None)
            if at is None:
                return None
        return _array(at)

    def need(self, *path: str) -> Any:
        found = self.get(*path)
        if found is None:
            there = sorted(map(str, self.weights)) if isinstance(self.weights, Mapping) else type(self.weights).__name__
            rule = f"`weights` of {self.library} must hold {'.'.join(path)}"
            wrong_value(self.function, rule, f"weights with {there}")
        return found


def _turn(kernel: Any) -> Any:
    return kernel.T


def _read_torch(at: _Source, kind: str, suffix: str) -> Quad:
    names = [f"{name}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    if at.get(names[0]) is None and at.get("weight_ih") is not None:
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    return at.need(names[0]), at.need(names[1]), at.get(names[2]), at.get(names[3])


def _read_flax(at: _Source, kind: str, suffix: str) -> Quad:
    if at.get("dense_i", "kernel") is not None:
        w_ih, w_hh = at.need("dense_i", "kernel").T, at.need("dense_h", "kernel").T
        return w_ih, w_hh, at.get("dense_i", "bias"), at.get("dense_h", "bias")
    gates = OURS[kind]
    w_ih, w_hh = (jnp.concatenate([at.need(side + g, "kernel").T for g in gates]) for side in "ih")

    def biases(side: str) -> Array | None:
        held = [at.get(side + g, "bias") for g in gates]
        if all(b is None for b in held):
            return None
        m = w_hh.shape[1]
        return jnp.concatenate([jnp.zeros(m, w_hh.dtype) if b is None else b for b in held])

    return w_ih, w_hh, biases("i"), biases("h")


def _read_equinox(at: _Source, kind: str, suffix: str) -> Quad:
    w_ih, w_hh, b, b_n = at.need("weight_ih"), at.need("weight_hh"), at.get("bias"), at.get("bias_n")
    return w_ih, w_hh, b, None if b_n is None else jnp.concatenate([jnp.zeros(2 * len(b_n), b_n.dtype), b_n])


def _read_haiku(at: _Source, kind: str, suffix: str) -> Quad:
    if isinstance(at.weights, Mapping) and len(at.weights) == 1:  # {module's name: its weights}
        at.weights = next(iter(at.weights.values()))
    if kind == "gru":
        w_ih, w_hh, b = at.need("w_i").T, at.need("w_h").T, at.need("b")
        z = jnp.asarray(np.repeat([-1.0, 1.0, 1.0], w_hh.shape[1]), w_hh.dtype)  # σ(−a) = 1 − σ(a)
        return w_ih * z[:, None], w_hh * z[:, None], b * z, None
    w, b = at.need("w"), at.need("b")
    m = w.shape[1] // 4
    return w[:-m].T, w[-m:].T, b + jnp.asarray(np.repeat([0.0, 0.0, 1.0, 0.0], m), b.dtype), None


def _read_keras(at: _Source, kind: str, suffix: str) -> Quad:
    held = at.weights
    if not isinstance(held, (Mapping, list, tuple)):  # a layer
        held = list(held.weights)
    if isinstance(held, (list, tuple)):
        if len(held) not in (2, 3):
            wrong_value(at.function, "`weights` of keras must be two or three arrays", f"{len(held)} arrays")
        at.weights = dict(zip(("kernel", "recurrent_kernel", "bias"), held, strict=False))
    b = at.get("bias")
    b_ih, b_hh = (b[0], b[1]) if b is not None and b.ndim == 2 else (b, None)
    return at.need("kernel").T, at.need("recurrent_kernel").T, b_ih, b_hh


def _read_onnx(at: _Source, kind: str, suffix: str) -> Quad:
    w, r, b = at.need("W"), at.need("R"), at.get("B")
    if w.ndim != 3 or w.shape[0] != 1:
        rule = "`weights` of onnx must be those of one direction, W (1, rows, n): cut with W[i : i + 1]"
        wrong_value(at.function, rule, f"W.shape={w.shape}")
    b_ih, b_hh = (None, None) if b is None else jnp.split(b[0], 2)
    return w[0], r[0], b_ih, b_hh


# ------------------------------------------------------------------------------------------------- writing


def _write_torch(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    names = (f"{name}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    found = dict(zip(names, quad, strict=True))
    if (quad[2] is None) != (quad[3] is None):  # it has both or none
        found = {name: jnp.zeros(quad[0].shape[0], quad[0].dtype) if a is None else a for name, a in found.items()}
    return {name: a for name, a in found.items() if a is not None}


def _one_bias(quad: Quad) -> Any:
    """b_ih + b_hh; zeros where there is neither."""
    given = [b for b in quad[2:] if b is not None]
    return sum(given[1:], given[0]) if given else jnp.zeros(quad[0].shape[0], quad[0].dtype)


def _split_bias(quad: Quad) -> tuple[Any, Any]:
    """(b_ih with all of b_hh but its last third, that third): what a reset gate does not see can move."""
    w, m = quad[0], quad[1].shape[1]
    b_ih, b_hh = (jnp.zeros(3 * m, w.dtype) if b is None else b for b in quad[2:])
    return jnp.concatenate([b_ih[: 2 * m] + b_hh[: 2 * m], b_ih[2 * m :]]), b_hh[2 * m :]


def _write_flax(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    kernels = {"dense_i": {"kernel": quad[0].T}, "dense_h": {"kernel": quad[1].T}}
    if kind == "lstm":
        kernels["dense_h"]["bias"] = _one_bias(quad)
        return kernels
    bias, b_n = _split_bias(quad)
    if quad[3] is not None and not _is_zero(b_n):
        rule = "`params.b_hh` must be 0 in its last third for nnx.GRUCell, which has no such bias: library='linen' does"
        wrong_value(function, rule, "other numbers, or numbers that are not known while tracing")
    kernels["dense_i"]["bias"] = bias
    return kernels


def _is_zero(a: Any) -> bool:
    try:
        return not np.any(np.asarray(a))
    except Exception:  # traced
        return False


def _write_linen(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    gates, m = OURS[kind], quad[1].shape[1]
    made: dict[str, dict[str, Any]] = {}
    for side, w in zip("ih", quad[:2], strict=True):
        made |= {side + g: {"kernel": w[j * m : (j + 1) * m].T} for j, g in enumerate(gates)}
    if kind == "gru":
        bias, made["hn"]["bias"] = _split_bias(quad)
    else:
        bias = _one_bias(quad)
    for j, g in enumerate(gates):
        made[("i" if kind == "gru" else "h") + g]["bias"] = bias[j * m : (j + 1) * m]
    return made


def _write_equinox(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    made: dict[str, Any] = {"weight_ih": quad[0], "weight_hh": quad[1]}
    if quad[2] is None and quad[3] is None:
        return made
    if kind == "lstm":
        return made | {"bias": _one_bias(quad)}
    return made | dict(zip(("bias", "bias_n"), _split_bias(quad), strict=True))


def _write_haiku(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    w_ih, w_hh, b = quad[0], quad[1], _one_bias(quad)
    m = w_hh.shape[1]
    if kind == "gru":
        z = jnp.asarray(np.repeat([-1.0, 1.0, 1.0], m), w_hh.dtype)
        return {"w_i": (w_ih * z[:, None]).T, "w_h": (w_hh * z[:, None]).T, "b": b * z}
    return {"w": jnp.concatenate([w_ih.T, w_hh.T]), "b": b - jnp.asarray(np.repeat([0.0, 0.0, 1.0, 0.0], m), b.dtype)}


def _write_keras(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    made = [quad[0].T, quad[1].T]
    if quad[2] is None and quad[3] is None:
        return made
    if kind == "lstm" or reset == "before":
        return [*made, _one_bias(quad)]
    zeros = jnp.zeros(quad[0].shape[0], quad[0].dtype)
    return [*made, jnp.stack([zeros if b is None else b for b in quad[2:]])]


def _write_onnx(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    made = {"W": quad[0][None], "R": quad[1][None]}
    if quad[2] is None and quad[3] is None:
        return made
    zeros = jnp.zeros(quad[0].shape[0], quad[0].dtype)
    return made | {"B": jnp.concatenate([zeros if b is None else b for b in quad[2:]])[None]}


# ------------------------------------------------------------------------------------------------- by name

_READ = {
    "torch": _read_torch, "flax": _read_flax, "linen": _read_flax, "equinox": _read_equinox, "haiku": _read_haiku,
    "keras": _read_keras, "onnx": _read_onnx,
}  # fmt: skip
_WRITE = {
    "torch": _write_torch, "flax": _write_flax, "linen": _write_linen, "equinox": _write_equinox,
    "haiku": _write_haiku, "keras": _write_keras, "onnx": _write_onnx,
}  # fmt: skip


def _ordered(quad: Quad, order: str, into: str) -> Any:
    """Every array with the blocks of its rows, given in `order`, in the order `into`."""
    if order == into:
        return quad

    def one(a: Any) -> Any:
        blocks = dict(zip(order, jnp.split(a, len(order)), strict=True))
        return jnp.concatenate([blocks[gate] for gate in into])

    return tuple(None if a is None else one(a) for a in quad)


def _from(function: str, kind: str, made: Any, weights: Any, library: Any, suffix: Any) -> Any:
    one_of(function, "library", library, LIBRARIES)
    quad = _READ[library](_Source(function, library, weights), kind, suffix)
    rows, m, n = len(OURS[kind]), quad[1].shape[-1], quad[0].shape[-1]
    right = ((rows * m, n), (rows * m, m), (rows * m,), (rows * m,))
    for name, a, shape in zip(made._fields, quad, right, strict=True):
        if a is not None and a.shape != shape:
            rule = f"`weights` of {library} must give `{name}` the shape {shape} = ({rows}m, …), m from `w_hh`"
            wrong_value(function, rule, f"{name}.shape={a.shape}, w_hh.shape={quad[1].shape}")
    return made(*_ordered(quad, ORDERS[kind].get(library, OURS[kind]), OURS[kind]))


def _to(function: str, kind: str, made: Any, params: Any, library: Any, reset: str, suffix: Any) -> Any:
    one_of(function, "library", library, LIBRARIES)
    if not isinstance(params, made):
        wrong_kind(function, f"`params` must be a {made.__name__}", f"params of type {type(params).__name__}")
    quad = _ordered(tuple(params), OURS[kind], ORDERS[kind].get(library, OURS[kind]))
    return _WRITE[library](function, kind, quad, reset, suffix)


def gru_from(weights: Any, library: str, *, suffix: str = "_l0") -> GRUParams:
    """The weights of a GRU as another library holds them.

        the rows of every array, block by block, in the order r, z, n

    Args:
        weights: as the library holds them, see the module's table: a mapping (a state_dict of PyTorch, a params or
            state of flax, haiku's params, ONNX's W, R and B), an equinox cell, keras's layer or its list of weights.
        library: "torch", "flax" (nnx or linen), "equinox", "haiku", "keras" or "onnx".
        suffix: of PyTorch's names: the layer and direction, "_l1_reverse" for the second layer's other direction.

    Returns:
        GRUParams. What was computed with reset_after or linear_before_reset, and by PyTorch, flax and equinox, needs
        reset="after"; haiku's and the others "before".

    Raises:
        TypeError, ValueError: an unknown library; a weight is missing; shapes do not fit together.

    Source: the documentation and code of the libraries.

    >>> import jax.numpy as jnp
    >>> gru_from({"W": jnp.zeros((1, 12, 3)), "R": jnp.zeros((1, 12, 4))}, "onnx").w_hh.shape
    (12, 4)
    """
    params: GRUParams = _from("gru_from", "gru", GRUParams, weights, library, suffix)
    return params


def gru_to(params: GRUParams, library: str, *, reset: Reset = "after", suffix: str = "_l0") -> Any:
    """The weights of a GRU as another library holds them: the way back from `gru_from`.

        the rows of every array, block by block, in the library's order

    Args:
        params: GRUParams.
        library: "torch", "flax" (nnx), "linen", "equinox", "haiku", "keras" or "onnx".
        reset: of keras, whether its layer has reset_after: "after" gives a bias (2, 3m), "before" (3m,).
        suffix: of PyTorch's names: the layer and direction.

    Returns:
        A dict of arrays by the library's names, nested as there; of keras a list for ``layer.set_weights``.

    Raises:
        TypeError, ValueError: an unknown library; no GRUParams; a bias that the library's GRU does not have.

    Source: the documentation and code of the libraries.

    >>> import jax
    >>> from jaxconv import gru_init
    >>> sorted(gru_to(gru_init(jax.random.key(0), 3, 4), "onnx"))
    ['B', 'R', 'W']
    """
    one_of("gru_to", "reset", reset, tuple(GRU))
    return _to("gru_to", "gru", GRUParams, params, library, reset, suffix)


def lstm_from(weights: Any, library: str, *, suffix: str = "_l0") -> LSTMParams:
    """The weights of an LSTM as another library holds them.

        the rows of every array, block by block, in the order i, f, g, o

    Args:
        weights: as the library holds them, see the module's table and `gru_from`.
        library: "torch", "flax" (nnx or linen), "equinox", "haiku", "keras" or "onnx".
        suffix: of PyTorch's names: the layer and direction.

    Returns:
        LSTMParams. The 1 that haiku adds to the forget gate stands in the bias. No projections, no peepholes.

    Raises:
        TypeError, ValueError: an unknown library; a weight is missing; shapes do not fit together.

    Source: the documentation and code of the libraries.

    >>> import jax.numpy as jnp
    >>> lstm_from([jnp.zeros((3, 16)), jnp.zeros((4, 16)), jnp.zeros(16)], "keras").w_ih.shape
    (16, 3)
    """
    params: LSTMParams = _from("lstm_from", "lstm", LSTMParams, weights, library, suffix)
    return params


def lstm_to(params: LSTMParams, library: str, *, suffix: str = "_l0") -> Any:
    """The weights of an LSTM as another library holds them: the way back from `lstm_from`.

        the rows of every array, block by block, in the library's order

    Args:
        params: LSTMParams.
        library: "torch", "flax" (nnx), "linen", "equinox", "haiku", "keras" or "onnx".
        suffix: of PyTorch's names: the layer and direction.

    Returns:
        A dict of arrays by the library's names, nested as there; of keras a list for ``layer.set_weights``.

    Raises:
        TypeError, ValueError: an unknown library; no LSTMParams.

    Source: the documentation and code of the libraries.

    >>> import jax
    >>> from jaxconv import lstm_init
    >>> sorted(lstm_to(lstm_init(jax.random.key(0), 3, 4), "torch"))
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    return _to("lstm_to", "lstm", LSTMParams, params, library, "after", suffix)
