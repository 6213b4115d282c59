// The call to copy, of what the picture shows, in four libraries.
"use strict";

const tuple = (values) => (values.length === 1 ? `(${values[0]},)` : `(${values.join(", ")})`);
const pairsOf = (axes) => `[${axes.map(({ lo, hi }) => `(${lo}, ${hi})`).join(", ")}]`;
const scalarOr = (values) => (alike(values) ? `${values[0]}` : tuple(values));
const ones = (name, shape, remark) => `${name} = jnp.ones(${tuple(shape)})  # ${remark}`;

const WIDTH = 62; // characters of a line of code that are seen without scrolling

// A line that is too long: its remark above it, the arguments of its call on a line of their own.
function broken(line) {
  if (line.length <= WIDTH) return [line];
  const [code, remark] = line.split("  # ");
  if (remark) return [`# ${remark}`, ...broken(code)];
  const [, head, inner] = line.match(/^(\w+,? = [\w.]+\()(.*)\)$/) ?? [];
  return head ? [head, ...filled(inner), ")"] : [line];
}

// Arguments, as many in a line as it may have.
function filled(inner) {
  const parts = inner.match(/(?:[^,()[\]]|\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\])+/g).map((part) => part.trim());
  const add = (lines, part) => {
    const longer = `${lines.at(-1)} ${part},`;
    return longer.length <= WIDTH ? [...lines.slice(0, -1), longer] : [...lines, `    ${part},`];
  };
  return parts.reduce(add, ["   "]);
}

function paddingCode(geometry, name) {
  if (name) return `"${name}"`;
  const ends = geometry.axes.flatMap(({ lo, hi }) => [lo, hi]);
  return alike(ends) ? `${ends[0]}` : pairsOf(geometry.axes);
}

const shapeRemark = (name, shape) => `# ${name}: ${str(shape)}`;

function spaceWords(letter, axes) {
  return axes.length === 1 ? letter : axes.map((_, i) => `${letter}${"₀₁"[i]}`).join(", ");
}

function codeOf(state, geometry) {
  return { jaxconv: jaxconvCode, lax: laxCode, flax: flaxCode, PyTorch: torchCode }[state.code](state, geometry).flatMap(broken).join("\n");
}

// ---------------------------------------------------------------------------------------------------- jaxconv

function optionsOf(state, { axes, groups, transposed }, extra = true) {
  const [s, d, e] = ["s", "d", "e"].map((key) => axes.map((axis) => axis[key]));
  const parts = [];
  if (s.some((each) => each !== 1)) parts.push(`stride=${scalarOr(s)}`);
  const padding = paddingCode({ axes }, state.pad);
  if (padding !== "0") parts.push(`padding=${padding}`);
  if (transposed && extra && e.some(Boolean)) parts.push(`output_padding=${scalarOr(e)}`);
  if (d.some((each) => each !== 1)) parts.push(`dilation=${scalarOr(d)}`);
  if (groups !== 1) parts.push(`groups=${groups}`);
  return parts.map((part) => `, ${part}`).join("");
}

function arraysOf({ axes, x, w, y, transposed }, view) {
  const [n, m] = transposed ? ["m", "n"] : ["n", "m"];
  const channels = transposed ? "(in, out/groups, " : "(out, in/groups, ";
  const all = {
    x: ones("x", x, `(batch, in, ${spaceWords(n, axes)})`),
    w: ones("w", w, `${channels}${spaceWords("k", axes)})`),
    g: ones("g", y, `(batch, out, ${spaceWords(m, axes)}), the gradient at y`),
  };
  return { y: ["x", "w"], dx: ["g", "w"], dw: ["x", "g"] }[view].map((name) => all[name]);
}

