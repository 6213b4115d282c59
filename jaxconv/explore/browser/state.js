// The state of the page, and the address that holds it: what is not as usual, in the words of `jaxconv size`.
"use strict";

const USUAL = {
  tab: "conv", view: "y", axes: 1, n: [9, 9], k: [3, 3], s: [2, 2], d: [1, 1], lo: [1, 1], hi: [1, 1], o: [0, 0],
  pad: "", c: 1, f: 1, g: 1, t: false, at: 0, code: "jaxconv", scale: 1, bias: 0, asked: [],
  layers: [{ k: 3, s: 1, d: 1, lo: 1, hi: 1 }, { k: 3, s: 2, d: 1, lo: 1, hi: 1 }, { k: 3, s: 1, d: 1, lo: 1, hi: 1 }],
};
const VIEWS = ["y", "dx", "dw", "stack"];
const LIBRARIES = ["jaxconv", "lax", "flax", "PyTorch"];

const usual = () => JSON.parse(JSON.stringify(USUAL));
const pairWords = (lo, hi) => (lo === hi ? `${lo}` : `${lo}:${hi}`);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const isNumber = (text) => /^-?\d{1,6}$/.test(text);

// A number within the limits of a control; what is no number is as it was.
function within(name, text, before) {
  const [low, high] = LIMITS[name];
  return isNumber(text) ? clamp(Number(text), low, high) : before;
}

function layerWords({ k, s, d, lo, hi }) {
  return `k${k}${s === 1 ? "" : `s${s}`}${lo || hi ? `p${pairWords(lo, hi)}` : ""}${d === 1 ? "" : `d${d}`}`;
}

function readLayer(text) {
  const layer = { k: 1, s: 1, d: 1, lo: 0, hi: 0 };
  for (const [, letter, value, behind] of text.matchAll(/([ksdp])(-?\d+)(?::(-?\d+))?/g)) {
    if (letter === "p") Object.assign(layer, { lo: within("lo", value, 0), hi: within("hi", behind ?? value, 0) });
    else layer[letter] = Math.max(within(letter, value, 1), 1);
  }
  return layer;
}

// The part of the address behind #.
function addressOf(state) {
  const words = {};
  const put = (key, text, of = "") => {
    if (text !== of) words[key] = text;
  };
  const perAxis = (values) => values.slice(0, state.axes).join("x");
  put("tab", state.tab, "conv");
  if (state.tab === "recurrence") {
    put("scale", String(state.scale));
    put("bias", String(state.bias));
  } else {
    put("view", state.view, "y");
    put("n", perAxis(state.n));
    if (state.view === "stack") put("layers", state.layers.map(layerWords).join(","));
    else {
      for (const key of ["k", "s", "d"]) put(key, perAxis(state[key]));
      put("p", state.pad || range(state.axes).map((i) => pairWords(state.lo[i], state.hi[i])).join("x"));
      if (state.t) put("t", "1");
      if (state.t) put("o", perAxis(state.o), perAxis([0, 0]));
      for (const key of ["c", "f", "g"]) put(key, String(state[key]), "1");
      put("code", state.code, "jaxconv");
    }
    put("at", String(state.at), "0");
  }
  return Object.entries(words).map(([key, text]) => `${key}=${text}`).join("&");
}

function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

// The state of an address, and in `asked` the words of it that cannot be had: what it does not say is as usual, but options that stand alone have their plain values.
function stateOf(address) {
  const state = usual();
  const words = new Map(address.replace(/^#/, "").split("&").map((word) => decoded(word).split("=")));
  const text = (key) => words.get(key) ?? "";
  const got = (key, part, value) => {
    if (part && String(value) !== part) state.asked.push(`${key}=${text(key)}`);
    return value;
  };
  const number = (key, name, part, before) => got(key, part, within(name, part, before));
  const word = (key, known) => (known.includes(text(key)) ? text(key) : got(key, text(key), state[key]));
  const perAxis = (key) => {
    const parts = text(key).split("x");
    return [0, 1].map((axis) => number(key, key, parts[axis] ?? parts[0], state[key][axis]));
  };
  if (text("n")) {
    Object.assign(state, { axes: text("n").includes("x") ? 2 : 1, s: [1, 1], lo: [0, 0], hi: [0, 0] });
  }
  for (const key of ["n", "k", "s", "d", "o"]) state[key] = perAxis(key);
  for (const key of ["c", "f", "g"]) state[key] = number(key, key, text(key), 1);
  if (NAMED.includes(text("p"))) state.pad = text("p");
  else if (text("p")) {
    const pairs = text("p").split("x").map((pair) => pair.split(":"));
    const of = (axis) => pairs[axis] ?? pairs[0];
    state.lo = [0, 1].map((axis) => number("p", "lo", of(axis)[0], 0));
    state.hi = [0, 1].map((axis) => number("p", "hi", of(axis)[1] ?? of(axis)[0], 0));
  }
  state.t = text("t") === "1";
  for (const [key, known] of [["tab", ["conv", "recurrence"]], ["view", VIEWS], ["code", LIBRARIES]]) state[key] = word(key, known);
  if (text("layers")) state.layers = text("layers").split(",").slice(0, MOST_LAYERS).map(readLayer);
  state.at = /^\d{1,6}$/.test(text("at")) ? Number(text("at")) : 0;
  for (const key of ["scale", "bias"]) {
    const asked = Number(text(key) || "x");
    if (Number.isFinite(asked)) state[key] = clamp(asked, ...LIMITS[key]);
    if (text(key) && asked !== state[key]) got(key, text(key), NaN);
  }
  state.asked = [...new Set(state.asked)];
  return state;
}
