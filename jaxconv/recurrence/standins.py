"""Layers of flax and keras with our recurrence inside: their weights, arguments and results, our adjoint.

Neither library is imported before one of its layers comes.

Source: flax/nnx/nn/recurrent.py (what `seq_lengths`, `reverse` and `keep_order` mean), keras/src/layers/rnn.
"""

from __future__ import annotations

from functools import cache
from types import MethodType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxconv.recurrence.convert import gru_from, lstm_from
from jaxconv.recurrence.gru import gru_scan
from jaxconv.recurrence.lstm import lstm_scan
from jaxconv.sizes.arguments import wrong_kind, wrong_value

Layer = TypeVar("Layer")
NAME = "recurrent"


def recurrent(layer: Layer) -> Layer:
    """A recurrent layer of flax or keras that runs our scan: the same weights, arguments and results.

        model.rnn = recurrent(model.rnn)      h, and every gradient, as before

    Taken over: of flax `nnx.RNN` around a `GRUCell`, an `OptimizedLSTMCell` or an `LSTMCell`, and `nnx.Bidirectional`
    of two such; of keras, on its JAX backend, `GRU`, `LSTM` and `Bidirectional` of them. Not taken over, and named in
    the error: other cells, gates other than the sigmoid and activations other than tanh. Run as before, by the
    library: keras's calls with a mask, and those in training with dropout.

    Args:
        layer: the layer. flax's is left as it is and shares its cell with the new one; keras's is changed in place.

    Returns:
        A layer of flax, a new one; of keras the layer itself.

    Raises:
        TypeError, ValueError: no such layer; what of it cannot be taken over.

    Source: the documentation and code of the libraries.

    >>> recurrent(3)
    Traceback (most recent call last):
    TypeError: recurrent: `layer` must be a recurrent layer of flax's nnx or of keras; got layer of type int.
    """
    library = {each.__module__.split(".")[0] for each in type(layer).__mro__}
    if "flax" in library:
        made = _of_flax(layer)
    elif "keras" in library:
        made = _of_keras(layer)
    else:
        made = None
    if made is None:
        rule = "`layer` must be a recurrent layer of flax's nnx or of keras"
        wrong_kind(NAME, rule, f"layer of type {type(layer).__name__}")
    return made  # type: ignore[no-any-return]


def _check_activations(gate: Any, activation: Any) -> None:
    names = getattr(gate, "__name__", repr(gate)), getattr(activation, "__name__", repr(activation))
    if names != ("sigmoid", "tanh"):
        rule = "`layer` must have the gates' activation sigmoid and the other tanh to be taken over"
        wrong_value(NAME, rule, f"{names[0]} and {names[1]}")


# ------------------------------------------------------------------------------------------------- flax


def _of_flax(layer: Any) -> Any:
    from flax import nnx

    if isinstance(layer, nnx.Bidirectional):
        parts = recurrent(layer.forward_rnn), recurrent(layer.backward_rnn)
        made = nnx.Bidirectional(
            *parts, merge_fn=layer.merge_fn, time_major=layer.time_major, return_carry=layer.return_carry
        )
    elif isinstance(layer, nnx.RNN):
        if not isinstance(layer.cell, (nnx.GRUCell, nnx.OptimizedLSTMCell, nnx.LSTMCell)):
            rule = "`layer` must hold a GRUCell, an OptimizedLSTMCell or an LSTMCell to be taken over"
            wrong_value(NAME, rule, f"a {type(layer.cell).__name__}")
        _check_activations(layer.cell.gate_fn, layer.cell.activation_fn)
        options = ("time_major", "return_carry", "reverse", "keep_order", "unroll", "state_axes", "broadcast_rngs")
        made = _rnn_class()(layer.cell, **{name: getattr(layer, name) for name in options})
    else:
        return None
    made.rngs = layer.rngs
    return made