function jaxconvCode(state, geometry) {
  const { axes, x, w, y, transposed } = geometry;
  const [options, plain] = [true, false].map((extra) => optionsOf(state, geometry, extra));
  const [n, k] = ["n", "k"].map((key) => axes.map((axis) => axis[key])).map((v) => (v.length === 1 ? v[0] : tuple(v)));
  const call = transposed
    ? { y: ["conv_transpose", `(x, w${options})`], dx: ["conv", `(g, w${plain})`], dw: ["conv_weight_vjp", `(g, x, kernel_size=${k}${plain})`] }
    : { y: ["conv", `(x, w${options})`], dx: ["conv_input_vjp", `(g, w, input_size=${n}${options})`], dw: ["conv_weight_vjp", `(x, g, kernel_size=${k}${options})`] };
  const [name, rest] = call[state.view];
  const shape = { y, dx: x, dw: w }[state.view];
  const lines = ["import jax.numpy as jnp", `from jaxconv import ${name}`, "", ...arraysOf(geometry, state.view)];
  return [...lines, `${state.view} = ${name}${rest}`, shapeRemark(state.view, shape)];
}

// -------------------------------------------------------------------------------------------------------- lax

function laxCall(name, left, right, pairs, options) {
  const lines = [`${name} = lax.conv_general_dilated(`, `    ${left}, ${right},`];
  const words = { padding: `[${pairs.map(([lo, hi]) => `(${lo}, ${hi})`).join(", ")}]`, ...options };
  const { window_strides, ...others } = words;
  lines.push(`    window_strides=${tuple(window_strides)},`);
  for (const [key, value] of Object.entries(others)) {
    const plain = Array.isArray(value) ? value.every((each) => each === 1) : value === 1;
    if (!plain) lines.push(`    ${key}=${Array.isArray(value) ? tuple(value) : value},`);
  }
  return [...lines, ")"];
}

function laxCode(state, geometry) {
  const { axes, x, w, y, groups } = geometry;
  const map = mapOf(state.view, geometry.transposed);
  const [s, d] = ["s", "d"].map((key) => axes.map((axis) => axis[key]));
  const lines = ["import jax.numpy as jnp", "from jax import lax", "", ...arraysOf(geometry, state.view)];
  const [forward, back] = geometry.transposed ? ["g", "x"] : ["x", "g"];
  if (map === "y") {
    const options = { window_strides: s, rhs_dilation: d, feature_group_count: groups };
    lines.push(...laxCall(state.view, forward, "w", axes.map(({ lo, hi }) => [lo, hi]), options));
  } else if (map === "dx") {
    const [out, inner, ...k] = w;
    const flip = `jnp.flip(w, ${tuple(range(2, 2 + axes.length))})`;
    if (groups === 1) lines.push(`flipped = ${flip}.swapaxes(0, 1)`);
    else {
      lines.push(`flipped = ${flip}.reshape(${[groups, out / groups, inner, ...k].join(", ")})`);
      lines.push(`flipped = flipped.swapaxes(1, 2).reshape(${[inner * groups, out / groups, ...k].join(", ")})`);
    }
    const pairs = axes.map(({ n, k: k_, s: s_, d: d_, lo, m }) => [d_ * (k_ - 1) - lo, n + lo - 1 - s_ * (m - 1)]);
    const options = { window_strides: axes.map(() => 1), lhs_dilation: s, rhs_dilation: d, feature_group_count: groups };
    lines.push(...laxCall(state.view, back, "flipped", pairs, options));
  } else {
    const pairs = axes.map(({ n, k: k_, s: s_, d: d_, lo, m }) => [lo, s_ * (m - 1) + 1 - n + d_ * (k_ - 1) - lo]);
    const options = { window_strides: d, rhs_dilation: s, batch_group_count: groups };
    lines.push(...laxCall(state.view, `${forward}.swapaxes(0, 1)`, `${back}.swapaxes(0, 1)`, pairs, options));
    lines[lines.length - 1] = ").swapaxes(0, 1)";
  }
  return [...lines, shapeRemark(state.view, { y, dx: x, dw: w }[state.view])];
}

// ------------------------------------------------------------------------------------------------------- flax

