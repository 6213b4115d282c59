// The size formula with the numbers put in, and every input size that gives this output.
"use strict";

const inBrackets = (number) => (number < 0 ? `(${signed(number)})` : `${number}`);

function fraction(above, below) {
  const unseen = (text) => html("span", { class: "unseen" }, text); // heard, and copied
  const top = html("span", {}, unseen("("), above, unseen(")/"));
  return html("span", { class: "fraction" }, top, html("span", { class: "over" }, below));
}

const edge = (sign) => html("span", { class: "edge" }, sign);
const floor = (...inner) => html("span", { class: "floor" }, edge("⌊"), ...inner, edge("⌋"));

// m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 of one axis, in letters, in numbers, and what comes.
function forwardLines({ n, k, s, d, lo, hi, m }) {
  const top = n + lo + hi - d * (k - 1) - 1;
  return [
    ["m = ", floor(fraction("n + lo + hi − d(k − 1) − 1", "s")), " + 1"],
    ["= ", floor(fraction(`${n} + ${inBrackets(lo)} + ${inBrackets(hi)} − ${d}·(${k} − 1) − 1`, s)), " + 1"],
    ["= ", floor(fraction(signed(top), s)), " + 1 = ", html("strong", {}, m)],
  ];
}

// The same where it gives no size: the window is wider than what there is.
function misfitLines(axis) {
  const { n, k, s, d, lo, hi } = axis;
  const [there, window] = [n + lo + hi, window_size(k, d)];
  const m = Math.floor((there - window) / s) + 1;
  const lines = forwardLines({ ...axis, m: signed(m) });
  lines.splice(2, 0, ["= ", floor(fraction(`${signed(there)} − ${window}`, s)), " + 1"]);
  const words = `The window covers d(k − 1) + 1 = ${window} positions; there are n + lo + hi = ${signed(there)}.`;
  return [html("div", { class: "formula" }, ...lines.map((line) => html("div", {}, ...line))), html("p", { class: "note" }, words)];
}

function transposedLines({ n, k, s, d, lo, hi, m, e }, same) {
  if (same) return [["n = s·m"], [`= ${s}·${m} = `, html("strong", {}, n)]];
  return [
    ["n = s(m − 1) + d(k − 1) + 1 − lo − hi + o"],
    [`= ${s}·(${m} − 1) + ${d}·(${k} − 1) + 1 − ${inBrackets(lo)} − ${inBrackets(hi)} + ${e}`],
    ["= ", html("strong", {}, n)],
  ];
}

function listWords(numbers) {
  if (numbers.length > 8) return `${numbers[0]} to ${numbers.at(-1)}`;
  return numbers.length < 2 ? numbers.join("") : `${numbers.slice(0, -1).join(", ")} and ${numbers.at(-1)}`;
}

// Remarks below the formula of one axis.
function axisRemarks(axis, geometry, pad) {
  const { n, k, s, d, lo, hi, m } = axis;
  const numbers = axis_inputs(m, k, s, lo, hi, d, geometry.same);
  const one = numbers.length === 1;
  const sizes = `${geometry.transposed ? "Size" : "Input size"}${one ? "" : "s"} ${listWords(numbers)}`;
  const back = `${one ? "is" : numbers.length === 2 ? "are both" : "are all"} made ${m} by conv with these options${one ? "" : ": output padding picks one"}.`;
  const remarks = [`${sizes} ${geometry.transposed ? back : `give${one ? "s" : ""} ${m}.`}`];
  if (pad) remarks.push(`"${pad}" is (${lo}, ${hi}) here.`);
  const unread = range(n).filter((j) => !readInputs(axis).has(j));
  if (unread.length) {
    const are = `${unread.length === 1 ? "" : "s"} ${listWords(unread)} ${unread.length === 1 ? "is" : "are"}`;
    remarks.push(geometry.transposed ? `Output${are} reached by no window: 0.` : `Input${are} read by no window: the gradient there is 0.`);
  }
  if (k > 1) remarks.push(`A window covers d(k − 1) + 1 = ${window_size(k, d)} positions.`);
  return remarks;
}

// The size of what a gradient's view computes, from the sizes of what it is computed from.
function gradientLine({ n, k, s, d, m }, map, slides) {
  if (map === "dx") {
    const [wide, window] = [n + d * (k - 1), window_size(k, d)];
    return [`g, ${s > 1 ? "stretched and " : ""}padded to `, `n + d(k − 1) = ${wide}; windows of d(k − 1) + 1 = ${window}: `, `${wide} − ${window} + 1 = `, html("strong", {}, n)];
  }
  const [wide, window] = [s * (m - 1) + window_size(k, d), s * (m - 1) + 1];
  return [`${slides} as the kernel covers `, `s(m − 1) + 1 = ${window} of the ${wide} positions read; it moves by d: `, `(${wide} − ${window})/${d} + 1 = `, html("strong", {}, k)];
}

function sizeCard(host, state, geometry) {
  host.replaceChildren();
  const told = new Map();
  geometry.axes.forEach((axis, i) => {
    const key = ["n", "k", "s", "d", "lo", "hi", "m"].map((each) => axis[each]).join();
    if (told.has(key)) return told.get(key).push(i);
    return told.set(key, [i]);
  });
  for (const indices of told.values()) {
    const axis = geometry.axes[indices[0]];
    const lines = geometry.transposed ? transposedLines(axis, geometry.same) : forwardLines(axis);
    if (geometry.axes.length > 1) host.append(html("p", { class: "axis" }, indices.length > 1 ? "both axes" : `axis ${indices[0]}, ${["rows", "columns"][indices[0]]}`));
    const formula = html("div", { class: "formula" });
    for (const line of lines) formula.append(html("div", {}, ...line));
    if (state.view !== "y") {
      const map = mapOf(state.view, geometry.transposed);
      const line = map === "y" ? ["as of a plain convolution of g: ", html("strong", {}, axis.m)] : gradientLine(axis, map, geometry.transposed ? "x" : "g");
      formula.prepend(html("div", { class: "lead" }, "size of y, which g has too"));
      formula.append(html("div", { class: "lead" }, `size of ${state.view}`), html("div", {}, ...line));
    }
    host.append(formula, html("ul", { class: "remarks" }, ...axisRemarks(axis, geometry, state.pad).map((text) => html("li", {}, text))));
  }
  const shapes = [["x", geometry.x, "x"], ["w", geometry.w, "w"], ["y", geometry.y, "y"]];
  const words = shapes.flatMap(([name, shape, array], i) => [i ? "  " : "", html("span", { class: `name ${array}` }, name), ` ${str(shape)}`]);
  host.append(html("p", { class: "shapes" }, ...words), html("p", { class: "note" }, "dx has the shape of x, dw that of w."));
}
