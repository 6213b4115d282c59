// One of the views y, dx and dw, on one or two axes: what is computed above (or at the right), what slides, what it
// slides over. All three views are one movement: result r meets through slider cell i the ground cell a·r + b·i + c.
"use strict";

const HIGH = 1.8; // from one row of a one-axis picture to the next, in cells
const LETTERS = { p: "m", q: "k", j: "n" }; // the size of the array of a role

class Picture extends Pointing {
  constructor(host, geometry, view, changed) {
    super(host, changed);
    Object.assign(this, { geometry, view });
    this.map = mapOf(view, geometry.transposed);
    this.roles = ROLES[this.map];
    this.names = this.roles.map((role) => nameOf(role, view, geometry.transposed));
    this.motions = geometry.axes.map((axis) => motion(axis, this.map));
    this.results = this.motions.map(({ results }) => results);
    this.count = this.results.reduce((a, b) => a * b, 1);
    host.className = geometry.axes.length === 1 ? "picture one" : "picture two";
    if (geometry.axes.length === 1) this.drawOne();
    else this.drawTwo();
    for (const element of host.querySelectorAll("svg")) this.listen(element);
    this.show(0, 0);
  }

  // Rows or columns of a grid, for one axis.
  line(which, axis, compact) {
    const { a, b, c, count, results, first, last, kind, number, unread } = this.motions[axis];
    if (which === 2) {
      const label = (u) => (this.map !== "dx" || kind(u) === "plain" ? number(u) : undefined);
      return range(first, last + 1).map((u) => ({ at: u, label: label(u), kind: kind(u) }));
    }
    if (which === 1) return range(count).map((i) => ({ at: compact ? i : b * i, label: i, kind: "plain" }));
    const middle = (b * (count - 1)) / 2 + c;
    return range(results).map((r) => ({ at: compact ? r : a * r + middle, label: r, kind: unread?.(r) ? "unread" : "plain" }));
  }

  grid(parent, which, rows, columns, options = {}) {
    const { array, name } = this.names[which];
    const padded = [rows, columns].some((line) => line.some(({ kind }) => kind === "padding"));
    const sizes = this.geometry.axes.map((axis) => axis[LETTERS[this.roles[which]]]).join(" by ");
    const label = `cells of ${name}, ${sizes}${padded ? " and padding" : ""}; arrow keys point at one`;
    const grid = new Grid(parent, { rows, columns, array, role: this.roles[which], label, ...options });
    Object.assign(grid, { which, picture: this });
    this.grids.push(grid);
    return grid;
  }

  // ---------------------------------------------------------------------------------------------- one axis

  drawOne() {
    const lines = range(3).map((which) => this.line(which, 0, false));
    const places = [...lines[0], ...lines[2]].map(({ at }) => at);
    const [left, right] = [Math.min(...places) - 2, Math.max(...places) + 0.7];
    const widest = clamp(1100 / (right - left), 24, 52);
    const box = [left, -0.75, right, 2 * HIGH + 0.75];
    const element = drawing(this.host, box, { widest, least: 22, label: `rows of ${this.names.map(({ name }) => name).join(", ")}, one below the other` });
    [0, HIGH, 2 * HIGH].forEach((y, which) => {
      const text = svg("text", { x: (left + 0.5) * CELL, y: y * CELL, class: `row ${this.names[which].array}` }, element);
      text.textContent = this.names[which].name;
    });
    const row = (y) => [{ at: y, kind: "plain" }];
    this.ground = this.grid(element, 2, row(2 * HIGH), lines[2]);
    this.result = this.grid(element, 0, row(0), lines[0]);
    this.comb = svg("g", { class: "comb" }, element);
    this.teeth(lines[1]);
    this.slider = this.grid(this.comb, 1, row(HIGH), lines[1]);
    this.links = svg("g", { class: "links" }, element);
  }

  // From the result to each slider cell, and from that down: the same for every result, so it moves as one.
  teeth(cells) {
    const middle = ((cells.at(-1).at + cells[0].at) / 2) * CELL;
    svg("rect", { class: "ring", x: middle - 19, y: -19, width: 38, height: 38, rx: 8 }, this.comb);
    const [above, below] = [HIGH * CELL - 18, HIGH * CELL + 18];
    this.tooth = cells.map(({ at }) => {
      const x = at * CELL;
      const d = `M${middle} 19C${middle} ${above - 20} ${x} ${above - 30} ${x} ${above}M${x} ${below}V${2 * HIGH * CELL - 18}`;
      return svg("path", { class: "tooth", d }, this.comb);
    });
  }

