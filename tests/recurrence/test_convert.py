"""Weights from and to the libraries: values, gradients, lengths and directions against each of them, where it is there.

PyTorch runs in float32 like the others. ONNX Runtime has values alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import (
    gru_from,
    gru_init,
    gru_scan,
    gru_scan_both,
    gru_to,
    lstm_from,
    lstm_init,
    lstm_scan,
    lstm_scan_both,
    lstm_to,
)
from jaxconv.accuracy import error_model

pytestmark = pytest.mark.unoptimised

TIME, BATCH, N, M = 6, 3, 4, 5
LIBRARIES = ("torch", "flax", "linen", "equinox", "haiku", "keras", "onnx")
RESET = {"haiku": "before"}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


X, Y_BAR = normal(TIME, BATCH, N), normal(TIME, BATCH, M)
H0, C0 = normal(BATCH, M), normal(BATCH, M, seed=1)


def full(kind, seed=0):
    """Parameters without any zero."""
    init = gru_init if kind == "gru" else lstm_init
    return jax.tree.map(lambda p: p + 0.3 * normal(*p.shape, seed=seed), init(jax.random.key(seed), N, M))


def scan(kind, params, reset="after", **options):
    if kind == "lstm":
        return lstm_scan(params, X, (H0, C0), **options)[1]
    return gru_scan(params, X, H0, reset=reset, **options)[1]


def from_(kind, weights, library, **options):
    return (gru_from if kind == "gru" else lstm_from)(weights, library, **options)


def close(ours, theirs):
    """Both are right: apart by twice what the error model gives each, its scale the largest number of the array."""
    ours, theirs = (np.asarray(each, np.float64) for each in (ours, theirs))
    assert ours.shape == theirs.shape
    u = error_model.unit_roundoff(np.float32)
    assert np.all(np.abs(ours - theirs) <= 2 * error_model.C * u * 8 * (np.abs(theirs) + np.abs(theirs).max(initial=0)))


def agrees(kind, weights, theirs, library, reset="after", **options):
    """h, and the gradient of ⟨ȳ, h⟩ for every weight as the library holds it; `theirs` maps weights to h."""

    def ours(weights):
        return scan(kind, from_(kind, weights, library), reset, **options)

    for f in (lambda f: f, lambda f: jax.grad(lambda weights: jnp.vdot(f(weights), Y_BAR))):
        found, right = f(ours)(weights), f(theirs)(weights)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
            close(a, b)


# ------------------------------------------------------------------------------------------------- there and back


@pytest.mark.short("^gru-(flax|linen|haiku|keras|onnx|equinox)-biases", "^lstm-[^-]*-no-biases")
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no-biases"])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_there_and_back(kind, library, bias):
    """What comes back has the same recurrence, whatever side its biases are on."""
    params = full(kind) if bias else full(kind)._replace(b_ih=None, b_hh=None)
    if kind == "gru" and library == "flax" and bias:
        params = params._replace(b_hh=params.b_hh.at[2 * M :].set(0))
    reset = RESET.get(library, "after")
    back = from_(kind, (gru_to if kind == "gru" else lstm_to)(params, library), library)
    close(back.w_ih, params.w_ih)
    close(back.w_hh, params.w_hh)
    if bias:
        close(sum(b for b in back[2:] if b is not None), params.b_ih + params.b_hh)
    with jax.disable_jit():
        close(scan(kind, back, reset)[:2], scan(kind, params, reset)[:2])


def test_a_bias_that_nnx_does_not_have():
    with pytest.raises(ValueError, match="gru_to: `params"):
        gru_to(full("gru"), "flax")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: gru_from({}, "pytorch"), ValueError, "gru_from: `library` must be one of 'torch', 'flax', 'linen', "
         "'equinox', 'haiku', 'keras', 'onnx'; got library='pytorch': did you mean 'torch'?"),
        (lambda: lstm_from({"w": X}, "torch"), ValueError, "lstm_from: `weights` of torch must hold weight_ih_l0; got "
         "weights with ['w']."),
        (lambda: gru_from(gru_to(full("lstm"), "torch"), "torch"), TypeError, "gru_to: `params` must be a GRUParams; "
         "got params of type LSTMParams."),
        (lambda: gru_from(lstm_to(full("lstm"), "torch"), "torch"), ValueError, "gru_from: `weights` of torch must give"
         " `w_ih` the shape (15, 4) = (3m, …), m from `w_hh`; got w_ih.shape=(20, 4), w_hh.shape=(20, 5)."),
        (lambda: gru_from({"W": jnp.zeros((2, 3, 1)), "R": jnp.zeros((2, 3, 1))}, "onnx"), ValueError, "gru_from: "
         "`weights` of onnx must be those of one direction, W (1, rows, n): cut with W[i : i + 1]; got W.shape=(2, 3, 1"
         ")."),
    ],
    ids=["library", "missing", "other params", "other rows", "two directions"],
)  # fmt: skip
def test_bad_input(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


# ------------------------------------------------------------------------------------------------- the libraries


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [None, (6, 2, 4)], ids=["whole", "packed"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_torch(kind, lengths):
    """Two layers in both directions: values and gradients; packed sequences are our lengths."""
    torch = pytest.importorskip("torch")
    made = getattr(torch.nn, kind.upper())(N, M, num_layers=2, bidirectional=True)
    x = torch.from_numpy(np.array(X))
    if lengths is None:
        h, _ = made(x)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        h, _ = torch.nn.utils.rnn.pad_packed_sequence(made(packed)[0], total_length=TIME)
    g = normal(TIME, BATCH, 2 * M, seed=3)
    names, tensors = zip(*made.named_parameters(), strict=True)
    right = dict(zip(names, torch.autograd.grad((h * torch.from_numpy(np.array(g))).sum(), tensors), strict=True))
    both, of = (gru_scan_both, gru_from) if kind == "gru" else (lstm_scan_both, lstm_from)

    def ours(weights):
        h = X
        for layer in range(2):
            ends = (of(weights, "torch", suffix=f"_l{layer}{end}") for end in ("", "_reverse"))
            h = both(*ends, h, lengths=None if lengths is None else np.array(lengths))[1]
        return h

    weights = {name: jnp.asarray(p.detach().numpy()) for name, p in made.named_parameters()}
    close(ours(weights), h.detach().numpy())
    gradient = jax.grad(lambda weights: jnp.vdot(ours(weights), g))(weights)
    for name in names:
        close(gradient[name], right[name].numpy())


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRUCell", "OptimizedLSTMCell", "LSTMCell"])
def test_flax_nnx(cell):
    nnx = pytest.importorskip("flax.nnx")
    kind = "gru" if cell == "GRUCell" else "lstm"
    made = getattr(nnx, cell)(N, M, rngs=nnx.Rngs(0), bias_init=jax.nn.initializers.normal())
    graph, state = nnx.split(made)
    weights = nnx.to_pure_dict(state)

    def theirs(weights):
        held = nnx.merge(graph, weights)
        carry = H0 if kind == "gru" else (C0, H0)
        return jax.lax.scan(held, carry, X)[1]

    if cell == "LSTMCell":  # its attributes end in an underscore where Python has such a word
        plain = {name.rstrip("_"): value for name, value in weights.items()}
        close(scan(kind, lstm_from(plain, "flax")), theirs(weights))
    else:
        agrees(kind, weights, theirs, "flax")
        close(scan(kind, from_(kind, made, "flax")), theirs(weights))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRUCell", "OptimizedLSTMCell", "LSTMCell"])
def test_flax_linen(cell):
    linen = pytest.importorskip("flax.linen")
    kind = "gru" if cell == "GRUCell" else "lstm"
    made, carry = getattr(linen, cell)(M), H0 if kind == "gru" else (C0, H0)
    weights = linen.RNN(made).init(jax.random.key(0), jnp.moveaxis(X, 0, 1))["params"]["cell"]
    weights = jax.tree.map(lambda a: a + 0.1 * normal(*a.shape), weights)

    def theirs(weights):
        return jax.lax.scan(lambda c, x: made.apply({"params": weights}, c, x), carry, X)[1]

    agrees(kind, weights, theirs, "flax")
    written = (gru_to if kind == "gru" else lstm_to)(from_(kind, weights, "flax"), "linen")
    assert jax.tree.structure(written) == jax.tree.structure(dict(weights))
    close(theirs(written), theirs(weights))


@pytest.mark.slow
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no-biases"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_equinox(kind, bias):
    equinox = pytest.importorskip("equinox")
    cell = getattr(equinox.nn, f"{kind.upper()}Cell")(N, M, use_bias=bias, key=jax.random.key(0))
    weights, rest = equinox.partition(cell, equinox.is_array)

    def theirs(weights):
        step = jax.vmap(equinox.combine(weights, rest))

        def body(carry, x):
            carry = step(x, carry)
            return carry, carry if kind == "gru" else carry[0]

        return jax.lax.scan(body, H0 if kind == "gru" else (H0, C0), X)[1]

    agrees(kind, weights, theirs, "equinox")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_haiku(kind):
    haiku = pytest.importorskip("haiku")

    def run(x):
        core = getattr(haiku, kind.upper())(M)
        start = H0 if kind == "gru" else haiku.LSTMState(H0, C0)
        return haiku.dynamic_unroll(core, x, start)[0]

    made = haiku.without_apply_rng(haiku.transform(run))
    weights = jax.tree.map(lambda a: a + 0.1 * normal(*a.shape), made.init(jax.random.key(0), X))
    agrees(kind, weights, lambda weights: made.apply(weights, X), "haiku", RESET["haiku"] if kind == "gru" else "after")


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    return pytest.importorskip("keras")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within keras, of its own variables
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["after", "before", "lstm"])
def test_keras(keras, kind):
    options = {} if kind == "lstm" else {"reset_after": kind == "after"}
    layer = (keras.layers.LSTM if kind == "lstm" else keras.layers.GRU)(
        M, return_sequences=True, bias_initializer="random_normal", **options
    )
    x, start = jnp.moveaxis(X, 0, 1), [H0, C0] if kind == "lstm" else [H0]
    layer(x, initial_state=start)
    weights = [jnp.asarray(w) for w in layer.get_weights()]

    def theirs(weights):
        h, _ = layer.stateless_call(weights, layer.non_trainable_variables, x, initial_state=start)
        return jnp.moveaxis(h, 1, 0)

    name = "lstm" if kind == "lstm" else "gru"
    agrees(name, weights, theirs, "keras", "after" if kind == "lstm" else kind)
    written = lstm_to(lstm_from(layer, "keras"), "keras") if kind == "lstm" else gru_to(
        gru_from(layer, "keras"), "keras", reset=kind
    )  # fmt: skip
    assert [w.shape for w in written] == [w.shape for w in weights]
    close(theirs(written), theirs(weights))


def onnx_run(kind, weights, attributes, lengths, **starts):
    """(Y, Y_h) of ONNX Runtime."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    given = {"X": X, "W": weights["W"], "R": weights["R"], "B": weights.get("B"), "sequence_lens": lengths, **starts}
    given = {name: None if value is None else np.asarray(value) for name, value in given.items()}
    inputs = [name if value is not None else "" for name, value in given.items()]
    there = {name: value for name, value in given.items() if value is not None}
    node = onnx.helper.make_node(kind.upper(), inputs, ["Y", "Y_h"], hidden_size=M, **attributes)
    of = onnx.helper.np_dtype_to_tensor_dtype
    values = [onnx.helper.make_tensor_value_info(name, of(v.dtype), v.shape) for name, v in there.items()]
    outputs = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("Y", "Y_h")]
    graph = onnx.helper.make_graph([node], "one", values, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, there)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["after", "before", "lstm"])
