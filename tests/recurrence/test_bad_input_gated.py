"""What the gated functions do not take: one test per rule, the whole message compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import GatedParams, gated_init, gated_scan, gated_scan_both, gated_step, gated_step_jacobian, gradient_flow

pytestmark = pytest.mark.unoptimised

KEY = jax.random.key(0)
GOOD = gated_init(KEY, 3, 4)
X, H = jnp.zeros((5, 2, 3)), jnp.zeros((2, 4))  # (time, batch, n), (batch, m)

CALLS = {
    "gated_scan": lambda params=GOOD, x=X, h=H, **options: gated_scan(params, x, h, **options),
    "gradient_flow": lambda params=GOOD, x=X, h=H: gradient_flow(params, x, h),
    "gated_step": lambda params=GOOD, x=X[0], h=H: gated_step(params, h, x),
    "gated_step_jacobian": lambda params=GOOD, x=X[0], h=H: gated_step_jacobian(params, h, x),
}
CALLS_X = {"gated_scan": X, "gradient_flow": X, "gated_step": X[0], "gated_step_jacobian": X[0]}
OVER_TIME, ONE_STEP = ("gated_scan", "gradient_flow"), ("gated_step", "gated_step_jacobian")

every = pytest.mark.parametrize("name", CALLS)
over_time = pytest.mark.parametrize("name", OVER_TIME)
one_step = pytest.mark.parametrize("name", ONE_STEP)


def refuses(kind, message, call, *args, **options):
    with pytest.raises(kind) as caught:
        call(*args, **options)
    assert type(caught.value) is kind
    assert str(caught.value) == message


# ------------------------------------------------------------------------------------------------------ the parameters


@every
@pytest.mark.parametrize(
    ("leaf", "shape", "right"),
    [
        ("w_x", (4, 2), (4, 3)),
        ("w_x", (3, 4), (4, 3)),
        ("w_h", (4, 3), (4, 4)),
        ("w_h", (4,), (4, 4)),
        ("b_c", (3,), (4,)),
        ("b_c", (), (4,)),
        ("b_x", (1, 4), (4,)),
    ],
)
def test_shape_of_a_weight(name, leaf, shape, right):
    rule = f"`params.{leaf}` must have the shape {right} that params.w_c.shape=(4, 3) implies"
    message = f"{name}: {rule}; got params.{leaf}.shape={shape}."
    refuses(ValueError, message, CALLS[name], GOOD._replace(**{leaf: jnp.zeros(shape)}))


@every
@pytest.mark.parametrize("shape", [(), (4,), (4, 3, 1)], ids=str)
def test_rank_of_w_c(name, shape):
    message = f"{name}: `params.w_c` must have the shape (m, n); got params.w_c.shape={shape}."
    refuses(ValueError, message, CALLS[name], GOOD._replace(w_c=jnp.zeros(shape)))


@every
def test_params_as_a_plain_tuple(name):
    message = f"{name}: `params` must be a GatedParams; got params of type tuple."
    refuses(TypeError, message, CALLS[name], tuple(GOOD))


@every
def test_params_as_a_dict(name):
    message = f"{name}: `params` must be a GatedParams; got params of type dict."
    refuses(TypeError, message, CALLS[name], GOOD._asdict())


@every
@pytest.mark.parametrize("leaf", ["w_c", "w_x"])
def test_a_weight_that_cannot_be_none(name, leaf):
    message = f"{name}: `params.{leaf}` must be an array; got params.{leaf}=None."
    refuses(TypeError, message, CALLS[name], GOOD._replace(**{leaf: None}))


# ---------------------------------------------------------------------------------------------------- kinds and dtypes


def not_an_array(name, argument, kind):
    hint = f"convert with jax.numpy.asarray({argument}, 'float32')"
    return f"{name}: `{argument}` must be an array; got {argument} of type {kind}: {hint}."


def two_dtypes(name, argument, dtype):
    first = "x" if name in OVER_TIME else "h"
    got = f"{first}.dtype=float32, {argument}.dtype={dtype}: convert with {argument}.astype({first}.dtype)"
    return f"{name}: `{first}` and `{argument}` must share one dtype; got {got}."


@every
@pytest.mark.parametrize("leaf", GatedParams._fields)
def test_a_list_for_a_weight(name, leaf):
    params = GOOD._replace(**{leaf: getattr(GOOD, leaf).tolist()})
    refuses(TypeError, not_an_array(name, f"params.{leaf}", "list"), CALLS[name], params)


@every
def test_a_list_for_x(name):
    refuses(TypeError, not_an_array(name, "x", "list"), CALLS[name], x=X.tolist())


@every
def test_a_number_for_the_state(name):
    state = "h0" if name in OVER_TIME else "h"
    refuses(TypeError, not_an_array(name, state, "float"), CALLS[name], h=0.0)


ARGUMENTS = {"gated_scan": "params, x", "gated_step": "params, h, x", "gated_step_jacobian": "params, h, x"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_shape_for_x(name):
    """What the message says works."""
    x = jax.ShapeDtypeStruct(CALLS_X[name].shape, "float32")
    advice = f"for the shapes alone call jax.eval_shape(functools.partial({name}, …), {ARGUMENTS[name]}"
    advice += ", h0)" if name == "gated_scan" else ")"
    message = f"{name}: `x` must be an array; got x of type ShapeDtypeStruct: {advice}."
    refuses(TypeError, message, CALLS[name], x=x)
    told, right = jax.eval_shape(lambda x: CALLS[name](x=x), x), CALLS[name]()
    assert jax.tree.map(jnp.shape, told) == jax.tree.map(jnp.shape, right)


@every
def test_a_ref_for_a_weight(name):
    message = f"{name}: `params.w_c` must be an array; got params.w_c of type Ref: read it with params.w_c[...]."
    refuses(TypeError, message, CALLS[name], GOOD._replace(w_c=jax.new_ref(GOOD.w_c)))


DTYPES = "bfloat16, float16, float32, float64, complex64 or complex128"


@every
@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_integers(name, dtype):
    got = f"x.dtype={dtype}: convert with x.astype('float32')"
    message = f"{name}: `x` must have dtype {DTYPES}; got {got}."
    refuses(TypeError, message, CALLS[name], x=CALLS_X[name].astype(dtype))


@every
def test_an_integer_weight(name):
    got = "params.w_h.dtype=int32: convert with params.w_h.astype('float32')"
    message = f"{name}: `params.w_h` must have dtype {DTYPES}; got {got}."
    refuses(TypeError, message, CALLS[name], GOOD._replace(w_h=jnp.zeros((4, 4), int)))


@every
def test_two_dtypes(name):
    message = two_dtypes(name, "params.w_c", "bfloat16")
    refuses(TypeError, message, CALLS[name], GOOD._replace(w_c=GOOD.w_c.astype(jnp.bfloat16)))


@over_time
def test_two_dtypes_of_x_and_h0(name):
    refuses(TypeError, two_dtypes(name, "h0", "float16"), CALLS[name], h=H.astype(jnp.float16))


@every
def test_numpy_float64_beside_float32(name):
    """NumPy's default dtype is not cast in silence."""
    message = two_dtypes(name, "params.b_x", "float64")
    refuses(TypeError, message, CALLS[name], GOOD._replace(b_x=np.zeros(4)))


