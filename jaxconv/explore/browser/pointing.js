// What pictures have in common: a cell that is pointed at lights what it meets, a drag moves what is computed.
"use strict";

class Pointing {
  constructor(host, changed) {
    Object.assign(this, { host, changed, grids: [], at: 0, probed: null });
    host.replaceChildren();
  }

  say() {
    if (!this.probed) this.changed(this.words());
  }

  probe(grid, cell) {
    const key = `${this.grids.indexOf(grid)} ${cell}`;
    if (this.probed === key) return;
    this.probed = key;
    this.host.classList.add("probing");
    this.host.classList.toggle("on-slider", grid === this.slider);
    const words = this.pointAt(grid, cell);
    const heard = words.map((part) => part.textContent ?? part).join("");
    grid.box.setAttribute("aria-valuetext", heard);
    this.changed(words);
  }

  // Nothing is pointed at any more; of a grid: unless what is pointed at is in another one.
  unprobe(grid) {
    if (!this.probed || (grid && !this.probed.startsWith(`${this.grids.indexOf(grid)} `))) return;
    this.probed = null;
    this.host.classList.remove("probing");
    for (const grid of this.grids) grid.mark("lit", []);
    this.links?.replaceChildren();
    this.own?.remove();
    this.say();
  }

  // Where the picture is wider than its place, cells at these x, in units of the drawing, stay in sight.
  follow(places, duration) {
    const place = this.host.parentElement;
    if (place.scrollWidth <= place.clientWidth + 1) return;
    const element = this.result.box.ownerSVGElement;
    const scale = element.getBoundingClientRect().width / element.viewBox.baseVal.width;
    const ends = [Math.min(...places) - CELL, Math.max(...places) + CELL];
    const [left, right] = ends.map((x) => (x - element.viewBox.baseVal.x) * scale);
    const wide = place.clientWidth;
    const to = right - left > wide ? (left + right - wide) / 2 : clamp(place.scrollLeft, right - wide, left);
    if (to !== place.scrollLeft) place.scrollTo({ left: to, behavior: duration ? "smooth" : "instant" });
  }

  hit(event, element) {
    for (const grid of [...this.grids].reverse()) {
      if (grid.box.ownerSVGElement !== element || grid === this.tiles) continue;
      const cell = grid.cellAt(...pointIn(grid.box, event));
      if (cell) return [grid, cell];
    }
    return null;
  }

  listen(element) {
    let from = null;
    const drag = (event) => {
      const at = this.nearest(event, element);
      if (at !== null) this.host.dispatchEvent(new CustomEvent("goto", { detail: at }));
    };
    element.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      const found = this.hit(event, element);
      if (found?.[0] === this.result) {
        if (event.pointerType === "touch") this.unprobe();
        this.host.dispatchEvent(new CustomEvent("goto", { detail: this.numberOf(found[1]) }));
      } else if (event.pointerType === "touch" && found) this.probe(...found);
    });
    element.addEventListener("pointermove", (event) => {
      const far = from && Math.hypot(event.clientX - from[0], event.clientY - from[1]) > 5;
      if (event.buttons && far) {
        this.unprobe();
        element.setPointerCapture(event.pointerId);
        drag(event);
      } else if (!event.buttons && event.pointerType !== "touch") {
        const found = this.hit(event, element);
        if (found) this.probe(...found);
        else this.unprobe();
      }
    });
    element.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && this.unprobe());
  }
}

// The keyboard points, too: arrow keys move from cell to cell of the grid that has the focus.
function pointByKeys(event) {
  const { grid } = event.target;
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!grid || !step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const flat = grid.rows.length === 1 ? [0, step[1] || -step[0]] : step;
  const [i, j] = grid.pointed ?? [0, 0];
  const to = grid.pointed ? flat : [0, 0];
  grid.point([clamp(i + to[0], 0, grid.rows.length - 1), clamp(j + to[1], 0, grid.columns.length - 1)]);
  grid.box.setAttribute("aria-valuenow", grid.pointed[0] * grid.columns.length + grid.pointed[1]);
  grid.picture.probe(grid, grid.pointed);
}
