"""Calls of lax with every argument drawn: values and derivatives are the float64 sum's, types are lax's.

The long part has 125 of five hundred; with JAXCONV_ALL_CALLS=1 in the environment it has them all. Each goes through
the drop-in or, with the same function of lax, through `accelerate`, in turn.
"""

import os
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv
from jaxconv.accuracy.error_model import C
from lax_calls import Contraction, drawn, numbers

pytestmark = pytest.mark.unoptimised

RIGHT_ALWAYS = jax.__version_info__ >= (0, 11)  # before, lax errs for paddings of opposite sign
SEEDS = range(0, 500, 1 if os.environ.get("JAXCONV_ALL_CALLS") else 4)
LEFT = "exceed 1"  # the one reason for which a call of these is left to JAX


def value_and_gradients(convolve, lhs, rhs, g, *_):
    y, pull = jax.vjp(convolve, lhs, rhs)
    return {"y": y, "d_lhs": pull(g)[0], "d_rhs": pull(g)[1]}


def every_derivative(convolve, lhs, rhs, g, u, v):
    """Value, gradients, jvp, second order, a double vmap and gradients example by example."""
    _, again = jax.vjp(lambda rhs, g: jax.vjp(convolve, lhs, rhs)[1](g)[0], rhs, g)
    pairs = jnp.stack([lhs, u]), jnp.stack([rhs, v], -1)
    return {
        **value_and_gradients(convolve, lhs, rhs, g),
        "jvp": jax.jvp(lambda lhs: convolve(lhs, rhs), (lhs,), (u,))[1],
        "second order": again(u),
        "vmap of vmap": jax.vmap(jax.vmap(convolve, (None, -1)), (0, None))(*pairs),
        "vmap of gradients": jax.vmap(lambda a, b: jax.vjp(convolve, a, b)[1](g), (0, -1))(*pairs),
    }


@pytest.mark.short("^[0-9]$")
@pytest.mark.parametrize("seed", range(20))
def test_value_and_gradients_are_those_of_lax(seed):
    check(seed, value_and_gradients)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_every_derivative_is_that_of_lax(seed):
    check(seed, every_derivative)


def check(seed, function):
    call = drawn(seed)
    with jax.enable_x64(call.dtype == "float64"):
        lhs, rhs, g, u, v = numbers(call, call.lhs, call.rhs, call.out, call.lhs, call.rhs)
        arrays = [jnp.asarray(each, call.dtype) for each in (lhs, rhs, g, u, v)]
        arrays[2] = arrays[2].astype(call.params["out"].dtype)
        theirs = partial(function, partial(lax.conv_general_dilated, **call.how))
        ours = partial(function, partial(jaxconv.conv_general_dilated, **call.how))
        with jaxconv.accelerate() as handle:
            got = jax.jit(theirs if seed % 2 else ours)(*arrays)
        like = jax.eval_shape(theirs, *arrays)
        found = distances(Contraction(call), got, lhs, rhs, g, u, v)
    taken, left = handle.report()
    assert taken or left, "nothing was compiled"
    assert all(LEFT in row.why for row in left), handle.report()
    assert jax.tree.map(lambda a: (a.shape, a.dtype), got) == jax.tree.map(lambda a: (a.shape, a.dtype), like)
    assert max(found.values()) <= C, (call, found)


def distances(whole, got, lhs, rhs, g, u, v):
    """Of each result from the exact one, in units of the error model."""
    found = {name: whole.judged(got[name], made, *factors) for name, made, factors in [
        ("y", 2, (lhs, rhs)), ("d_lhs", 0, (rhs, g)), ("d_rhs", 1, (lhs, g))]}  # fmt: skip
    if "jvp" in got:
        found["jvp"] = whole.judged(got["jvp"], 2, u, rhs)
        for made, result, factor in zip((1, 2), got["second order"], (g, rhs), strict=True):
            found[f"second order, {made}"] = whole.judged(result, made, u, factor)
        for a, left in enumerate((lhs, u)):
            for b, right in enumerate((rhs, v)):
                found[f"vmap of vmap, {a} {b}"] = whole.judged(got["vmap of vmap"][a, b], 2, left, right)
        for a, factors in enumerate([(lhs, rhs), (u, v)]):
            for made in (0, 1):
                result = got["vmap of gradients"][made][a]
                found[f"vmap of gradients, {made}, {a}"] = whole.judged(result, made, factors[1 - made], g)
    return found


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_the_sum_is_that_of_lax(seed):
    """What the others are compared with is compared with lax, in float64."""
    call = drawn(seed, "float64")
    with jax.enable_x64(True):
        if call.opposite_paddings and not RIGHT_ALWAYS:
            pytest.skip("lax errs here")
        lhs, rhs = numbers(call, call.lhs, call.rhs)
        made = lax.conv_general_dilated(jnp.asarray(lhs), jnp.asarray(rhs), **call.how)
        assert Contraction(call).judged(made, 2, lhs, rhs) <= C
