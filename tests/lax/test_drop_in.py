"""`conv_general_dilated` is lax's function: its signature, its errors, its transforms; and our algorithms in each."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv

pytestmark = pytest.mark.unoptimised

X = jnp.sin(jnp.arange(2 * 6 * 5 * 4.0)).reshape(2, 6, 5, 4)
W = jnp.cos(jnp.arange(3 * 3 * 2 * 4.0)).reshape(3, 3, 2, 4)
HOW = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 2}


def loss(convolve, x, w):
    y = convolve(x, w, (2, 1), "SAME", **HOW)
    return jnp.sum(y * jnp.cos(y))


def scanned(f):
    def of(x, w):
        return lax.scan(lambda total, x: (total + f(x, w), None), 0.0, jnp.stack([x, 2 * x]))[0]

    return of


both = lambda f: jax.grad(f, (0, 1))  # noqa: E731
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("i",))
shard = lambda f: jax.shard_map(f, mesh=MESH, in_specs=(jax.P("i"), jax.P()), out_specs=jax.P())  # noqa: E731
TRANSFORMS = {  # what is made of the loss, and how many different convolutions that has
    "value": (lambda f: f, 1),
    "gradients": (both, 3),
    "eager": (lambda f: both(f), 3),
    "second order": (lambda f: both(lambda x, w: sum(jnp.sum(jnp.sin(d)) for d in both(f)(x, w))), 5),
    "jvp": (lambda f: lambda x, w: jax.jvp(f, (x, w), (w.sum() * x, x.sum() * w)), 1),
    "linearize": (lambda f: lambda x, w: jax.linearize(f, x, w)[1](x, w), 1),
    "hessian": (lambda f: lambda x, w: jax.hessian(f, 1)(x[:1], w), 1),
    "scan": (lambda f: both(scanned(f)), 3),
    "remat": (lambda f: both(jax.checkpoint(f)), 3),
    "remat in a scan": (lambda f: both(scanned(jax.checkpoint(f))), 3),
    "vmap": (lambda f: lambda x, w: jax.vmap(both(f))(jnp.stack([x, -x]), jnp.stack([w, -w])), 3),
    "jit within": (lambda f: both(jax.jit(f)), 3),
    "cond": (lambda f: both(lambda x, w: lax.cond(x.sum() > 9, f, lambda x, w: -f(x, w), x, w)), 3),
    "shard_map": (lambda f: both(lambda x, w: shard(lambda x, w: lax.psum(f(x, w), "i"))(x, w)), 3),
}


@pytest.mark.short("^(gradients|second order|cond)-drop-in", "^(eager|vmap|shard_map)-accelerate")
@pytest.mark.parametrize("way", ["drop-in", "accelerate"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_under(name, way):
    make, least = TRANSFORMS[name]
    wrap = (lambda f: f) if name == "eager" else jax.jit
    right = make(lambda x, w: loss(lax.conv_general_dilated, x, w))(X, W)
    convolve = jaxconv.conv_general_dilated if way == "drop-in" else lax.conv_general_dilated
    jax.clear_caches()
    with jaxconv.accelerate() as handle:
        got = wrap(make(lambda x, w: loss(convolve, x, w)))(X, W)
    report = handle.report()
    assert sum(row.times for row in report.taken) >= least, report
    assert report.left == ()
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True):
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=3e-5 * scale)


def test_it_is_fast_without_accelerate():
    """The mark alone does it: the compiled program has no grouped convolution of XLA's any more."""
    text = lambda f: jax.jit(both(lambda x, w: loss(f, x, w))).lower(X, W).as_text()  # noqa: E731
    assert text(lax.conv_general_dilated).count("stablehlo.convolution") == 3
    assert text(jaxconv.conv_general_dilated).count("stablehlo.convolution") == 0


def test_transposes():
    def pulled(convolve):
        f = lambda x: convolve(x, W, (2, 1), "SAME", **HOW)  # noqa: E731
        return jax.linear_transpose(f, X)(jnp.ones(jax.eval_shape(f, X).shape))[0]

    np.testing.assert_allclose(
        pulled(jaxconv.conv_general_dilated), pulled(lax.conv_general_dilated), rtol=1e-4, atol=1e-5
    )


def test_the_signature_is_lax_own():
    assert inspect.signature(jaxconv.conv_general_dilated) == inspect.signature(lax.conv_general_dilated)


A, K = jnp.ones((1, 4, 6, 6)), jnp.ones((4, 4, 3, 3))
BAD = {
    "rank": ((A, K[0], (1, 1), "SAME"), {}),
    "strides": ((A, K, (1,), "SAME"), {}),
    "stride of zero": ((A, K, (0, 1), "SAME"), {}),
    "padding by an unknown name": ((A, K, (1, 1), "HALF"), {}),
    "padding that is no pair": ((A, K, (1, 1), [1, 1]), {}),
    "one pad too few": ((A, K, (1, 1), [(1, 1)]), {}),
    "dilation": ((A, K, (1, 1), "SAME"), {"rhs_dilation": (1,)}),
    "groups": ((A, K, (1, 1), "SAME"), {"feature_group_count": 3}),
    "groups that rhs has not": ((A, K, (1, 1), "SAME"), {"feature_group_count": 2}),
    "groups of both kinds": ((A, K[:, :2], (1, 1), "SAME"), {"feature_group_count": 2, "batch_group_count": 2}),
    "channels": ((A, K[:, :2], (1, 1), "SAME"), {}),
    "two dtypes": ((A, K.astype(jnp.bfloat16), (1, 1), "SAME"), {}),
    "letters": ((A, K, (1, 1), "SAME"), {"dimension_numbers": ("NCHW", "OIHW", "NCHX")}),
    "a number for dimension_numbers": ((A, K, (1, 1), "SAME"), {"dimension_numbers": 3}),
    "precision": ((A, K, (1, 1), "SAME"), {"precision": "best"}),
    "preferred dtype": ((A, K, (1, 1), "SAME"), {"preferred_element_type": jnp.bfloat16}),
    "no array": (([[1.0]], K, (1, 1), "SAME"), {}),
    "an unknown argument": ((A, K, (1, 1), "SAME"), {"stride": 2}),
    "an argument too few": ((A, K), {}),
}


def without_place(raised):
    """The message, without the place in the program that the compiler adds to it."""
    return str(raised.value).partition("at loc(")[0]


@pytest.mark.parametrize("name", BAD)
def test_errors_are_lax_own(name):
    args, how = BAD[name]
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        lax.conv_general_dilated(*args, **how)
    with pytest.raises(theirs.type) as ours:
        jaxconv.conv_general_dilated(*args, **how)
    assert without_place(ours) == without_place(theirs)


def test_an_empty_batch_and_integers_are_lax_own():
    for x, w in [(A[:0], K), (A.astype(int), K.astype(int))]:
        ours, theirs = (f(x, w, (1, 1), "SAME") for f in (jaxconv.conv_general_dilated, lax.conv_general_dilated))
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_array_equal(ours, theirs)


def test_a_symbolic_batch():
    (b,) = jax.export.symbolic_shape("b")
    f = jax.jit(lambda x: jaxconv.conv_general_dilated(x, W, (1, 1), "SAME", **HOW))
    exported = jax.export.export(f)(jax.ShapeDtypeStruct((b, *X.shape[1:]), X.dtype))
    np.testing.assert_allclose(exported.call(X), f(X), rtol=1e-5, atol=1e-5)
