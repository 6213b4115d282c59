"""The convolutions as people call them: arguments read and checked, batch axes made one, then one of the maps.

The maps and their derivatives stand in `maps`. Letters, per spatial axis: n input size, k kernel size, s stride,
d dilation, (lo, hi) padding, m output size.
"""

from __future__ import annotations

from functools import partial

import jax
from jax import Array

from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import match_vma
from jaxconv.algorithms import reference
from jaxconv.algorithms.choose import Lowering
from jaxconv.convolution import maps
from jaxconv.convolution.batching import fold_batch, unfold_batch
from jaxconv.convolution.config import ConvConfig, Derivative, PerAxis
from jaxconv.convolution.padding import PADDING_MODES, PaddingMode, must_pad_apart, pad, pad_apart, pad_vjp
from jaxconv.convolution.primitive import product
from jaxconv.convolution.reading import check_bias, check_output, read_config, read_options, transposed_size
from jaxconv.sizes.arguments import integer, is_sequence, one_of, per_axis, wrong_value
from jaxconv.sizes.arithmetic import Layout, Padding, axes_of
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import check_channels, layout_hint, split_array, split_kernel

# ------------------------------------------------------------------------- the jitted bodies, batch axes folded


@partial(jax.jit, static_argnames=("config", "mode", "derivative"))
def _conv_body(
    x: Array, w: Array, b: Array | None, *, config: ConvConfig, mode: tuple | None, derivative: str
) -> Array:
    x, w, b = match_vma(x, w, b)
    geometry = config.geometry
    batch, folded = fold_batch(x, geometry.axes)
    if mode is not None:
        folded = pad(folded, *mode)
    if derivative == "jax":
        y = reference.left_to_jax("conv", folded, w, geometry, config.precision)
    else:
        y = maps.conv(folded, w, config) if derivative == "hand" else product("conv", folded, w, config)
    return unfold_batch(_biased(y, b, geometry, derivative), batch)


@partial(jax.jit, static_argnames=("config", "derivative", "mode"))
def _input_vjp_body(
    g: Array, w: Array, b: Array | None, *, config: ConvConfig, derivative: str, mode: tuple | None = None
) -> Array:
    g, w, b = match_vma(g, w, b)
    geometry = config.geometry
    batch, folded = fold_batch(g, geometry.axes)
    if derivative == "jax":
        dx = reference.left_to_jax("conv_input_vjp", folded, w, geometry, config.precision)
    else:
        dx = maps.input_vjp(folded, w, config) if derivative == "hand" else product("conv_input_vjp", folded, w, config)
    if mode is not None:
        dx = pad_vjp(dx, *mode)
    return unfold_batch(_biased(dx, b, geometry, derivative), batch)


@partial(jax.jit, static_argnames=("config", "derivative"))
def _weight_vjp_body(x: Array, g: Array, *, config: ConvConfig, derivative: str) -> Array:
    x, g = (fold_batch(each, config.geometry.axes)[1] for each in match_vma(x, g))
    if derivative == "jax":
        return reference.left_to_jax("conv_weight_vjp", x, g, config.geometry, config.precision)
    return maps.weight_vjp(x, g, config) if derivative == "hand" else product("conv_weight_vjp", x, g, config)


def _biased(y: Array, b: Array | None, geometry: Geometry, derivative: str) -> Array:
    if b is None:
        return y
    channel_axis = 1 if geometry.channels_first else y.ndim - 1
    return (maps.add_bias if derivative == "hand" else maps.plus_bias)(y, b, channel_axis)


# ------------------------------------------------------------------------------------------- the public face


def conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    padding_mode: PaddingMode = "zeros",
    precision: Precision = None,
    derivative: Derivative = "hand",
    lowering: Lowering = "auto",
) -> Array:
    """Convolution (correlation, as every library of the field means it), with hand-written gradients of any order.

        y[b,o,p] = b[o] + Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    Args:
        x: (*batch, in, *space), any number of leading batch axes; channels last: (*batch, *space, in).
        w: (out, in/groups, *kernel), same dtype; channels last: (*kernel, in/groups, out).
        b: bias (out,), or None.
        stride: s, positions between two windows; one integer or one per spatial axis.
        padding: positions added (negative: cut off): an integer, one per axis, one (lo, hi) per axis, "VALID",
            "SAME" (⌈n/s⌉ outputs, the odd position behind), "SAME_LOWER" (before), "CAUSAL" (no output reads
            what follows it) or "FULL" (every overlap).
        dilation: d, positions between two taps.
        groups: the channels fall into this many groups that do not see each other.
        layout: "channels_first" or "channels_last".
        padding_mode: what stands in the padding: "zeros", "reflect", "edge" or "circular".
        precision: what an accelerator may round the factors to, all that lax's convolution takes: None, a name
            ("default", "high", "highest", "tensorfloat32", …), a `lax.Precision`, or a pair of either, for x and w.
            A `lax.DotAlgorithm` or preset, which is for matrix products, means the default, as it does there.
        derivative: "hand", the rules below, reverse mode to any order; "any", the same rules on a primitive of our
            own, so that forward mode (jvp, linearize, jacfwd, hessian, jet) and transposition (linear_transpose,
            bicgstab, gmres, the rule of a custom_jvp) work too, at the price that JAX keeps `jax.interpreters`,
            which it rests on, less stable than its other names; "jax" leaves the derivative to JAX.
        lowering: the algorithm: "auto", what is fastest as far as is known (see `conv_algorithm`), "reference",
            `lax.conv_general_dilated` as it stands, "gemm", matrix products, or another one of `jaxconv.algorithms`. A
            derivative that the one named cannot serve is served as under "auto".

    Returns:
        (*batch, out, *space_out), or (*batch, *space_out, out), in the dtype of x; half precision accumulates in
        float32. The gradients are `conv_input_vjp` for x, `conv_weight_vjp` for w and Σ_{b,p} g[b,o,p] for b.

    Raises:
        TypeError: an argument has the wrong kind or dtype.
        ValueError: shapes or options do not fit together, a window is wider than the padded input, or the algorithm
            named cannot serve the call.

    Source: ∂T/∂g of the module docstring; Dumoulin and Visin 2016, section 2.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(10.0).reshape(2, 5)
    >>> w = jnp.ones((1, 2, 3))
    >>> conv(x, w, stride=2)
    Array([[21., 33.]], dtype=float32)
    """
    function = "conv"
    read_options(function, {"x": x, "w": w, **({} if b is None else {"b": b})}, layout, derivative, lowering)
    out, per_group, k = split_kernel(function, "w.shape", w.shape, layout)
    _, channels, n = split_array(function, "x.shape", x.shape, len(k), layout)
    groups = integer(function, "groups", groups, least=1)
    context = f"x.shape={x.shape}, w.shape={w.shape}{layout_hint(x.shape, w.shape, groups, layout)}"
    check_channels(function, groups, channels, per_group, out, context)
    geometry = Geometry.of(
        function, n, k, stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout
    )
    check_bias(function, b, out)
    mode = None
    if must_pad_apart(geometry, one_of(function, "padding_mode", padding_mode, PADDING_MODES)):
        geometry, mode = pad_apart(function, geometry, padding_mode)
    config = read_config(function, "conv", x, w, geometry, precision, lowering)
    return _conv_body(x, w, b, config=config, mode=mode, derivative=derivative)