@cache
def _rnn_class() -> Any:
    from flax import nnx
    from flax.nnx.nn.recurrent import flip_sequences

    class RNN(nnx.RNN):  # type: ignore[misc]
        """`nnx.RNN` whose loop is ours."""

        def __call__(
            self, inputs: Any, *, initial_carry: Any = None, seq_lengths: Any = None, return_carry: Any = None,
            time_major: Any = None, reverse: Any = None, keep_order: Any = None, rngs: Any = None,
        ) -> Any:  # fmt: skip
            given = {"return_carry": return_carry, "time_major": time_major, "reverse": reverse}
            given["keep_order"] = keep_order
            said = {name: getattr(self, name) if value is None else value for name, value in given.items()}
            axis = 0 if said["time_major"] else inputs.ndim - 2

            def flipped(a: Any) -> Any:
                return flip_sequences(a, seq_lengths, inputs.ndim - 2, said["time_major"])

            if initial_carry is None:
                rngs = self.rngs if rngs is None else rngs
                rngs = rngs.carry.fork() if isinstance(rngs, nnx.Rngs) else rngs
                shape = inputs.shape[:axis] + inputs.shape[axis + 1 :]
                initial_carry = self.cell.initialize_carry(shape, rngs)
            run = _flax_run(self.cell, flipped(inputs) if said["reverse"] else inputs, initial_carry, axis, self.unroll)
            carry, outputs = run(None)
            if said["return_carry"] and seq_lengths is not None:
                carry = run(jnp.where(seq_lengths == 0, inputs.shape[axis], seq_lengths))[0]  # 0: the last, as there
            if said["reverse"] and said["keep_order"]:
                outputs = flipped(outputs)
            return (carry, outputs) if said["return_carry"] else outputs

    return RNN


def _flax_run(cell: Any, inputs: Any, carry: Any, axis: int, unroll: int) -> Any:
    """lengths → (carry, outputs), in the dtype that the cell's own products would have."""
    from flax import nnx

    lstm = not isinstance(cell, nnx.GRUCell)
    if hasattr(cell, "dense_i"):
        weights: Any = cell
    else:  # one Linear a gate
        names = {"ii": "ii", "if": "if_", "ig": "ig", "io": "io", "hi": "hi", "hf": "hf", "hg": "hg", "ho": "ho"}
        weights = {name: getattr(cell, attribute) for name, attribute in names.items()}
    params = (lstm_from if lstm else gru_from)(weights, "flax")
    dtype = cell.dtype or jnp.result_type(inputs, *jax.tree.leaves(params))
    params, inputs, carry = jax.tree.map(lambda a: a.astype(dtype), (params, inputs, carry))

    def run(lengths: Any) -> Any:
        options = {"lengths": lengths, "time_axis": axis, "unroll": unroll}
        if not lstm:
            return gru_scan(params, inputs, carry, **options)
        (h, c), outputs = lstm_scan(params, inputs, (carry[1], carry[0]), **options)
        return (c, h), outputs

    return run


# ------------------------------------------------------------------------------------------------- keras


def _of_keras(layer: Any) -> Any:
    import keras

    if isinstance(layer, keras.layers.Bidirectional):
        recurrent(layer.forward_layer)
        recurrent(layer.backward_layer)
        return layer
    if not isinstance(layer, (keras.layers.GRU, keras.layers.LSTM)):
        return None
    if keras.backend.backend() != "jax":
        wrong_value(NAME, "keras must run on its jax backend", f"the backend {keras.backend.backend()}")
    _check_activations(layer.cell.recurrent_activation, layer.cell.activation)
    layer.inner_loop = MethodType(_keras_loop, layer)
    return layer


def _keras_loop(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """(last output, outputs, states) as keras's own loop gives them."""
    import keras

    dropped = training and (layer.cell.dropout or layer.cell.recurrent_dropout)
    if dropped or any(each is not None for each in jax.tree.leaves([mask])):
        return type(layer).inner_loop(layer, sequences, initial_state, mask, training)
    cell, x = layer.cell, jnp.flip(sequences, 1) if layer.go_backwards else sequences
    held = [cell.kernel, cell.recurrent_kernel, *([] if cell.bias is None else [cell.bias])]
    held = [keras.ops.convert_to_tensor(each, dtype=cell.compute_dtype) for each in held]
    x, *state = (each.astype(cell.compute_dtype) for each in (x, *jax.tree.leaves(initial_state)))
    if isinstance(layer, keras.layers.GRU):
        reset: Any = "after" if cell.reset_after else "before"
        last, h = gru_scan(gru_from(held, "keras"), x, state[0], reset=reset, time_axis=1)
        return last, h, [last]
    both, h = lstm_scan(lstm_from(held, "keras"), x, (state[0], state[1]), time_axis=1)
    return both[0], h, list(both)