@every
def test_complex(name):
    """The gate has no complex form."""
    message = f"{name}: `params` must be real: the gate has no complex form; got params.w_c.dtype=complex64."
    params = jax.tree.map(lambda each: each.astype(jnp.complex64), GOOD)
    refuses(TypeError, message, CALLS[name], params, CALLS_X[name].astype(jnp.complex64), H.astype(jnp.complex64))


# -------------------------------------------------------------------------------------------------------------- shapes


@over_time
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_x_without_time(name, shape):
    message = f"{name}: `x` must have the axes (time, *batch, n); got x.shape={shape}."
    refuses(ValueError, message, CALLS[name], x=jnp.zeros(shape))


@every
def test_features_of_x(name):
    x = jnp.zeros((*CALLS_X[name].shape[:-1], 4))
    message = (
        f"{name}: the last axis of `x` must have the 3 features of params.w_c.shape=(4, 3); got x.shape={x.shape}."
    )
    refuses(ValueError, message, CALLS[name], x=x)


@one_step
@pytest.mark.parametrize("shape", [(), (2, 3)], ids=str)
def test_features_of_h(name, shape):
    message = f"{name}: the last axis of `h` must have the 4 features of params.w_c.shape=(4, 3); got h.shape={shape}."
    refuses(ValueError, message, CALLS[name], h=jnp.zeros(shape))


