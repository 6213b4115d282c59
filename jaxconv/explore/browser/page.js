// The page itself: one state, what shows it, and what changes it.
"use strict";

const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const coarse = matchMedia("(pointer: coarse)");

const STACKED = "Each layer reads windows of the one below. What one output reads of x in the end is its receptive field; every stride makes it grow faster.";

const HEADS = {
  conv: ["Convolution, step by step", "Which output reads which input, forward and in both gradients."],
  recurrence: ["A gated recurrence, step by step", "Whether its gradients vanish, hold or explode on their way back through time."],
};

// Which fields an error speaks of, by the argument that its message names first.
const FIELDS = {
  groups: "groups, channels in, channels out", stride: "stride", dilation: "dilation", output_padding: "output padding, stride",
  kernel: "size, kernel, dilation, padding; the padding to raise is lo + hi together", padding: "size, kernel, padding",
};

const EXAMPLES = [
  ["a stride that leaves one over", "n=10&k=3&s=2"],
  ["what stride does to dx", "n=9&k=3&s=3&p=1&view=dx"],
  ["dw, dilated", "n=12&k=3&s=2&d=2&p=1&view=dw"],
  ["SAME, the odd one after", "n=9&k=4&s=2&p=SAME"],
  ["causal and dilated", "n=12&k=3&d=3&p=CAUSAL"],
  ["negative padding", "n=10&k=3&p=-2:1"],
  ["a window that does not fit", "n=4&k=3&d=2"],
  ["transposed: twice the size", "n=5&k=4&s=2&p=1&t=1"],
  ["an image", "n=10x11&k=3x3&s=2x2"],
  ["the gradient of an image", "n=9x9&k=3x3&s=2x2&p=1x1&view=dx"],
  ["groups", "n=8&k=3&c=6&f=4&g=2"],
  ["a stack of layers", "n=23&view=stack&layers=k3p1,k3s2p1,k3p1,k3s2p1"],
];

