// What stands below the picture: the sum of the cell that is computed, or what the cell that is pointed at meets.
"use strict";

const TERMS = 6; // of a sum that are written out

const entry = ({ array, name }, at) => html("span", { class: `name ${array}` }, `${name}[${positionWords(at)}]`);

// The cell's sum: products of what slides and what lies below; into the padding a zero.
function sumWords(picture, at) {
  const { geometry, roles, names, map } = picture;
  const found = connectionsOf(geometry, { [roles[0]]: at }).filter((c) => map !== "dx" || inside(geometry, c.j));
  const parts = [entry(names[0], at), " = "];
  found.slice(0, TERMS).forEach((c, i) => {
    const padding = roles[2] === "j" && !inside(geometry, c.j);
    const below = padding ? html("span", { class: "quiet" }, "0") : entry(names[2], c[roles[2]]);
    parts.push(i ? " + " : "", entry(names[1], c[roles[1]]), "·", below);
  });
  if (!found.length) parts.push("0: no window reads it");
  if (found.length > TERMS) parts.push(` + ${found.length - TERMS} more`);
  const zeros = found.filter((c) => !inside(geometry, c.j)).length;
  if (zeros) parts.push(html("span", { class: "quiet" }, ` (${zeros} of ${found.length} meet padding, a zero)`));
  const channels = { y: geometry.w[1], dx: geometry.w[0] / geometry.groups, dw: 1 }[map];
  if (channels > 1) parts.push(html("span", { class: "quiet" }, ` (each product summed over ${channels} channels)`));
  return parts;
}

// What a cell meets, in a sentence.
function meetsWords(picture, role, at) {
  const { geometry, roles, names } = picture;
  const of = Object.fromEntries(roles.map((each, i) => [each, names[i]]));
  const found = connectionsOf(geometry, { [role]: at });
  if (role === "j" && !inside(geometry, at)) return [`position ${positionWords(at)} is padding: a zero`];
  const real = found.filter((c) => inside(geometry, c.j));
  if (!real.length) {
    const why = role === "j" ? " is read by no window: nothing depends on it, its gradient is 0" : " meets padding alone";
    return [entry(of[role], at), why];
  }
  const [other, link, word] = { j: ["p", "q", "through"], p: ["j", "q", "through"], q: ["j", "p", "for"] }[role];
  const parts = [entry(of[role], at), " meets "];
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
  const stretched = gaps === "0" ? "" : `, stretched by the stride (${gaps} zero${gaps === "1" ? "" : "s"} between),`;
  const map = mapOf(view, geometry.transposed);
  const g = geometry.transposed && view === "y" ? "x" : "g";
  if (map === "y") {
    const of = geometry.transposed ? "The gradient of a transposed convolution is a plain one: each dx" : "Each y";
    const over = geometry.transposed ? "g" : "x";
    return `${of} is a sum over one window of ${over}, weighed by w. The window moves by the stride, ${s}; its taps lie ${d} apart, the dilation.`;
  }
  if (map === "dx") {
    const start = view === "y" ? "y is a convolution of x" : "dx is a convolution of g";
    return `${start}${stretched} with the kernel turned around. It moves 1 position from one to the next, whatever the stride; its taps lie ${d} apart.`;
  }
  const [x, slides] = geometry.transposed ? ["g", "x"] : ["x", "g"];
  return `dw is a convolution of ${x} with ${slides} as its kernel${stretched.replace(/,$/, "") || ", as it is"}. From one tap of dw to the next it moves by the dilation, ${d}.`;
}
