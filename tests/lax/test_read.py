"""Which map a call is read as: what people call, and what JAX makes of it."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxconv.lax.read import Call, Reading, read

LAST, FIRST = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")


def readings(f, *shapes):
    """Of every convolution of f, in the program's order."""
    program = jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes))
    equations = [each for each in program.eqns if each.primitive.name == "conv_general_dilated"]
    return [
        read(Call.of(*(v.aval.shape for v in each.invars), each.outvars[0].aval.shape, each.params))
        for each in equations
    ]


def both(stride, numbers, groups=1, dilation=1):
    def f(x, w):
        how = {"dimension_numbers": numbers, "feature_group_count": groups, "rhs_dilation": (dilation,) * 2}
        return jnp.sum(lax.conv_general_dilated(x, w, (stride,) * 2, "SAME", **how) ** 2)

    return jax.grad(f, (0, 1))


@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("numbers", [LAST, FIRST], ids=["last", "first"])
def test_a_layer_and_its_gradients(numbers, stride, groups):
    """As in `conv`: each of the three maps of one geometry, and nothing is moved but channels of the kernel of dx."""
    last = (2, 14, 13, 8), (3, 3, 8 // groups, 16)
    shapes = last if numbers == LAST else ((2, 8, 14, 13), (16, 8 // groups, 3, 3))
    found = readings(both(stride, numbers, groups), *shapes)
    assert sorted(each.which for each in found) == ["conv", "conv_input_vjp", "conv_weight_vjp"]
    layout = "channels_last" if numbers == LAST else "channels_first"
    assert {each.geometry.layout for each in found} == {layout}
    sizes = {(g.input_size, g.kernel_size, g.output_size, g.stride, g.groups) for g in (r.geometry for r in found)}
    assert sizes == {((14, 13), (3, 3), (-(-14 // stride), -(-13 // stride)), (stride, stride), groups)}
    for each in found:
        moved = max(each.first.moved, each.second.moved, each.result.moved)
        kernel = shapes[1][0] * shapes[1][1] * shapes[1][2] * shapes[1][3]
        assert moved <= (kernel if each.which == "conv_input_vjp" and groups > 1 else 0)


def test_a_dilated_layer_and_its_gradients():
    found = readings(both(1, LAST, dilation=2), (2, 14, 13, 8), (3, 3, 8, 16))
    assert {each.which for each in found} == {"conv", "conv_input_vjp", "conv_weight_vjp"}
    assert {each.geometry.dilation for each in found} == {(2, 2)}
    assert {each.geometry.taps for each in found} == {9}


def test_a_transposed_layer_is_dx():
    (found,) = readings(lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"), (2, 7, 7, 8), (3, 3, 8, 16))
    assert (found.which, found.geometry.input_size, found.geometry.stride) == ("conv_input_vjp", (14, 14), (2, 2))


def test_a_kernel_as_large_as_its_image_is_a_kernel():
    (found,) = readings(lambda x, w: lax.conv(x, w, (1, 1), "VALID"), (2, 8, 7, 7), (16, 8, 7, 7))
    assert found.which == "conv"


def call(lhs, rhs, out, strides, padding, lhs_dilation, rhs_dilation):
    """Of one channel and one spatial axis."""
    one = (0, 1, 2)
    return Call(
        (1, 1, lhs), (1, 1, rhs), (1, 1, out), (strides,), (padding,), (lhs_dilation,), (rhs_dilation,), (one,) * 3
    )


def test_what_no_map_expresses():
    assert "all exceed 1" in read(call(5, 3, 3, 2, (0, 0), 2, 2))
    assert "4 times the multiply-adds" in read(call(32, 3, 31, 2, (0, 0), 2, 1))
    assert read(call(5, 3, 0, 1, (0, 0), 1, 1)) == "an array without numbers"
    assert "no spatial axis" in read(Call((2, 3), (4, 3), (2, 4), (), (), (), (), ((0, 1),) * 3))


def test_an_axis_of_one_position_has_no_stride():
    """What stands beside it says nothing, so that it does not keep a call from being read."""
    found = read(call(1, 3, 3, 1, (2, 2), 7, 1))
    assert isinstance(found, Reading)
    assert (found.geometry.stride, found.geometry.dilation) == ((1,), (1,))
