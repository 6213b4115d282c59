// The controls: steppers for numbers, segments and a list for words. Each is a native button, field or list, so that a
// keyboard and a screen reader know it.
"use strict";

// A number between two buttons. `set` is told every number within the limits of the name, as soon as it is typed; of
// others a note says the limit, and on leaving the field the nearest number within it counts.
function stepper(name, label, set) {
  const [low, high] = LIMITS[name];
  const field = html("input", { type: "text", inputmode: "numeric", "aria-label": label, size: 3, maxlength: "6" });
  field.setAttribute("role", "spinbutton");
  field.setAttribute("aria-valuemin", low);
  field.setAttribute("aria-valuemax", high);
  const least = ["s", "d", "g"].includes(name) ? 1 : low; // typed they may be 0, which is then an error to be read
  const typed = () => field.value.trim().replace("−", "-");
  const now = () => Number(field.dataset.value);
  const note = html("span", { class: "limit", role: "status" });
  const complain = (words, wrong = words !== "") => {
    note.textContent = words;
    field.setAttribute("aria-invalid", wrong);
    note.classList.toggle("wrong", wrong);
  };
  const beyond = () => (Number(typed()) > high ? `at most ${high}` : Number(typed()) < low ? `at least ${signed(least)}` : "");
  const change = (number) => {
    complain("");
    if (number !== now()) set(number);
    else box.show(number);
  };
  const by = (step) => () => {
    field.value = "";
    change(clamp(now() + step, least, high));
  };
  const [less, more] = ["−", "+"].map((sign, i) => html("button", { type: "button", tabindex: "-1", "aria-label": `${label}, one ${i ? "more" : "less"}` }, sign));
  less.addEventListener("click", by(-1));
  more.addEventListener("click", by(1));
  field.addEventListener("input", () => {
    if (isNumber(typed()) && !beyond()) change(Number(typed()));
    else complain(isNumber(typed()) ? beyond() : /^-?$/.test(typed()) ? "" : "a whole number");
  });
  field.addEventListener("change", () => {
    const words = isNumber(typed()) ? beyond() : "";
    const number = words.startsWith("at least") ? least : within(name, typed(), now());
    field.value = "";
    change(number);
    complain(words, false); // the number is a good one again
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    by(step)();
  });
  const box = html("span", { class: "field" }, html("span", { class: "stepper" }, less, field, more), note);
  box.show = (number, disabled = false) => {
    if (typed() !== String(number)) field.value = signed(number); // else it may be being typed: the caret stays
    if (Number(field.dataset.value) !== number) complain("");
    field.dataset.value = number;
    field.setAttribute("aria-valuenow", number);
    for (const each of [field, less, more]) each.disabled = disabled;
    less.disabled ||= number <= least;
    more.disabled ||= number >= high;
  };
  return box;
}

// One of a few words; arrow keys go from one to the next, as with all radio buttons.
function segments(host, name, choices, set) {
  for (const [value, label, title] of choices) {
    const input = html("input", { type: "radio", name, value, class: "seen-by-keys" });
    input.addEventListener("change", () => set(value));
    host.append(html("label", { ...(title ? { title } : {}) }, input, html("span", {}, ...[label].flat())));
  }
  return (value) => {
    for (const input of host.querySelectorAll("input")) input.checked = input.value === String(value);
  };
}

const ROWS = [["n", "size", "n"], ["k", "kernel", "k"], ["s", "stride", "s"], ["d", "dilation", "d"], ["lo", "pad before", "lo"], ["hi", "pad after", "hi"], ["o", "output padding", "o"]];
const PADDING_WORDS = {
  "": "", VALID: "no padding", SAME: "m = ⌈n/s⌉; an odd position goes after", SAME_LOWER: "m = ⌈n/s⌉; an odd position goes before",
  CAUSAL: "d(k − 1) before: no output reads a later input", FULL: "d(k − 1) at both ends: every overlap counts",
};
const CHANNELS = [["c", "channels in"], ["f", "channels out"], ["g", "groups"]];

class Controls {
  constructor(form, page) {
    this.page = page;
    this.rows = new Map();
    this.linked = true;
    form.addEventListener("submit", (event) => event.preventDefault());
    const axes = html("div", { class: "segments small", role: "radiogroup", "aria-label": "Number of axes" });
    this.axes = segments(axes, "axes", [[1, "one axis"], [2, "two axes"]], (value) => page.set({ axes: value, at: 0 }));
    const check = (label, set) => {
      const input = html("input", { type: "checkbox" });
      input.addEventListener("change", () => set(input.checked));
      return [input, html("label", { class: "check" }, input, label)];
    };
    const [transposed, transposedLabel] = check("transposed", (t) => page.set({ t, at: 0 }));
    const [linked, linkedLabel] = check("both axes alike", (on) => this.link(on));
    Object.assign(this, { transposed, linkedBox: linked, linkedLabel, transposedLabel });
    form.append(axes, html("div", { class: "checks" }, transposedLabel, linkedLabel));
    this.table = html("div", { class: "numbers", role: "group", "aria-label": "Numbers per axis" });
    form.append(this.table);
    this.heads = html("div", { class: "line heads" }, html("span"), html("span", { class: "pair" }, html("span", {}, "rows"), html("span", {}, "columns")));
    this.table.append(this.heads);
    for (const row of ROWS) {
      if (row[0] === "lo") this.addPadding();
      this.addRow(...row);
    }
    this.channels = html("fieldset", { class: "channels" }, html("legend", {}, "channels"));
    for (const [key, label] of CHANNELS) {
      const box = stepper(key, label, (value) => page.set({ [key]: value }));
      this.rows.set(key, box);
      this.channels.append(html("div", { class: "line" }, html("span", {}, label), box));
    }
    this.diagram = html("div", { class: "diagram" });
    this.channels.append(this.diagram);
    form.append(this.channels);
    this.stack = html("div", { class: "layers", hidden: true });
    form.append(this.stack);
  }