  // ---------------------------------------------------------------------------------------------- two axes

  drawTwo() {
    const both = (which, compact) => [0, 1].map((axis) => this.line(which, axis, compact));
    const words = [["computed", 0], ["slides", 1], ["below", 2]];
    const parts = Object.fromEntries(words.map(([key, which]) => [key, this.figure(which)]));
    const [below, computed, slides] = [both(2), both(0, true), both(1, true)];
    const beside = Math.max(computed[1].length, slides[1].length);
    const scale = clamp(780 / (below[1].length + beside + 5), 11, 36);
    const draw = (key, which, [rows, columns], widest) => {
      const box = [columns[0].at - 1.4, rows[0].at - 1.4, columns.at(-1).at + 0.7, rows.at(-1).at + 0.7];
      const least = Math.min(widest, 300 / (columns.length + 2));
      const element = drawing(parts[key], box, { widest, least, label: this.names[which].name });
      return [element, this.grid(element, which, rows, columns, { written: "beside" })];
    };
    let element;
    [element, this.ground] = draw("below", 2, below, scale);
    [, this.result] = draw("computed", 0, computed, scale);
    this.result.box.classList.add("result");
    [, this.slider] = draw("slides", 1, slides, clamp(180 / (slides[1].length + 2), scale, 26));
    this.ring = svg("g", { class: "ring" }, this.result.box.ownerSVGElement);
    svg("rect", { x: -19, y: -19, width: 38, height: 38, rx: 8 }, this.ring);
    this.ringWords = svg("text", {}, this.ring);
    this.ringWords.style.display = scale < 20 ? "none" : "";
    this.comb = svg("g", { class: "comb" }, element);
    this.overlay(both(1, false));
    const side = html("div", { class: "side-grids" });
    side.append(parts.computed, parts.slides);
    this.host.append(parts.below, side);
  }

  figure(which) {
    const { array, name } = this.names[which];
    const sizes = this.motions.map((m) => [m.results, m.count, m.last - m.first + 1][which]);
    const padded = which === 2 && sizes.some((size, i) => size !== this.geometry.axes[i][this.roles[2] === "j" ? "n" : "m"]);
    const how = (which === 2 && this.map === "dx" ? ", stretched and padded" : padded ? ", padded" : "") + (which === 2 ? ", rows × columns" : "");
    return html("figure", {}, html("figcaption", {}, html("span", { class: `name ${array}` }, name), `${how}: ${sizes.join(" × ")}`));
  }

  // The slider's cells, as small tiles upon the ground.
  overlay([rows, columns]) {
    const ends = [rows, columns].map((line) => [line[0].at, line.at(-1).at].sort((a, b) => a - b));
    const [[top, bottom], [left, right]] = ends;
    const frame = { x: (left - 0.5) * CELL, y: (top - 0.5) * CELL, width: (right - left + 1) * CELL, height: (bottom - top + 1) * CELL };
    svg("rect", { class: `frame ${this.names[1].array}`, ...frame, rx: 6 }, this.comb);
    const written = rows.length * columns.length <= 49 && this.motions[1].last - this.motions[1].first < 20;
    const options = { written: written ? "inside" : "none", small: true };
    this.tiles = this.grid(this.comb, 1, rows, columns, options);
    this.tiles.box.removeAttribute("tabindex");
    this.tiles.box.removeAttribute("role");
    this.tiles.box.setAttribute("aria-hidden", "true");
  }

  // ------------------------------------------------------------------------------------------- a result, a cell

  // The position of result number `at`, one number per axis.
  position(at) {
    return this.results.length === 1 ? [at] : [Math.floor(at / this.results[1]), at % this.results[1]];
  }

  cell(position) {
    return position.length === 1 ? [0, position[0]] : position;
  }

  // Ground positions (u per axis) to cells, those that are drawn.
  groundCells(positions) {
    const cells = positions.map((position) => position.map((u, axis) => u - this.motions[axis].first));
    const there = (cell) => cell.every((at, axis) => at >= 0 && at <= this.motions[axis].last - this.motions[axis].first);
    return cells.filter(there).map((cell) => this.cell(cell));
  }

