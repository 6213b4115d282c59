// Grids of cells as inline SVG: a few paths for all cells of a kind, so that a large input moves as fast as a small one.
"use strict";

const CELL = 40; // of the drawing's own units
const ORDER = ["plain", "unread", "zero", "padding"]; // of two axes the later kind counts

function svg(tag, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.append(element);
  return element;
}

function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const signed = (number) => (number < 0 ? `−${-number}` : `${number}`);
const positionWords = (position) => position.map(signed).join(",");

// Rows and columns are [{at, label, kind}]: where a cell stands, in cells, what is written in it or beside it.
class Grid {
  constructor(parent, { rows, columns, array, role, label, written = "inside", small = false }) {
    Object.assign(this, { rows, columns, role, array });
    this.box = svg("g", { class: `grid ${array}`, tabindex: 0, role: "slider", "aria-label": label }, parent);
    this.box.grid = this;
    const last = rows.length * columns.length - 1;
    for (const [name, value] of [["min", 0], ["max", last], ["now", 0]]) this.box.setAttribute(`aria-value${name}`, value);
    this.size = small ? 0.8 : 0.88;
    const kinds = new Map(ORDER.map((kind) => [kind, []]));
    rows.forEach((row, i) =>
      columns.forEach((column, j) => {
        const kind = ORDER[Math.max(ORDER.indexOf(row.kind), ORDER.indexOf(column.kind))];
        kinds.get(kind).push([i, j]);
      }),
    );
    this.round = rows.length * columns.length <= 400;
    for (const [kind, cells] of kinds) {
      if (cells.length) svg("path", { class: `cell ${kind}`, d: this.path(cells, kind === "zero") }, this.box);
    }
    [this.layers, this.cells] = [{}, {}];
    for (const name of ["done", "void", "now", "lit"]) this.layers[name] = svg("path", { class: name }, this.box);
    [this.texts, this.on] = [new Map(), {}];
    if (written === "inside") this.writeInside();
    else if (written === "beside") this.writeBeside();
    this.spot = svg("path", { class: "spot" }, this.box);
    const [[left, right], [top, bottom]] = [columns, rows].map((line) => [line[0].at, line.at(-1).at].sort((a, b) => a - b));
    const around = { x: (left - 0.58) * CELL, y: (top - 0.58) * CELL, width: (right - left + 1.16) * CELL, height: (bottom - top + 1.16) * CELL };
    svg("rect", { class: "focus", ...around, rx: 9 }, this.box);
  }

  // The cell that the keyboard points at.
  point(cell) {
    this.pointed = cell;
    this.spot.setAttribute("d", this.path([cell]));
  }

  center([i, j]) {
    return [this.columns[j].at * CELL, this.rows[i].at * CELL];
  }

  path(cells, dots = false) {
    const [side, r] = dots ? [6, 3] : [this.size * CELL, this.round ? 6 : 0];
    const straight = side - 2 * r;
    return cells
      .map((cell) => {
        const [x, y] = this.center(cell);
        const start = `M${x - side / 2 + r} ${y - side / 2}`;
        if (!r) return `${start}h${side}v${side}h${-side}z`;
        const turn = (dx, dy) => `a${r} ${r} 0 0 1 ${dx} ${dy}`;
        return `${start}h${straight}${turn(r, r)}v${straight}${turn(-r, r)}h${-straight}${turn(-r, -r)}v${-straight}${turn(r, -r)}z`;
      })
      .join("");
  }

  writeInside() {
    this.rows.forEach((row, i) =>
      this.columns.forEach((column, j) => {
        const words = positionWords([row.label, column.label].filter((label) => label !== undefined));
        if (column.label === undefined) return;
        const [x, y] = this.center([i, j]);
        const kind = column.kind === "plain" ? row.kind : column.kind;
        const text = svg("text", { x, y, class: `number ${kind}` }, this.box);
        text.textContent = words;
        this.texts.set(`${i},${j}`, text);
      }),
    );
  }

  writeBeside() {
    const every = Math.ceil(Math.max(this.rows.length, this.columns.length) / 16);
    const write = (x, y, label, side) => {
      if (label === undefined || label % every) return;
      svg("text", { x, y, class: `tick ${side}` }, this.box).textContent = signed(label);
    };
    this.columns.forEach(({ at, label }) => write(at * CELL, (this.rows[0].at - 0.9) * CELL, label, "top"));
    this.rows.forEach(({ at, label }) => write((this.columns[0].at - 0.65) * CELL, at * CELL, label, "left"));
  }

  // Cells of a layer: done, computed already; void, multiplied by a zero; now, met by what is computed; lit, met by what is pointed at.
  mark(layer, cells) {
    this.cells[layer] = cells;
    this.layers[layer].setAttribute("d", this.path(cells));
    if (!this.texts.size || layer === "done") return;
    const on = new Set(cells.map((cell) => cell.join()));
    for (const key of new Set([...(this.on[layer] ?? []), ...on])) this.texts.get(key)?.classList.toggle(`on-${layer}`, on.has(key));
    this.on[layer] = on;
  }

  // The cell at a point of the drawing, or null.
  cellAt(x, y) {
    const near = (axis, at) => axis.findIndex((each) => Math.abs(each.at - at) <= 0.5);
    const [i, j] = [near(this.rows, y / CELL), near(this.columns, x / CELL)];
    return i < 0 || j < 0 ? null : [i, j];
  }
}

// Where a pointer is, in the units of an element's own drawing.
function pointIn(element, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(element.getScreenCTM().inverse());
  return [point.x, point.y];
}

// A drawing as wide as its cells, which shrinks with the page down to a width that can still be read.
function drawing(parent, [left, top, right, bottom], { widest, least, label }) {
  const [wide, high] = [right - left, bottom - top];
  const box = `${left * CELL} ${top * CELL} ${wide * CELL} ${high * CELL}`;
  const element = svg("svg", { viewBox: box, role: "group", "aria-label": label }, parent);
  element.style.width = `${Math.round(wide * widest)}px`;
  element.style.setProperty("--tick", `${Math.round((11 * CELL) / widest)}px`); // 11 pixels on the screen
  if (widest < 20) element.classList.add("dense");
  element.style.minWidth = `${Math.round(wide * least)}px`;
  return element;
}
