// The receptive field of a small stack of layers, on one axis: layer above layer, and the cone below one output.
"use strict";

const LEVEL = 1.9; // from one row to the next, in cells

// The sizes after each layer, and what its outputs read: output p reads the inputs start + p·stride … + size − 1.
function stackOf(state) {
  const levels = [{ size: state.n[0], field: { size: 1, stride: 1, start: 0 } }];
  state.layers.forEach((layer, i) => {
    const below = levels.at(-1);
    const { k, s, d, lo, hi } = layer;
    require_fit(`receptive_field, layers[${i}]`, 0, below.size, k, lo, hi, d);
    const { size, stride, start } = below.field;
    const field = { start: start - stride * lo, size: size + stride * d * (k - 1), stride: stride * s };
    levels.push({ size: axis_output(below.size, k, s, lo, hi, d), field, layer, below: below.field });
  });
  return { levels, layers: state.layers };
}

const hullOf = ({ size, stride, start }, p) => [start + p * stride, start + p * stride + size - 1];
const hullWords = (first, last) => [html("span", { class: "name x" }, first === last ? `x[${signed(first)}]` : `x[${signed(first)} … ${signed(last)}]`)];
const layerReads = ({ k, s, lo, d }, p) => reads([false, k, s, lo, d], p);

class StackPicture extends Pointing {
  constructor(host, stack, changed) {
    super(host, changed);
    Object.assign(this, { ...stack, map: "stack" });
    this.count = this.levels.at(-1).size;
    this.names = [{ array: "y", name: "y" }];
    host.className = "picture one stack";
    this.drawLevels();
    this.listen(host.querySelector("svg"));
    this.show(0);
  }

  drawLevels() {
    const top = this.levels.length - 1;
    const rows = this.levels.map((level, l) => this.cells(level, l));
    const places = rows.flat().map(({ at }) => at);
    const [left, right] = [Math.min(...places) - 2.4, Math.max(...places) + 0.7];
    const widest = clamp(1100 / (right - left), 22, 46);
    const box = [left, -0.7, right, LEVEL * top + 0.7];
    const element = drawing(this.host, box, { widest, least: 20, label: "rows of the layers, the input below, the output above" });
    this.cone = svg("path", { class: "cone" }, element);
    this.links = svg("g", { class: "links" }, element);
    rows.forEach((columns, l) => {
      const [y, array] = [LEVEL * (top - l), this.arrayOf(l)];
      svg("text", { x: (left + 0.8) * CELL, y: y * CELL, class: `row ${array}` }, element).textContent = this.nameOf(l);
      const label = `cells of ${this.nameOf(l)}, ${this.levels[l].size}; arrow keys point at one`;
      const grid = new Grid(element, { rows: [{ at: y, kind: "plain" }], columns, array, label });
      Object.assign(grid, { level: l, picture: this, first: columns[0].label });
      this.grids.push(grid);
    });
    this.result = this.grids.at(-1);
  }

  arrayOf(l) {
    return l === 0 ? "x" : l === this.levels.length - 1 ? "y" : "inner";
  }

  nameOf(l) {
    return l === 0 ? "x" : l === this.levels.length - 1 ? "y" : `h${"₀₁₂₃₄₅₆"[l]}`;
  }

  // A cell stands over the middle of what it reads of the input; the padding of the layer above is part of its row.
  cells({ size, field }, l) {
    const above = this.layers[l] ?? { lo: 0, hi: 0 };
    const read = new Set(this.levels[l + 1] ? range(this.levels[l + 1].size).flatMap((p) => layerReads(above, p)) : range(size));
    const kind = (p) => (p < 0 || p >= size ? "padding" : read.has(p) ? "plain" : "unread");
    const numbers = range(Math.min(0, -above.lo), Math.max(size, size + above.hi));
    return numbers.map((p) => ({ at: field.start + p * field.stride + (field.size - 1) / 2, label: p, kind: kind(p) }));
  }

  // What output p of level l reads below, level by level; padding reads nothing further down.
  below(l, p) {
    const sets = range(this.levels.length).map(() => new Set());
    sets[l].add(p);
    for (let at = l; at > 0; at -= 1) {
      for (const each of sets[at]) {
        if (each < 0 || each >= this.levels[at].size) continue;
        for (const j of layerReads(this.layers[at - 1], each)) sets[at - 1].add(j);
      }
    }
    return sets;
  }