  // Show result number `at`; the movement takes so many milliseconds.
  show(at, duration) {
    const before = this.at;
    this.at = clamp(at, 0, this.count - 1);
    const position = this.position(this.at);
    const wraps = this.results.length === 2 && position[0] !== this.position(before)[0] && Math.abs(at - before) === 1;
    const moves = this.motions.map(({ a, c }, axis) => (a * position[axis] + c) * CELL);
    const [x, y] = moves.length === 1 ? [moves[0], 0] : [moves[1], moves[0]];
    this.move(this.comb, x, y, wraps ? 0 : duration);
    if (this.ring) {
      this.move(this.ring, position[1] * CELL, position[0] * CELL, wraps ? 0 : duration);
      this.ringWords.textContent = positionWords(position);
    } else this.follow(this.slider.columns.map(({ at }) => at * CELL + moves[0]), duration);
    const met = range(this.motions[0].count).map((i) => this.below(0, position, i));
    const columns = this.motions[1] ? range(this.motions[1].count).map((i) => this.below(1, position, i)) : null;
    const pairs = columns ? met.flatMap((u) => columns.map((v) => [u, v])) : met.map((u) => [u]);
    const real = pairs.map((pair) => pair.every((u, i) => ["plain", "unread"].includes(this.motions[i].kind(u))));
    this.ground.mark("now", this.groundCells(pairs.filter((_, i) => real[i])));
    this.result.mark("done", range(this.at + 1).map((r) => this.cell(this.position(r))));
    this.result.mark("now", [this.cell(position)]);
    this.markVoid(real);
    this.say();
  }

  below(axis, position, i) {
    const { a, b, c } = this.motions[axis];
    return a * position[axis] + b * i + c;
  }

  // Slider cells that a zero lies below are dashed.
  markVoid(real) {
    const pale = real.map((is) => !is);
    const wide = this.motions[1]?.count ?? this.motions[0].count;
    const cell = (i) => (this.motions[1] ? [Math.floor(i / wide), i % wide] : [0, i]);
    const cells = (is) => real.flatMap((each, i) => (each === is ? [cell(i)] : []));
    (this.tiles ?? this.slider).mark("void", cells(false));
    if (this.tiles) this.slider.mark("now", cells(true));
    this.tooth?.forEach((path, i) => path.classList.toggle("pale", pale[i]));
  }

  move(element, x, y, duration) {
    element.style.transitionDuration = `${duration}ms`;
    element.style.transform = `translate(${x}px, ${y}px)`;
  }

  // ------------------------------------------------------------------------------------------------ pointing

  // The role's position of a cell, one number per axis; null where none is: a zero between two numbers.
  positionOf(grid, cell) {
    const at = this.results.length === 1 ? [cell[1]] : cell;
    if (grid.which !== 2) return at;
    const ground = at.map((each, axis) => each + this.motions[axis].first);
    if (this.map !== "dx") return ground;
    const real = ground.every((u, axis) => this.motions[axis].kind(u) === "plain");
    return real ? ground.map((u, axis) => this.motions[axis].number(u)) : null;
  }

  words() {
    return sumWords(this, this.position(this.at));
  }

  // Light what a cell reads or goes into in the other arrays; in words.
  pointAt(grid, cell) {
    const position = this.positionOf(grid, cell);
    this.nameCell(grid, cell, position);
    if (!position) {
      this.light([]);
      grid.mark("lit", [cell]);
      return ["a zero: it stands where the stride steps over, or in the padding"];
    }
    this.light(connectionsOf(this.geometry, { [grid.role]: position }).filter((c) => inside(this.geometry, c.j)));
    grid.mark("lit", [cell]);
    return meetsWords(this, grid.role, position);
  }

  // On two axes, where numbers stand beside the cells: that of the cell that is pointed at, in it.
  nameCell(grid, cell, position) {
    this.own?.remove();
    const element = grid.box.ownerSVGElement;
    if (!this.motions[1] || !position || element.classList.contains("dense")) return;
    const [x, y] = grid.center(cell);
    this.own = svg("text", { x, y, class: "own" }, element);
    this.own.textContent = positionWords(position);
  }