@one_step
def test_x_that_is_a_scalar(name):
    message = f"{name}: the last axis of `x` must have the 3 features of params.w_c.shape=(4, 3); got x.shape=()."
    refuses(ValueError, message, CALLS[name], x=jnp.zeros(()))


@over_time
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3), (1, 4), (5, 2, 4)], ids=str)
def test_shape_of_h0(name, shape):
    """A state is not broadcast over the batch."""
    got = f"h0.shape={shape} (x.shape=(5, 2, 3))"
    message = f"{name}: `h0` must have the shape (*batch, m) = (2, 4); got {got}."
    refuses(ValueError, message, CALLS[name], h=jnp.zeros(shape))


@one_step
def test_batches_that_do_not_broadcast(name):
    message = f"{name}: the leading axes of `h` and `x` must broadcast; got h.shape=(3, 4), x.shape=(2, 3)."
    refuses(ValueError, message, CALLS[name], h=jnp.zeros((3, 4)))


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("unroll", [0, -1])
def test_unroll_below_one(unroll):
    refuses(
        ValueError, f"gated_scan: `unroll` must be at least 1; got unroll={unroll}.", gated_scan, GOOD, X, unroll=unroll
    )


@pytest.mark.parametrize("unroll", [True, 1.5, "2", None])
def test_unroll_no_integer(unroll):
    got = f"unroll={unroll!r} ({type(unroll).__name__})"
    refuses(TypeError, f"gated_scan: `unroll` must be an integer; got {got}.", gated_scan, GOOD, X, unroll=unroll)


@pytest.mark.parametrize(
    ("derivative", "end"), [("Hand", ": did you mean 'hand'?"), ("autodiff", "."), ("jaxx", ": did you mean 'jax'?")]
)
def test_unknown_derivative(derivative, end):
    message = f"gated_scan: `derivative` must be one of 'hand', 'jax'; got derivative={derivative!r}{end}"
    refuses(ValueError, message, gated_scan, GOOD, X, derivative=derivative)


@pytest.mark.parametrize("derivative", [None, 1, True])
def test_derivative_of_another_kind(derivative):
    message = f"gated_scan: `derivative` must be one of 'hand', 'jax'; got derivative={derivative!r}."
    refuses(TypeError, message, gated_scan, GOOD, X, derivative=derivative)


def test_errors_while_tracing():
    """From static facts: under jit the message is the same."""
    message = "gated_scan: `h0` must have the shape (*batch, m) = (2, 4); got h0.shape=(4,) (x.shape=(5, 2, 3))."
    refuses(ValueError, message, jax.jit(gated_scan), GOOD, X, H[0])


# ---------------------------------------------------------------------------------------- lengths, direction, policies


@pytest.mark.parametrize(
    ("lengths", "got"),
    [
        ([5, 3], "lengths of type list: convert with jax.numpy.asarray(lengths, 'int32')"),
        (True, "lengths of type bool: convert with jax.numpy.asarray(lengths, 'int32')"),
        (2.0, "lengths of type float: convert with jax.numpy.asarray(lengths, 'int32')"),
    ],
)
def test_lengths_no_array(lengths, got):
    refuses(TypeError, f"gated_scan: `lengths` must be an array; got {got}.", gated_scan, GOOD, X, lengths=lengths)


