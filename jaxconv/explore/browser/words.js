// What stands below the picture: the sum of the cell that is computed, or what the cell that is pointed at meets.
"use strict";

const TERMS = 6; // of a sum that are written out

const entry = ({ array, name }, at) => html("span", { class: `name ${array}` }, `${name}[${positionWords(at)}]`);

// The cell's sum: products of what slides and what lies below; the zeros are counted.
function sumWords(picture, at) {
  const { geometry, roles, names, map } = picture;
  const found = connectionsOf(geometry, { [roles[0]]: at }).filter((c) => inside(geometry, c.j));
  const zeros = picture.motions.reduce((product, { count }) => product * count, 1) - found.length;
  const parts = [entry(names[0], at), " = "];
  found.slice(0, TERMS).forEach((c, i) => {
    parts.push(i ? " + " : "", entry(names[1], c[roles[1]]), "·", entry(names[2], c[roles[2]]));
  });
  if (!found.length) return [...parts, map === "dx" ? "0: no window reads it" : "0: padding alone"];
  if (found.length > TERMS) parts.push(` + ${found.length - TERMS} more`);
  const from = map === "dx" ? "stride and padding" : "the padding";
  if (zeros) parts.push(html("span", { class: "quiet" }, ` + ${zeros} zero${zeros === 1 ? "" : "s"} from ${from}`));
  const channels = { y: geometry.w[1], dx: geometry.w[0] / geometry.groups, dw: 1 }[map];
  if (channels > 1) parts.push(html("span", { class: "quiet" }, ` (each product summed over ${channels} channels)`));
  return parts;
}

// Why no window reads position `at` of the larger array.
function unreadWords(geometry, at) {
  const cut = geometry.axes.findIndex(({ n, lo, hi }, i) => at[i] < -lo || at[i] >= n + hi);
  if (cut < 0) return " is read by no window: nothing depends on it, its gradient is 0";
  const { lo, hi } = geometry.axes[cut];
  return ` is cut off by the padding of ${signed(at[cut] < -lo ? lo : hi)}: nothing depends on it, its gradient is 0`;
}

// What a cell reads or goes into, in a sentence.
function meetsWords(picture, role, at) {
  const { geometry, roles, names } = picture;
  const of = Object.fromEntries(roles.map((each, i) => [each, names[i]]));
  const found = connectionsOf(geometry, { [role]: at });
  if (role === "j" && !inside(geometry, at)) return [`position ${positionWords(at)} is padding: a zero`];
  const real = found.filter((c) => inside(geometry, c.j));
  if (!real.length) {
    return [entry(of[role], at), role === "j" ? unreadWords(geometry, at) : " reads padding alone"];
  }
  const [computed, slides, below] = roles;
  const [verb, other, word, link] = {
    [computed]: [" reads ", below, "through", slides],
    [slides]: [" multiplies ", below, "for", computed],
    [below]: [" goes into ", computed, "through", slides],
  }[role];
  const parts = [entry(of[role], at), verb];
  real.slice(0, TERMS).forEach((c, i) => {
    parts.push(i ? ", " : "", entry(of[other], c[other]), ` ${word} `, entry(of[link], c[link]));
  });
  if (real.length > TERMS) parts.push(` and ${real.length - TERMS} more`);
  return parts;
}

const perAxisWords = (values) => (alike(values) ? `${values[0]}` : values.join(" and "));

// What the picture shows, in two sentences.
function captionWords(geometry, view) {
  const [s, d] = ["s", "d"].map((key) => perAxisWords(geometry.axes.map((axis) => axis[key])));
  const gaps = perAxisWords(geometry.axes.map((axis) => axis.s - 1));
  const isGradient = view === "y" ? "" : " g is the gradient at y, the cotangent.";
  const stretched = gaps === "0" ? "" : `, stretched by the stride (${gaps} zero${gaps === "1" ? "" : "s"} between),`;
  const map = mapOf(view, geometry.transposed);
  const g = geometry.transposed && view === "y" ? "x" : "g";
  if (map === "y") {
    const of = geometry.transposed ? "The gradient of a transposed convolution is a plain one: each dx" : "Each y";
    const over = geometry.transposed ? "g" : "x";
    return `${of} is a sum over one window of ${over}, weighed by w. The window moves by the stride, ${s}; its taps lie ${d} apart, the dilation.${isGradient}`;
  }
  if (map === "dx") {
    const start = view === "y" ? "y is a convolution of x" : "dx is a convolution of g";
    return `${start}${stretched} with the kernel turned around. It moves 1 position from one to the next, whatever the stride; its taps lie ${d} apart.${isGradient}`;
  }
  const [x, slides] = geometry.transposed ? ["g", "x"] : ["x", "g"];
  return `dw is a convolution of ${x} with ${slides} as its kernel, whose cells lie ${s} apart, the stride. From one tap of dw to the next it moves by the dilation, ${d}.${isGradient}`;
}