  // What reads cell p of level l, level by level upwards.
  above(l, p) {
    const sets = range(this.levels.length).map(() => new Set());
    sets[l].add(p);
    for (let at = l; at < this.layers.length; at += 1) {
      for (const out of range(this.levels[at + 1].size)) {
        if (layerReads(this.layers[at], out).some((j) => sets[at].has(j))) sets[at + 1].add(out);
      }
    }
    return sets;
  }

  place(l, p) {
    return this.grids[l].center([0, p - this.grids[l].first]);
  }

  lines(sets) {
    let d = "";
    for (const l of range(1, this.levels.length)) {
      for (const p of sets[l]) {
        if (p < 0 || p >= this.levels[l].size) continue;
        const [a, y] = this.place(l, p);
        for (const j of layerReads(this.layers[l - 1], p)) {
          if (!sets[l - 1].has(j)) continue;
          const [b, z] = this.place(l - 1, j);
          d += `M${a} ${y + 18}L${b} ${z - 18}`;
        }
      }
    }
    return d;
  }

  show(at, duration) {
    this.at = clamp(at, 0, this.count - 1);
    const sets = this.below(this.levels.length - 1, this.at);
    sets.forEach((set, l) => {
      const cells = [...set].map((p) => [0, p - this.grids[l].first]);
      const real = ([, i]) => this.grids[l].columns[i].kind !== "padding";
      this.grids[l].mark("now", cells.filter(real));
      this.grids[l].mark("done", cells.filter((cell) => !real(cell)));
    });
    this.cone.setAttribute("d", this.lines(sets));
    const read = [...sets[0]].map((p) => this.place(0, p)[0]);
    this.follow([this.place(this.levels.length - 1, this.at)[0], ...read], duration);
    this.say();
  }

  words() {
    const { field } = this.levels.at(-1);
    const [first, last] = hullOf(field, this.at);
    const n = this.levels[0].size;
    const [least, most] = [Math.max(first, 0), Math.min(last, n - 1)];
    const there = least > most ? ", none of which exists" : least > first || most < last ? [", of which ", ...hullWords(least, most), " exist"] : "";
    const sum = `${signed(field.start)} + ${this.at}·${field.stride}`;
    const begins = html("span", { class: "quiet" }, ` It begins at start + ${this.at}·stride = ${sum} = ${signed(first)}.`);
    return [entry({ array: "y", name: "y" }, [this.at]), " has the receptive field ", ...hullWords(first, last), `, ${field.size} position${field.size === 1 ? "" : "s"}`, ...[there].flat(), ".", begins];
  }

  pointAt(grid, [, i]) {
    const [l, p] = [grid.level, i + grid.first];
    const [down, up] = [this.below(l, p), this.above(l, p)];
    this.grids.forEach((each, at) => each.mark("lit", [...new Set([...down[at], ...up[at]])].map((q) => [0, q - each.first])));
    svg("path", { class: "link", d: this.lines(down) + this.lines(up) }, (this.links.replaceChildren(), this.links));
    const name = entry({ array: this.arrayOf(l), name: this.nameOf(l) }, [p]);
    const outputs = [...up.at(-1)];
    if (p < 0 || p >= this.levels[l].size) return [name, " is padding: a zero"];
    const parts = [name];
    if (l > 0) parts.push(" has the receptive field ", ...hullWords(...hullOf(this.levels[l].field, p)));
    if (l === this.levels.length - 1) return parts;
    return [...parts, l > 0 ? ", and" : "", outputs.length ? ` reaches y[${listWords(outputs)}]` : " reaches no output"];
  }

  position(at) {
    return [at];
  }

  numberOf([, i]) {
    return i;
  }

  nearest(event, element) {
    const [x] = pointIn(element, event);
    const { field } = this.levels.at(-1);
    return clamp(Math.round((x / CELL - field.start - (field.size - 1) / 2) / field.stride), 0, this.count - 1);
  }
}

// -------------------------------------------------------------------------------------- what stands beside it