class Page {
  constructor() {
    this.state = stateOf(location.hash || START);
    this.playing = false;
    this.controls = new Controls(document.querySelector("form.controls"), this);
    const views = [
      ["y", [html("b", { class: "name y" }, "y"), " output"]], ["dx", [html("b", { class: "name x" }, "dx"), " gradient of x"]],
      ["dw", [html("b", { class: "name w" }, "dw"), " gradient of w"]], ["stack", ["a stack of layers"]],
    ];
    this.showView = segments(document.querySelector(".views"), "view", views, (view) => this.set({ view, at: 0 }));
    this.showCode = segments($("libraries"), "library", LIBRARIES.map((each) => [each, each]), (code) => this.set({ code }));
    for (const tab of ["conv", "recurrence"]) $(`tab-${tab}`).addEventListener("click", () => this.set({ tab }));
    document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      this.set({ tab: this.state.tab === "conv" ? "recurrence" : "conv" });
      $(`tab-${this.state.tab}`).focus();
    });
    this.listen();
    for (const [words, address] of EXAMPLES) {
      $("examples").append(html("li", {}, html("a", { href: `#${address}` }, words)));
    }
    this.draw();
    if (location.hash) this.keep(); // an address that says something else is put right
  }

  listen() {
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) === addressOf(this.state)) return;
      this.stop();
      this.controls.linked = true;
      this.state = stateOf(location.hash);
      this.draw();
      this.keep();
    });
    $("play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
    $("back").addEventListener("click", () => this.step(-1));
    $("forth").addEventListener("click", () => this.step(1));
    $("scrub").addEventListener("input", () => this.go(Number($("scrub").value)));
    $("scrub").addEventListener("change", () => this.keep());
    for (const kind of ["pointerup", "lostpointercapture"]) $("picture").addEventListener(kind, () => this.keep());
    addEventListener("beforeprint", () => ($("address").textContent = `${location.href.split("#")[0]}#${addressOf(this.state)}`));
    $("picture").addEventListener("goto", (event) => this.go(event.detail));
    $("picture").addEventListener("keydown", pointByKeys);
    $("picture").addEventListener("focusout", (event) => this.picture?.unprobe(event.target.grid));
    addEventListener("resize", () => this.state.tab === "recurrence" && this.draw());
    for (const [button, code] of [["copy", "code"], ["copy-flow", "flow-code"]]) {
      $(button).addEventListener("click", () => this.copy($(button), $(code)));
    }
    addEventListener("keydown", (event) => {
      if (event.key !== " " || event.target !== document.body || this.state.tab !== "conv") return;
      event.preventDefault();
      $("play").click();
    });
  }

  // Change the state, and draw what follows from it.
  set(change) {
    this.stop();
    this.state = { ...this.state, asked: [], ...change };
    this.draw();
    this.keep();
  }

  keep() {
    clearTimeout(this.keeper);
    history.replaceState(null, "", `#${addressOf(this.state)}`);
  }

  draw() {
    const { state } = this;
    for (const tab of ["conv", "recurrence"]) {
      $(`tab-${tab}`).setAttribute("aria-selected", state.tab === tab);
      $(`tab-${tab}`).tabIndex = state.tab === tab ? 0 : -1;
      $(tab).hidden = state.tab !== tab;
    }
    $("asked").textContent = state.asked.length ? `The address asked for ${state.asked.join(", ")}, which this page cannot show.` : "";
    [document.querySelector("h1").textContent, $("about").textContent] = HEADS[state.tab];
    if (state.tab === "recurrence") {
      this.flow ??= new FlowTab($("recurrence"), this);
      this.flow.draw(state);
      return;
    }
    const stack = state.view === "stack";
    const geometry = tried(() => (stack ? stackOf(state) : geometryOf(state)));
    this.geometry = geometry;
    this.showView(state.view);
    this.controls.show(state, geometry);
    this.drawPicture(state, geometry);
    $("sizes-head").textContent = stack ? "The receptive field" : "The size";
    $("libraries").hidden = stack;
    $("codes").hidden = Boolean(geometry.error);
    if (stack) layerControls(this.controls.stack, this);
    if (geometry.error) this.noSize(stack ? null : misfit(state));
    else if (stack) stackCard($("formula"), geometry);
    else sizeCard($("formula"), state, geometry);
    this.showCode(state.code);
    if (!geometry.error) $("code").textContent = stack ? stackCode(geometry) : codeOf(state, geometry);
    $("vjp").hidden = !$("code").textContent.includes("vjp");
  }

  drawPicture(state, geometry) {
    $("error").hidden = !geometry.error;
    $("error").querySelector("code").textContent = geometry.error ? `ValueError: ${geometry.error}` : "";
    const fields = FIELDS[/`(\w+)/.exec(geometry.error ?? "")?.[1]];
    $("error").querySelector("span").textContent = fields ? `Fields that may change this: ${fields}.` : "";
    for (const id of ["player", "readout", "caption"]) $(id).hidden = Boolean(geometry.error);
    this.picture = null;
    if (geometry.error) {
      const axis = state.view === "stack" ? null : misfit(state);
      drawMisfit($("picture"), axis);
      $("legend").replaceChildren(...(axis ? [html("li", { class: "wrong" }, "red: outside")] : []));
      return;
    }
    const told = (parts) => $("readout").replaceChildren(...parts);
    const stack = state.view === "stack";
    $("caption").textContent = stack ? STACKED : captionWords(geometry, state.view);
    this.picture = stack ? new StackPicture($("picture"), geometry, told) : new Picture($("picture"), geometry, state.view, told);
    state.at = clamp(state.at, 0, this.picture.count - 1);
    $("scrub").max = this.picture.count - 1;
    this.go(state.at, 0);
    this.legend();
  }

  noSize(axis) {
    const words = html("p", { class: "note" }, "There is no output: the error above says what to change.");
    $("formula").replaceChildren(...(axis ? misfitLines(axis) : []), words);
  }

  legend() {
    const dense = Boolean($("picture").querySelector(".dense"));
    const cut = this.geometry.axes?.some(({ lo, hi }) => lo < 0 || hi < 0) ? " or cut off by the negative padding" : "";
    const unread = this.picture.map === "dx" ? `hatched: 0, no window reads it${cut && `, or it is${cut.slice(3)}`}` : `hatched: not read${cut}`;
    const kinds = [["unread", unread], ["padding", dense ? "grey: padding, a zero" : "dashed: padding, a zero"], ["zero", "dot: a zero between two"]];
    $("legend").replaceChildren();
    for (const [kind, words] of kinds) {
      if (!$("picture").querySelector(`.cell.${kind}`)) continue;
      const item = html("li", {});
      const mark = svg("svg", { width: 16, height: 16, "aria-hidden": true, class: dense ? "dense" : "" }, item);
      if (kind === "zero") svg("circle", { class: "cell zero", cx: 8, cy: 8, r: 2.5 }, mark);
      else svg("rect", { class: `cell ${kind}`, x: 1, y: 1, width: 14, height: 14, rx: 3 }, mark);
      item.append(words);
      $("legend").append(item);
    }
    $("legend").append(html("li", { class: "hint" }, `${coarse.matches ? "tap" : "point at"} a cell: what it reads or goes into; drag${coarse.matches ? " sideways" : ""}: move the window`));
  }

  // ---------------------------------------------------------------------------------------------- the player

  go(at, duration = Math.min(Number($("speed").value) * 0.7, 450)) {
    if (!this.picture) return;
    this.picture.show(at, still.matches ? 0 : duration);
    this.state.at = this.picture.at;
    $("scrub").value = this.picture.at;
    const where = positionWords(this.picture.position(this.picture.at));
    $("scrub").setAttribute("aria-valuetext", `${this.picture.names[0].name}[${where}]`);
    if (!this.playing) {
      clearTimeout(this.keeper);
      this.keeper = setTimeout(() => this.keep(), 300); // while it is dragged; what ends the drag keeps it at once
    }
  }

  step(by) {
    this.stop();
    this.go((this.state.at + by + this.picture.count) % this.picture.count);
    this.keep();
  }

  play() {
    if (!this.picture) return;
    this.playing = true;
    $("play").textContent = "Pause";
    $("readout").setAttribute("aria-live", "off");
    if (this.state.at === this.picture.count - 1) this.go(0, 0);
    let last = performance.now();
    const frame = (now) => {
      if (!this.playing) return;
      const period = Number($("speed").value);
      if (now - last >= period) {
        last = now - last > 2 * period ? now : last + period;
        if (this.state.at === this.picture.count - 1) return this.stop();
        this.go(this.state.at + 1);
      }
      return requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    $("play").textContent = "Play";
    $("readout").setAttribute("aria-live", "polite");
    this.keep();
  }

  async copy(button, code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // where the clipboard is not to be had
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
}

const page = new Page();