def test_lengths_no_integers():
    message = "gated_scan: `lengths` must be integers; got lengths.dtype=float32."
    refuses(TypeError, message, gated_scan, GOOD, X, lengths=jnp.ones(2))


@pytest.mark.parametrize("time_axis", [0, 1, -3])
@pytest.mark.parametrize("kind", [np, jnp])
def test_mask_for_lengths(kind, time_axis):
    """What is meant is its sum along time, whichever axis that is."""
    axis = time_axis % 3
    mask = f"of a mask of the steps that count give its sum along time, lengths.sum({axis})"
    message = f"gated_scan: `lengths` must be integers; got lengths.dtype=bool: {mask}."
    x = jnp.moveaxis(X, 0, axis)
    refuses(TypeError, message, gated_scan, GOOD, x, lengths=kind.ones(x.shape[:-1], bool), time_axis=time_axis)
    assert gated_scan(GOOD, x, lengths=kind.ones(x.shape[:-1], bool).sum(axis), time_axis=time_axis)[1].shape[axis] == 5


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)], ids=str)
def test_shape_of_lengths(shape):
    got = f"lengths.shape={shape} (x.shape=(5, 2, 3), time_axis=0)"
    message = f"gated_scan: `lengths` must have the shape (*batch,) = (2,); got {got}."
    refuses(ValueError, message, gated_scan, GOOD, X, lengths=jnp.ones(shape, int))


@pytest.mark.parametrize("length", [-1, 6])
@pytest.mark.parametrize("kind", [np.array, jnp.array])
def test_lengths_out_of_range(length, kind):
    message = f"gated_scan: `lengths` must lie between 0 and the time 5; got a length of {length}."
    refuses(ValueError, message, gated_scan, GOOD, X, lengths=kind([3, length]))


def test_known_lengths_are_checked_while_tracing():
    message = "gated_scan: `lengths` must lie between 0 and the time 5; got a length of 6."
    refuses(ValueError, message, jax.jit(lambda x: gated_scan(GOOD, x, lengths=np.array([6, 1]))), X)


@pytest.mark.parametrize("reverse", [1, None, "left"])
def test_reverse_no_bool(reverse):
    message = f"gated_scan: `reverse` must be True or False; got reverse={reverse!r}."
    refuses(TypeError, message, gated_scan, GOOD, X, reverse=reverse)


@pytest.mark.parametrize("axis", [2, 3, -1, -4])
def test_time_axis_out_of_range(axis):
    message = f"gated_scan: `time_axis` must be an axis of `x` other than the last; got time_axis={axis}, x.ndim=3."
    refuses(ValueError, message, gated_scan, GOOD, X, time_axis=axis)


@pytest.mark.parametrize("axis", [True, 0.0, None, (0,)])
def test_time_axis_no_integer(axis):
    got = f"time_axis={axis!r} ({type(axis).__name__})"
    refuses(TypeError, f"gated_scan: `time_axis` must be an integer; got {got}.", gated_scan, GOOD, X, time_axis=axis)


@pytest.mark.parametrize("make", [np.int64, np.array, jnp.int32, jnp.uint8])
def test_integers_that_are_known(make):
    """Whatever says an integer, NumPy or JAX, is one."""
    x = jnp.arange(30.0).reshape(X.shape)
    for option, value in (("time_axis", 1), ("unroll", 2), ("residuals", 2)):
        of = lambda value, option=option: gated_scan(GOOD, x, **{option: value})  # noqa: E731
        jax.tree.map(np.testing.assert_array_equal, of(make(value)), of(value))
    assert gated_init(KEY, make(3), make(4)).w_c.shape == (4, 3)