  addRow(key, label, letter) {
    const set = (axis) => (value) => {
      const values = this.page.state[key].map((before, i) => (i === axis || this.linked ? value : before));
      this.page.set({ [key]: values });
    };
    const boxes = [0, 1].map((axis) => stepper(key, `${label}, axis ${axis}`, set(axis)));
    const name = html("span", {}, `${label} `, html("i", {}, letter));
    const line = html("div", { class: "line" }, name, html("span", { class: "pair" }, ...boxes));
    this.rows.set(key, { line, boxes });
    this.table.append(line);
  }

  addPadding() {
    this.padding = html("select", { "aria-label": "padding by name" });
    for (const name of ["", ...NAMED]) this.padding.append(html("option", { value: name }, name || "in numbers"));
    this.padding.addEventListener("change", () => this.page.set({ pad: this.padding.value }));
    this.paddingLine = html("div", { class: "line" }, html("span", {}, "padding"), this.padding);
    this.paddingNote = html("p", { class: "note" });
    this.table.append(this.paddingLine, this.paddingNote);
  }

  link(on) {
    this.linked = on;
    const { state } = this.page;
    const keys = ["n", "k", "s", "d", "lo", "hi", "o"];
    this.page.set(on ? Object.fromEntries(keys.map((key) => [key, [state[key][0], state[key][0]]])) : {});
  }

  show(state, geometry) {
    const stack = state.view === "stack";
    this.axes(state.axes);
    const [keys] = [["n", "k", "s", "d", "lo", "hi", "o"]];
    if (keys.some((key) => state[key][0] !== state[key][1]) && state.axes === 2) this.linked = false;
    this.transposed.checked = state.t;
    this.rows.get("n").line.querySelector("i").textContent = state.t && !stack ? "m" : "n";
    this.linkedBox.checked = this.linked;
    this.linkedLabel.hidden = state.axes === 1 || stack;
    this.transposedLabel.hidden = stack;
    this.padding.value = state.pad;
    this.paddingNote.textContent = state.t && isSame(state) ? PADDING_WORDS[state.pad].replace("m = ⌈n/s⌉", "n = s·m") : PADDING_WORDS[state.pad];
    this.paddingNote.hidden = stack || !state.pad;
    this.heads.hidden = stack || state.axes === 1 || this.linked;
    for (const [key, { line, boxes }] of [...this.rows].filter(([, row]) => row.line)) {
      line.hidden = (key === "o" && !state.t) || (stack && key !== "n");
      boxes.forEach((box, axis) => {
        box.hidden = axis >= (stack ? 1 : state.axes) || (axis === 1 && this.linked);
        const value = ["lo", "hi"].includes(key) ? paddingOf(state, axis)[key === "lo" ? 0 : 1] : state[key][axis];
        box.show(value, (Boolean(state.pad) && ["lo", "hi"].includes(key)) || (key === "o" && geometry.same));
      });
    }
    for (const [key] of CHANNELS) this.rows.get(key).show(state[key]);
    this.paddingLine.hidden = stack;
    this.channels.hidden = stack;
    this.stack.hidden = !stack;
    this.table.parentElement.querySelector("[role=radiogroup]").hidden = stack;
    if (!stack) this.showChannels(state, geometry);
  }

  // Which output channel sees which input channels: groups do not see each other.
  showChannels(state, geometry) {
    this.diagram.replaceChildren();
    if (geometry.error || state.c + state.f > 48 || state.c + state.f < 3) return;
    const [c, f] = [state.c, geometry.out];
    const high = Math.max(c, f) * 16;
    const place = (i, count) => ((i + 0.5) * high) / count;
    const words = `${f} channels out, each sees ${c / geometry.groups} of ${c} in`;
    const element = svg("svg", { viewBox: `0 0 150 ${high}`, role: "img", "aria-label": words }, this.diagram);
    let lines = "";
    for (const i of range(c)) {
      for (const o of range(f)) {
        if (Math.floor((i * geometry.groups) / c) === Math.floor((o * geometry.groups) / f)) lines += `M24 ${place(i, c)}L126 ${place(o, f)}`;
      }
    }
    svg("path", { class: "wires", d: lines }, element);
    for (const i of range(c)) svg("rect", { class: "channel x", x: 12, y: place(i, c) - 6, width: 12, height: 12, rx: 3 }, element);
    for (const o of range(f)) svg("rect", { class: "channel y", x: 126, y: place(o, f) - 6, width: 12, height: 12, rx: 3 }, element);
    this.diagram.append(html("p", { class: "note" }, words));
  }
}
