// What a state of the page describes: the convolution, its errors, and which cell meets which. The arithmetic and the
// messages are the library's own functions, put into JavaScript; here they are called in the order in which it does.
"use strict";

const NAMED = ["VALID", "SAME", "SAME_LOWER", "CAUSAL", "FULL"];

// One number where all axes have the same, as code is written.
const alike = (values) => values.every((value) => value === values[0]);

// The least value of an option, with the name that the library gives it.
function checkLeast(name, option, values, least) {
  if (alike(values)) at_least(name, option, values[0], least);
  else values.forEach((value, axis) => at_least(name, `${option}[${axis}]`, value, least));
}

// Shapes of the arrays in the call: a kernel has ⌊in/groups⌋ input channels, also where that does not divide.
function shapesOf(state) {
  const take = (values) => values.slice(0, state.axes);
  const group = Math.max(state.g, 1);
  const perGroup = Math.max(Math.floor((state.t ? state.f : state.c) / group), 1);
  return {
    x: [1, state.c, ...take(state.n)],
    w: [state.t ? state.c : state.f, perGroup, ...take(state.k)],
    out: state.t ? perGroup * group : state.f,
  };
}

function checkChannels(name, state, { x, w, out }) {
  at_least(name, "groups", state.g, 1);
  const hint = state.t ? "" : layout_hint(x, w, state.g, "channels_first");
  check_groups(name, state.g, state.c, out, ` (x.shape=${str(x)}, w.shape=${str(w)}${hint})`);
}

const isSame = ({ pad }) => pad === "SAME" || pad === "SAME_LOWER";

// (lo, hi) of an axis, in numbers or by name. A stride or dilation of 0 counts as 1: what is wrong there is told first.
function paddingOf(state, axis) {
  if (!state.pad) return [state.lo[axis], state.hi[axis]];
  const [s, d] = [Math.max(state.s[axis], 1), Math.max(state.d[axis], 1)];
  const size = state.t && isSame(state) ? s * state.n[axis] : state.n[axis];
  return axis_padding(state.pad, size, state.k[axis], s, d);
}

// The convolution with every option per axis; of a transposed one the convolution that it is the adjoint of.
// Throws what the library raises.
function geometryOf(state) {
  const name = state.t ? "conv_transpose" : "conv";
  const shapes = shapesOf(state);
  const take = (values) => values.slice(0, state.axes);
  const [sizes, k, s, d] = [state.n, state.k, state.s, state.d].map(take);
  checkChannels(name, state, shapes);
  checkLeast(name, "stride", s, 1);
  checkLeast(name, "dilation", d, 1);
  const same = isSame(state);
  const e = same || !state.t ? s.map(() => 0) : take(state.o);
  if (state.t) check_output_padding(name, e, s);
  const axes = sizes.map((size, axis) => {
    const [lo, hi] = paddingOf(state, axis);
    const of = { k: k[axis], s: s[axis], d: d[axis], lo, hi, e: e[axis] };
    if (!state.t) return { n: size, ...of };
    return { n: same ? of.s * size : axis_transposed(name, axis, size, of.k, of.s, lo, hi, of.e, of.d), m: size, ...of };
  });
  axes.forEach(({ n, k, lo, hi, d }, axis) => require_fit(name, axis, n, k, lo, hi, d));
  for (const axis of axes) axis.m ??= axis_output(axis.n, axis.k, axis.s, axis.lo, axis.hi, axis.d);
  const y = [1, shapes.out, ...axes.map(({ n, m }) => (state.t ? n : m))];
  return { name, axes, same, ...shapes, y, groups: state.g, transposed: state.t };
}

// The geometry, or the words of the error in place of it.
function tried(work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof LibraryError)) throw error;
    return { error: error.message };
  }
}

// ------------------------------------------------------------------------------------------------ connections

// On one axis all (p, q, j): output p reads input j through tap q. Once per axis, and kept.
function triples(axis) {
  axis.triples ??= range(axis.m).flatMap((p) =>
    reads([false, axis.k, axis.s, axis.lo, axis.d], p).map((j, q) => ({ p, q, j })),
  );
  return axis.triples;
}

// Those of one cell, {p: [...]}, {q: [...]} or {j: [...]}, one number per axis; without a cell all of them.
function connectionsOf(geometry, cell = {}) {
  const [role, at] = Object.entries(cell)[0] ?? [];
  let found = [{ p: [], q: [], j: [] }];
  geometry.axes.forEach((axis, i) => {
    const here = triples(axis).filter((each) => role === undefined || each[role] === at[i]);
    found = found.flatMap(({ p, q, j }) => here.map((c) => ({ p: [...p, c.p], q: [...q, c.q], j: [...j, c.j] })));
  });
  return found;
}

const inside = (geometry, j) => j.every((at, i) => 0 <= at && at < geometry.axes[i].n);

// Which inputs of an axis a window reads.
function readInputs(axis) {
  axis.read ??= new Set(triples(axis).map(({ j }) => j));
  return axis.read;
}

// ---------------------------------------------------------------------------------------------- the three views

// What is computed, what slides, and over what; of the forward map y, of dx and of dw.
const ROLES = { y: ["p", "q", "j"], dx: ["j", "q", "p"], dw: ["q", "p", "j"] };

// The map that a view shows: a transposed convolution is its adjoint's dx, and the other way round.
const mapOf = (view, transposed) => (transposed ? { y: "dx", dx: "y", dw: "dw" } : { y: "y", dx: "dx", dw: "dw" })[view];

// The array of a role, which gives the colour, and its name in a view.
function nameOf(role, view, transposed) {
  const array = role === "q" ? "w" : (role === "j") === transposed ? "y" : "x";
  const computed = ROLES[mapOf(view, transposed)][0] === role;
  const name = computed ? view : array === "y" ? (view === "y" ? "y" : "g") : array;
  return { array, name };
}

// Of one axis in a view: result r meets through slider cell i the ground position a·r + b·i + c.
function motion(axis, map) {
  const { n, k, s, d, lo, hi, m } = axis;
  const read = readInputs(axis);
  const input = (u) => (u < 0 || u >= n ? "padding" : read.has(u) ? "plain" : "unread");
  const stretched = (u) => (u < 0 || u > s * (m - 1) ? "padding" : u % s ? "zero" : "plain");
  const x = { first: Math.min(0, -lo), last: Math.max(n, n + hi) - 1, kind: input, number: (u) => u };
  if (map === "y") return { a: s, b: d, c: -lo, count: k, results: m, ...x };
  if (map === "dw") return { a: d, b: s, c: -lo, count: m, results: k, ...x };
  const [first, last] = [Math.min(0, lo - d * (k - 1)), Math.max(s * (m - 1), n - 1 + lo)];
  const unread = (j) => !read.has(j);
  return { a: 1, b: -d, c: lo, count: k, results: n, first, last, kind: stretched, number: (u) => u / s, unread };
}