@pytest.mark.parametrize("option", ["time_axis", "unroll", "residuals"])
def test_integers_that_are_not_known(option):
    rule = rf"gated_scan: `{option}` must be an integer known while tracing; got {option}=.*Tracer.*: write a Python "
    with pytest.raises(TypeError, match=rule):
        jax.jit(lambda value: gated_scan(GOOD, X, **{option: value}))(1)


def test_shape_of_h0_beside_a_time_axis():
    got = "h0.shape=(2, 4) (x.shape=(5, 2, 3))"
    message = f"gated_scan: `h0` must have the shape (*batch, m) = (5, 4); got {got}."
    refuses(ValueError, message, gated_scan, GOOD, X, H, time_axis=1)


@pytest.mark.parametrize(
    ("residuals", "end"),
    [("saved", ": did you mean 'save'?"), ("none", "."), ("Recompute", ": did you mean 'recompute'?")],
)
def test_unknown_residuals(residuals, end):
    message = f"gated_scan: `residuals` must be one of 'recompute', 'save'; got residuals={residuals!r}{end}"
    refuses(ValueError, message, gated_scan, GOOD, X, residuals=residuals)


@pytest.mark.parametrize("residuals", [0, -1])
def test_residuals_below_one(residuals):
    message = f"gated_scan: `residuals` must be at least 1; got residuals={residuals}."
    refuses(ValueError, message, gated_scan, GOOD, X, residuals=residuals)


@pytest.mark.parametrize("residuals", [True, None, 1.5])
def test_residuals_of_another_kind(residuals):
    rule = "`residuals` must be 'recompute', 'save' or a number of steps"
    refuses(TypeError, f"gated_scan: {rule}; got residuals={residuals!r}.", gated_scan, GOOD, X, residuals=residuals)


# ------------------------------------------------------------------------------------------------------ both directions


def test_direction_of_both_directions():
    message = "gated_scan_both: `reverse` must be left out: both directions run; got reverse=True."
    refuses(ValueError, message, gated_scan_both, GOOD, GOOD, X, reverse=True)


@pytest.mark.parametrize("h0", [H, (H,), [H, H]], ids=["one", "a tuple of one", "a list"])
def test_start_of_both_directions(h0):
    message = f"gated_scan_both: `h0` must be a pair of states or None; got h0 of type {type(h0).__name__}."
    refuses(TypeError, message, gated_scan_both, GOOD, GOOD, X, h0)


def test_options_of_both_directions_are_those_of_one():
    message = "gated_scan: `unroll` must be at least 1; got unroll=0."
    refuses(ValueError, message, gated_scan_both, GOOD, GOOD, X, unroll=0)


# ---------------------------------------------------------------------------------------------------------- gated_init


@pytest.mark.parametrize(("n", "m", "name"), [(0, 4, "n"), (-1, 4, "n"), (3, 0, "m")])
def test_init_sizes_below_one(n, m, name):
    value = {"n": n, "m": m}[name]
    refuses(ValueError, f"gated_init: `{name}` must be at least 1; got {name}={value}.", gated_init, KEY, n, m)


@pytest.mark.parametrize(
    ("n", "m", "got"),
    [(1.5, 4, "n=1.5 (float)"), (True, 4, "n=True (bool)"), (3, "4", "m='4' (str)"), (3, None, "m=None (NoneType)")],
)
def test_init_sizes_no_integers(n, m, got):
    refuses(TypeError, f"gated_init: `{got[0]}` must be an integer; got {got}.", gated_init, KEY, n, m)


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_init_dtype(dtype):
    message = f"gated_init: `dtype` must be a real floating-point dtype; got dtype={dtype!r}."
    refuses(TypeError, message, gated_init, KEY, 3, 4, dtype=dtype)


def test_init_dtype_without_a_meaning():
    message = "gated_init: `dtype` must be a real floating-point dtype; got dtype='flaot32'."
    refuses(TypeError, message, gated_init, KEY, 3, 4, dtype="flaot32")