  light(found) {
    for (const grid of this.grids) {
      const positions = [...new Map(found.map((c) => [positionWords(c[grid.role]), c[grid.role]])).values()];
      const scale = (position) => (this.map === "dx" ? position.map((p, axis) => p * this.geometry.axes[axis].s) : position);
      grid.mark("lit", grid.which === 2 ? this.groundCells(positions.map(scale)) : positions.map((p) => this.cell(p)));
    }
    if (this.links) this.link(found);
  }

  // From each result to what it reads; on the line the slider cell through which: the window itself stands elsewhere.
  link(found) {
    this.links.replaceChildren();
    const taps = svg("g", { class: `taps ${this.names[1].array}` });
    for (const c of found) {
      const [a] = this.result.center([0, c[this.roles[0]][0]]);
      const u = c[this.roles[2]][0] * (this.map === "dx" ? this.geometry.axes[0].s : 1);
      const [b] = this.ground.center(this.groundCells([[u]])[0]);
      const bottom = 2 * HIGH * CELL - 18;
      svg("path", { class: "link", d: `M${a} 19C${a} ${bottom * 0.45} ${b} ${bottom * 0.55} ${b} ${bottom}` }, this.links);
      const [x, y] = [(a + b) / 2, HIGH * CELL];
      svg("circle", { cx: x, cy: y, r: 9.5 }, taps);
      svg("text", { x, y }, taps).textContent = c[this.roles[1]][0];
    }
    this.links.append(taps);
  }

  // The number of a result that was pressed.
  numberOf([i, j]) {
    return this.results.length === 1 ? j : i * this.results[1] + j;
  }

  // The result whose window lies nearest to a pointer.
  nearest(event, element) {
    if (this.motions[1] && element !== this.ground.box.ownerSVGElement) return null;
    const [x, y] = pointIn(element, event).map((at) => at / CELL);
    const along = this.motions.map(({ a, b, c, count, results }, axis) => {
      const at = this.motions.length === 1 || axis === 1 ? x : y;
      return clamp(Math.round((at - c - (b * (count - 1)) / 2) / a), 0, results - 1);
    });
    return along.length === 1 ? along[0] : along[0] * this.results[1] + along[1];
  }
}

// The axis on which a window is wider than the padded input, and that picture: it sticks out.
function misfit(state) {
  const wide = ({ n, k, d, lo, hi }) => window_size(k, d) > n + lo + hi;
  const axes = range(state.axes).map((i) => {
    const [lo, hi] = paddingOf(state, i);
    return { n: state.n[i], k: state.k[i], s: state.s[i], d: state.d[i], lo, hi };
  });
  return state.t || state.s.includes(0) || state.d.includes(0) ? null : axes.find(wide) ?? null;
}

function drawMisfit(host, axis) {
  host.replaceChildren();
  host.className = "picture one misfit";
  if (!axis) return;
  const { n, k, d, lo, hi } = axis;
  const last = Math.max(n + Math.max(hi, 0) - 1, -lo + d * (k - 1));
  const box = [Math.min(0, -lo) - 2, -0.75, last + 0.8, HIGH + 0.75];
  const widest = clamp(1100 / (box[2] - box[0]), 24, 52);
  const element = drawing(host, box, { widest, least: 20, label: "the window sticks out" });
  const cut = (j) => j < -lo || j >= n + hi;
  const kind = (j) => (j < 0 || j >= n ? "padding" : cut(j) ? "unread" : "plain");
  const ground = range(Math.min(0, -lo), Math.max(n, n + hi)).map((j) => ({ at: j, label: j, kind: kind(j) }));
  const row = (y, name) => {
    svg("text", { x: (box[0] + 0.5) * CELL, y: y * CELL, class: `row ${name}` }, element).textContent = name;
    return { rows: [{ at: y, kind: "plain" }], array: name, label: `cells of ${name}` };
  };
  if (ground.length) new Grid(element, { ...row(HIGH, "x"), columns: ground });
  const taps = range(k).map((q) => ({ at: d * q - lo, label: q, kind: "plain", out: cut(d * q - lo) }));
  for (const out of [false, true]) {
    const columns = taps.filter((tap) => tap.out === out);
    const comb = svg("g", { class: "comb" }, element);
    if (columns.length) new Grid(comb, { ...row(0, "w"), columns, array: out ? "misfit" : "w" });
  }
}
