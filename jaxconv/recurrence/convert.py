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

from typing import Any

import jax.numpy as jnp

from jaxconv.recurrence.gru import Reset
from jaxconv.recurrence.gru_cell import GRU, GRUParams
from jaxconv.recurrence.libraries.quad import OURS, Quad
from jaxconv.recurrence.libraries.reading import READ, Source
from jaxconv.recurrence.libraries.writing import WRITE
from jaxconv.recurrence.lstm_cell import LSTMParams
from jaxconv.sizes.arguments import one_of, wrong_kind, wrong_value

LIBRARIES = tuple(READ)  # linen: what `…_to` makes of flax's
ORDERS = {
    "gru": {"haiku": "zrn", "keras": "zrn", "onnx": "zrn"},
    "lstm": {"haiku": "igfo", "onnx": "iofg"},
}  # the others': as ours


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
    quad = READ[library](Source(function, library, weights), kind, suffix)
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
    return WRITE[library](function, kind, quad, reset, suffix)


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