def conv_input_vjp(
    g: Array,
    w: Array,
    *,
    input_size: PerAxis,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    precision: Precision = None,
    derivative: Derivative = "hand",
    lowering: Lowering = "auto",
) -> Array:
    """Gradient of a convolution with respect to its input: the pull-back of g, linear in g and in w.

        dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]

    Args:
        g: cotangent of the output, (*batch, out, *space_out); channels last: (*batch, *space_out, out).
        w: the convolution's kernel, (out, in/groups, *kernel); channels last: (*kernel, in/groups, out).
        input_size: n, the spatial size of the convolution's input; one integer or one per axis. Several n give one
            output size, so it has to be said (see `input_sizes`).
        stride, padding, dilation, groups, layout, precision, lowering: those of the convolution, as in `conv`.
        derivative: as in `conv`, of this map, which is linear in each of its arrays.

    Returns:
        dx, (*batch, in, *input_size), or (*batch, *input_size, in).

    Raises:
        TypeError, ValueError: as `conv`; also where g has not the size that `input_size` gives.

    Source: ∂T/∂x of the module docstring; Dumoulin and Visin 2016, section 4.

    >>> import jax.numpy as jnp
    >>> g = jnp.array([[1.0, 10.0]])
    >>> w = jnp.array([[[1.0, 2.0, 3.0]]])
    >>> conv_input_vjp(g, w, input_size=5, stride=2)
    Array([[ 1.,  2., 13., 20., 30.]], dtype=float32)
    """
    function = "conv_input_vjp"
    read_options(function, {"g": g, "w": w}, layout, derivative, lowering)
    out, per_group, k = split_kernel(function, "w.shape", w.shape, layout)
    _, channels, m = split_array(function, "g.shape", g.shape, len(k), layout)
    n = per_axis(function, "input_size", input_size, len(k), least=1, symbolic=True)
    geometry = Geometry.of(
        function, n, k, stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout
    )
    context = f"g.shape={g.shape}, w.shape={w.shape}"
    check_channels(function, geometry.groups, per_group * geometry.groups, per_group, out, context)
    if channels != out:
        wrong_value(function, "`g` must have the kernel's output channels", f"{channels} for {out} ({context})")
    check_output(function, "g", geometry, m)
    config = read_config(function, "conv_input_vjp", g, w, geometry, precision, lowering)
    return _input_vjp_body(g, w, None, config=config, derivative=derivative)