function stackCard(host, { levels }) {
  const table = html("table", { class: "fields" });
  const row = (tag, cells) => html("tr", {}, ...cells.map((cell) => html(tag, {}, cell)));
  const above = html("tr", {}, html("th"), html("th"), html("th", { colspan: "3", scope: "colgroup" }, "receptive field"));
  table.append(html("thead", {}, above, row("th", ["", "positions", "size", "stride", "start"])));
  const body = html("tbody");
  levels.forEach(({ size, field }, l) => {
    const name = l === 0 ? "x" : `after layer ${l}`;
    body.append(row("td", [name, size, field.size, field.stride, signed(field.start)]));
  });
  table.append(body);
  const formula = html("div", { class: "formula" });
  const { layer, below, field } = levels.at(-1);
  if (layer) {
    const { k, s, d, lo } = layer;
    formula.append(
      html("div", {}, `size′ = size + stride·d(k − 1) = ${below.size} + ${below.stride}·${d}·(${k} − 1) = `, html("strong", {}, field.size)),
      html("div", {}, `stride′ = stride·s = ${below.stride}·${s} = `, html("strong", {}, field.stride)),
      html("div", {}, `start′ = start − stride·lo = ${signed(below.start)} − ${below.stride}·${inBrackets(lo)} = `, html("strong", {}, signed(field.start))),
    );
  }
  host.replaceChildren(table, html("p", { class: "axis" }, "the field of the last layer's output, from that of its input"), formula);
}

function stackCode({ levels, layers }) {
  const words = layers.map(({ k, s, d, lo, hi }) => {
    const padding = lo === hi ? (lo ? `, padding=${lo}` : "") : `, padding=(${lo}, ${hi})`;
    return `    Window(${k}${s === 1 ? "" : `, stride=${s}`}${padding}${d === 1 ? "" : `, dilation=${d}`}),`;
  });
  const { size, stride, start } = levels.at(-1).field;
  const outcome = `ReceptiveField(size=${size}, stride=${stride}, start=${start})`;
  const shell = layers.map((layer) => `"1 ${layerWords(layer).replace(/(?<=\d)(?=[spd])/g, " ")}"`).join(" ");
  return ["from jaxconv import Window, receptive_field", "", "receptive_field([", ...words, "])", `# ${outcome}`, "", "# in a shell:", `# jaxconv size 1x${levels[0].size} ${shell}`].join("\n");
}

// The controls of the layers. While their number stays, so do the fields: the caret stays where it is.
function layerControls(host, page) {
  const { layers } = page.state;
  if (host.fields?.length !== layers.length) drawLayers(host, page);
  host.fields.forEach((fields, i) => fields.forEach((field) => field.show(layers[i][field.dataset.key])));
}

function drawLayers(host, page) {
  const set = (change) => page.set({ layers: change(page.state.layers) });
  const change = (i, key) => (value) => set((layers) => layers.map((layer, at) => (at === i ? { ...layer, [key]: value } : layer)));
  const count = page.state.layers.length;
  host.fields = [];
  const rows = range(count).map((i) => {
    const box = html("fieldset", { class: "layer" }, html("legend", {}, `layer ${i + 1}${i ? "" : " (reads x)"}`));
    host.fields[i] = [["k", "kernel"], ["s", "stride"], ["d", "dilation"], ["lo", "before"], ["hi", "after"]].map(([key, name]) => {
      const field = stepper(key, `layer ${i + 1}, ${name}`, change(i, key));
      field.dataset.key = key;
      box.append(html("span", { class: "cellbox" }, html("span", {}, name), field));
      return field;
    });
    const remove = html("button", { type: "button", class: "remove", "aria-label": `remove layer ${i + 1}` }, "remove");
    remove.disabled = count === 1;
    remove.addEventListener("click", () => set((layers) => layers.filter((_, at) => at !== i)));
    box.append(remove);
    return box;
  });
  const full = count >= MOST_LAYERS;
  const add = html("button", { type: "button", class: "add", disabled: full }, full ? `Add a layer (${MOST_LAYERS} at most)` : "Add a layer");
  add.addEventListener("click", () => set((layers) => [...layers, { k: 3, s: 1, d: 1, lo: 1, hi: 1 }]));
  host.replaceChildren(add, ...rows.reverse());
}