function flaxCode(state, geometry) {
  const { axes, x, y, groups, transposed } = geometry;
  const last = (shape) => [shape[0], ...shape.slice(2), shape[1]];
  const [k, s, d] = ["k", "s", "d"].map((key) => axes.map((axis) => axis[key]));
  if (transposed && groups !== 1) return ["# flax's ConvTranspose has no groups: take jaxconv.conv_transpose"];
  const pads = transposed
    ? axes.map((axis) => ({ lo: axis.d * (axis.k - 1) - axis.lo, hi: axis.d * (axis.k - 1) - axis.hi + axis.e }))
    : axes;
  const options = [`kernel_size=${tuple(k)}`, `strides=${tuple(s)}`, `padding=${pairsOf(pads)}`];
  if (!alike([...d, 1])) options.push(`kernel_dilation=${tuple(d)}`);
  if (groups !== 1) options.push(`feature_group_count=${groups}`);
  if (transposed) options.push("transpose_kernel=True");
  const lines = ["import jax", "import jax.numpy as jnp", "from flax import nnx", ""];
  lines.push(ones("x", last(x), "channels last"));
  options.push("use_bias=False", "rngs=nnx.Rngs(0)");
  lines.push(`layer = nnx.${transposed ? "ConvTranspose" : "Conv"}(${x[1]}, ${y[1]}, ${options.join(", ")})`);
  if (state.view === "y") return [...lines, "y = layer(x)", shapeRemark("y", last(y))];
  lines.push(ones("g", last(y), "the gradient at y"));
  if (state.view === "dx") return [...lines, "y, pull_back = jax.vjp(layer, x)", "dx, = pull_back(g)", shapeRemark("dx", last(x))];
  return [...lines, "dw = nnx.grad(lambda layer: (layer(x) * g).sum())(layer).kernel"];
}

// ---------------------------------------------------------------------------------------------------- PyTorch

function torchCode(state, geometry) {
  const { axes, x, w, y, groups, transposed } = geometry;
  const [s, d, e] = ["s", "d", "e"].map((key) => axes.map((axis) => axis[key]));
  const even = axes.every(({ lo, hi }) => lo === hi && lo >= 0);
  const array = (name, shape) => `${name} = torch.ones(${tuple(shape)}${state.view === `d${name}` ? ", requires_grad=True" : ""})`;
  const lines = ["import torch", "import torch.nn.functional as F", "", array("x", x), array("w", w)];
  const parts = [];
  if (s.some((each) => each !== 1)) parts.push(`stride=${scalarOr(s)}`);
  const sides = (sign) => [...axes].reverse().flatMap(({ lo, hi, e: more }) => (sign < 0 ? [-lo, more - hi] : [lo, hi]));
  if (even && axes.some(({ lo }) => lo)) parts.push(`padding=${scalarOr(axes.map(({ lo }) => lo))}`);
  if (even && e.some(Boolean)) parts.push(`output_padding=${scalarOr(e)}`);
  if (groups !== 1) parts.push(`groups=${groups}`);
  if (d.some((each) => each !== 1)) parts.push(`dilation=${scalarOr(d)}`);
  const options = parts.map((part) => `, ${part}`).join("");
  if (transposed) {
    lines.push(`y = F.conv_transpose${axes.length}d(x, w${options})`);
    if (!even) lines.push(`y = F.pad(y, ${tuple(sides(-1))})  # cut off what the padding takes`);
  } else {
    const input = even ? "x" : `F.pad(x, ${tuple(sides(1))})`;
    lines.push(`y = F.conv${axes.length}d(${input}, w${options})`);
  }
  if (state.view === "y") return [...lines, shapeRemark("y", y)];
  const of = state.view[1];
  lines.push(`g = torch.ones(${tuple(y)})  # the gradient at y`);
  return [...lines, `${state.view}, = torch.autograd.grad(y, ${of}, g)`, shapeRemark(state.view, of === "x" ? x : w)];
}