def conv_weight_vjp(
    x: Array,
    g: Array,
    *,
    kernel_size: PerAxis,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    precision: Precision = None,
    derivative: Derivative = "hand",
    lowering: Lowering = "auto",
) -> Array:
    """Gradient of a convolution with respect to its kernel: the pull-back of g, linear in x and in g.

        dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    Args:
        x: the convolution's input, (*batch, in, *space); channels last: (*batch, *space, in).
        g: cotangent of the output, (*batch, out, *space_out); channels last: (*batch, *space_out, out).
        kernel_size: k, one integer per spatial axis; a single integer means one spatial axis (x has at most 3 axes).
        stride, padding, dilation, groups, layout, precision, lowering: those of the convolution, as in `conv`.
        derivative: as in `conv`, of this map, which is linear in each of its arrays.

    Returns:
        dw, (out, in/groups, *kernel_size), or (*kernel_size, in/groups, out), summed over all batch axes.

    Raises:
        TypeError, ValueError: as `conv`; also where g has not the size that x gives.

    Source: ∂T/∂w of the module docstring.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(5.0).reshape(1, 5)
    >>> g = jnp.array([[1.0, 10.0]])
    >>> conv_weight_vjp(x, g, kernel_size=3, stride=2)
    Array([[[20., 31., 42.]]], dtype=float32)
    """
    function = "conv_weight_vjp"
    read_options(function, {"x": x, "g": g}, layout, derivative, lowering)
    axes = axes_of(function, kernel_size=kernel_size) or 1
    if not is_sequence(kernel_size) and x.ndim > 3:
        rule = "`kernel_size` must be one integer per spatial axis where `x` has more than three axes"
        k = kernel_size
        wrong_value(function, rule, f"kernel_size={k!r}, x.shape={x.shape}: write ({k},) for one, ({k}, {k}) for two")
    k = per_axis(function, "kernel_size", kernel_size, axes, least=1)
    batch, channels, n = split_array(function, "x.shape", x.shape, axes, layout)
    g_batch, out, m = split_array(function, "g.shape", g.shape, axes, layout)
    geometry = Geometry.of(
        function, n, k, stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout
    )
    context = f"x.shape={x.shape}, g.shape={g.shape}, kernel_size={k}"
    if batch != g_batch:
        rule = "`x` and `g` must have the same batch axes"
        wrong_value(function, rule, f"{batch} and {g_batch} ({context})")
    check_channels(function, geometry.groups, channels, channels // geometry.groups, out, context)
    check_output(function, "g", geometry, m)
    config = read_config(function, "conv_weight_vjp", x, g, geometry, precision, lowering)
    return _weight_vjp_body(x, g, config=config, derivative=derivative)


def conv_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: PerAxis | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    padding_mode: PaddingMode = "zeros",
    precision: Precision = None,
    derivative: Derivative = "hand",
    lowering: Lowering = "auto",
) -> Array:
    """Transposed convolution: the adjoint of `conv` with the same kernel and options, ⟨x, conv(y, w)⟩ = ⟨this, y⟩.

        y[b,i,j] = b[i] + Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · x[b,o,p]

    Its own input channels are o and its output channels i: it is `conv_input_vjp` under its usual name.

    Args:
        x: (*batch, in, *space); channels last: (*batch, *space, in).
        w: the kernel as of the convolution it is the adjoint of, (in, out/groups, *kernel); channels last:
            (*kernel, out/groups, in).
        b: bias (out,), or None.
        stride, padding, dilation, groups, layout, precision, derivative, lowering: as in `conv`.
        output_padding: 0 ≤ output_padding < stride, positions added behind: picks one of the sizes that
            the convolution maps to x's size.
        output_size: that size itself, the unambiguous form; one integer or one per axis.
        padding_mode: what stood in the convolution's padding, "zeros", "reflect", "edge" or "circular": a copy's
            share goes back to the position copied, a zero's nowhere.

    Returns:
        (*batch, out, *space_out) with s(m − 1) + d(k − 1) + 1 − lo − hi + output_padding positions per axis, or
        `output_size`; with "SAME" s·m. In ONNX's ConvTranspose write the size, `output_shape`, not `auto_pad`: of a
        kernel shorter than the stride ONNX Runtime makes s(m − 1) + k positions there, by ONNX's text they are s·m.
        Pads of 0 with an `output_padding` of s − k say the same, and leave open nowhere which positions are added.

    Raises:
        TypeError, ValueError: as `conv`; also where `output_size` is none of the possible sizes.

    Source: Dumoulin and Visin 2016, section 4.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[1.0, 10.0]])
    >>> conv_transpose(x, jnp.ones((1, 1, 3)), stride=2)
    Array([[ 1.,  1., 11., 10., 10.]], dtype=float32)
    """
    function = "conv_transpose"
    read_options(function, {"x": x, "w": w, **({} if b is None else {"b": b})}, layout, derivative, lowering)
    channels_in, per_group, k = split_kernel(function, "w.shape", w.shape, layout)
    _, channels, m = split_array(function, "x.shape", x.shape, len(k), layout)
    groups = integer(function, "groups", groups, least=1)
    context = f"x.shape={x.shape}, w.shape={w.shape}"
    if channels_in % groups:
        rule = "`groups` must divide the input channels"
        wrong_value(function, rule, f"groups={groups}, channels={channels_in} ({context})")
    if channels != channels_in:
        rule = "`x` must have the kernel's input channels"
        wrong_value(function, rule, f"{channels} for {channels_in} ({context})")
    n = transposed_size(function, m, k, stride, padding, output_padding, output_size, dilation)
    geometry = Geometry.of(
        function, n, k, stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout
    )
    check_bias(function, b, per_group * groups)
    mode = None
    if one_of(function, "padding_mode", padding_mode, PADDING_MODES) != "zeros":
        geometry, mode = pad_apart(function, geometry, padding_mode)
    config = read_config(function, "conv_input_vjp", x, w, geometry, precision, lowering)
    return _input_vjp_body(x, w, b, config=config, derivative=derivative, mode=mode)