def test_onnxruntime(kind):
    """Forty draws: forward, reverse, and both directions side by side; with lengths, states and biases or without."""
    name = "lstm" if kind == "lstm" else "gru"
    for draw in range(40):
        random = np.random.default_rng(draw)
        direction = ("forward", "reverse", "bidirectional")[draw % 3]
        ends = [full(name, seed=2 * draw + i) for i in range(2 if direction == "bidirectional" else 1)]
        if draw % 5 == 0:
            ends = [end._replace(b_ih=None, b_hh=None) for end in ends]
        lengths = None if draw % 2 else np.int32(random.integers(1, TIME + 1, BATCH))
        held = [(lstm_to if kind == "lstm" else gru_to)(end, "onnx") for end in ends]
        weights = {key: np.concatenate([each[key] for each in held]) for key in held[0]}
        starts = {"initial_h": np.stack([H0] * len(ends))} | ({"initial_c": np.stack([C0] * len(ends))} if
                  kind == "lstm" else {})  # fmt: skip
        attributes = {"direction": direction} | (
            {} if kind == "lstm" else {"linear_before_reset": int(kind == "after")}
        )
        y, y_h = onnx_run(name, weights, attributes | {"direction": direction}, lengths, **starts)
        options = {} if kind == "lstm" else {"reset": kind}
        run, start = (lstm_scan, (H0, C0)) if kind == "lstm" else (gru_scan, H0)
        for i, end in enumerate(ends):
            reverse = direction == "reverse" or i == 1
            last, h = run(end, X, start, lengths=lengths, reverse=reverse, **options)
            close(h, y[:, i])
            close(last[0] if kind == "lstm" else last, y_h[i])
