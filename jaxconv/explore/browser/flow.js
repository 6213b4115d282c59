// How gradients fare through time, in a gated recurrence: the equations of jaxconv.recurrence.gated_cell.
"use strict";

const dot = (a, b) => a.reduce((sum, each, i) => sum + each * b[i], 0);
const times = (matrix, vector) => matrix.map((row) => dot(row, vector));
const sigmoid = (a) => 1 / (1 + Math.exp(-a));
const transposed = (matrix) => matrix[0].map((_, j) => matrix.map((row) => row[j]));

// ‖A‖₂ by one-sided Jacobi rotations: columns are turned in pairs until they are orthogonal; the longest is the norm.
function spectralNorm(matrix) {
  const columns = transposed(matrix);
  for (let sweep = 0; sweep < 30; sweep += 1) {
    let off = 0;
    for (let p = 0; p < columns.length; p += 1) {
      for (let q = p + 1; q < columns.length; q += 1) {
        const [a, b] = [columns[p], columns[q]];
        const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
        if (ab === 0 || Math.abs(ab) <= 1e-15 * Math.sqrt(aa * bb)) continue;
        off += 1;
        const zeta = (bb - aa) / (2 * ab);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, t);
        for (let i = 0; i < a.length; i += 1) {
          [a[i], b[i]] = [cosine * (a[i] - t * b[i]), cosine * (t * a[i] + b[i])];
        }
      }
    }
    if (!off) break;
  }
  return Math.sqrt(Math.max(...columns.map((column) => dot(column, column))));
}

// log ‖∂h[T]/∂h[t]‖₂ for t = 0 … T, and the gates, for W_h scaled and the gate shifted by a bias.
function gradientFlow({ w_c, w_h, w_x, x }, scale, bias) {
  const W_h = w_h.map((row) => row.map((each) => scale * each));
  let h = w_c.map(() => 0);
  const [jacobians, gates] = [[], []];
  for (const x_t of x) {
    const v = times(w_x, x_t);
    const [fromX, fromH] = [times(w_c, x_t), times(W_h, h)];
    const c = fromX.map((each, i) => sigmoid(each + bias + fromH[i]));
    // ∂h[t]/∂h[t−1] = diag(c[t]) + diag((h[t−1] − v[t]) ⊙ c[t] ⊙ (1 − c[t])) W_h
    const slope = c.map((c_i, i) => (h[i] - v[i]) * c_i * (1 - c_i));
    jacobians.push(W_h.map((row, i) => row.map((each, j) => slope[i] * each + (i === j ? c[i] : 0))));
    h = c.map((c_i, i) => c_i * h[i] + (1 - c_i) * v[i]);
    gates.push(c);
  }
  const logs = [0];
  let product = h.map((_, i) => h.map((_, j) => Number(i === j)));
  let scaled = 0; // exp(scaled) · product = ∂h[T]/∂h[t], the product kept near 1
  for (const jacobian of jacobians.reverse()) {
    const columns = transposed(jacobian);
    product = product.map((row) => columns.map((column) => dot(row, column)));
    const norm = spectralNorm(product);
    scaled += Math.log(norm);
    product = product.map((row) => row.map((each) => each / (norm || 1)));
    logs.unshift(scaled);
  }
  return { logs, gates };
}

// In the words of GradientFlow.summary, and the rule that it uses.
const RULE = " The rule: a norm below 1/e ≈ 0.37 vanishes, one above e ≈ 2.7 explodes (dotted lines); the steps count from the end until it is beyond its line for good.";

function flowKind(logs) {
  if (logs[0] < -1) return "vanish";
  return logs[0] > 1 ? "explode" : "hold";
}

// steps: least s, log ‖∂h[T]/∂h[T−r]‖ < −1 for all r ≥ s (vanish), or > 1 (explode).
function flowWords(logs) {
  const kind = flowKind(logs);
  const side = kind === "vanish" ? -1 : 1;
  const steps = logs.length - logs.findIndex((log) => side * log <= 1);
  const within = kind === "hold" ? "hold" : `${kind} within ${steps} step${steps === 1 ? "" : "s"}`;
  return [within, `‖∂h[T]/∂h[0]‖ = ${powerWords(logs[0])} over T = ${logs.length - 1} steps`];
}

// Where the norm is beyond the other line before: how far, in words that stand before the verdict.
function flowBefore(logs) {
  const kind = flowKind(logs);
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  if (kind !== "explode" && high > 1 && (kind === "vanish" || high > -low)) return `explode at first, up to ${powerWords(high)}, then `;
  return kind !== "vanish" && low < -1 ? `vanish at first, down to ${powerWords(low)}, then ` : "";
}

// exp(log) with three digits; what is far from 1 as a multiple of a power of ten, as on the axis.
function powerWords(log) {
  const tens = log / Math.LN10;
  if (!Number.isFinite(tens)) return tens < 0 ? "0" : "∞";
  if (Math.abs(tens) < 3) return Number((10 ** tens).toPrecision(3)).toString();
  const power = Math.floor(tens);
  const raised = [...String(power)].map((each) => (each === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[each])).join("");
  return `${(10 ** (tens - power)).toPrecision(3)}·10${raised}`;
}

// The call, with the settings of the page.
function flowCode(scale, bias) {
  const shift = bias ? `, b_c=params.b_c ${bias < 0 ? "-" : "+"} ${Math.abs(bias)}` : "";
  return [
    "import jax", "from jaxconv import gated_init, gradient_flow", "",
    `params = gated_init(jax.random.key(0), ${WEIGHTS.w_c[0].length}, ${WEIGHTS.w_c.length})`,
    `params = params._replace(w_h=${scale} * params.w_h${shift})`,
    `x = jax.random.normal(jax.random.key(1), (${WEIGHTS.x.length}, ${WEIGHTS.w_c[0].length}))`,
    "norms = gradient_flow(params, x).norms", `# norms: (${WEIGHTS.x.length + 1},)`,
  ].join("\n");
}

// ------------------------------------------------------------------------------------------------- the picture

const [TALL, LEFT, BOTTOM] = [320, 56, 46];

class FlowTab {
  constructor(host, page) {
    this.page = page;
    const sliders = [["scale", "scale of W", "h", "how strongly the gate reads the state"], ["bias", "bias of the gate", "", "above 0 the gates keep the state (c near 1), below 0 they write it anew (c near 0)"]];
    this.inputs = sliders.map(([key, label, low, note]) => this.slider(key, label, low, note));
    const presets = html("div", { class: "presets", role: "group", "aria-label": "Examples" });
    for (const [name, scale, bias] of [["vanish", 0.1, 0], ["hold", 0.1, 10], ["explode", 12, 0]]) {
      const button = html("button", { type: "button" }, name);
      button.addEventListener("click", () => page.set({ scale, bias }));
      presets.append(button);
    }
    const sides = html("div", { class: "sliders" }, presets, ...this.inputs.map(({ box }) => box));
    this.plot = html("div", { class: "plot" });
    this.verdict = html("p", { class: "flow-words", role: "status" });
    host.querySelector(".flow").append(sides, html("div", {}, this.verdict, this.plot));
    this.diagram = host.querySelector(".cell-diagram");
  }

  // The scale moves by powers: its slider has steps of one ratio, from end to end.
  slider(key, label, low, note) {
    const log = key === "scale";
    const [least, most] = LIMITS[key];
    const [steps, ratio] = [250, Math.log(most / least)];
    const ends = log ? { min: "0", max: String(steps), step: "1" } : { min: String(least), max: String(most), step: "0.1" };
    const input = html("input", { type: "range", ...ends, id: `slide-${key}` });
    const number = html("output", { for: `slide-${key}` });
    input.addEventListener("input", () => {
      const value = log ? Number((least * Math.exp((ratio * Number(input.value)) / steps)).toPrecision(3)) : Number(input.value);
      this.page.set({ [key]: value });
    });
    const name = html("label", { for: `slide-${key}` }, label, html("sub", {}, low));
    const box = html("div", { class: "slide" }, html("div", { class: "line" }, name, number), input, html("p", { class: "note" }, note));
    const show = (value) => {
      input.value = log ? Math.round((steps * Math.log(value / least)) / ratio) : value;
      number.textContent = String(value).replace("-", "−");
      input.setAttribute("aria-valuetext", String(value));
    };
    return { box, show };
  }

  draw({ scale, bias }) {
    this.inputs[0].show(scale);
    this.inputs[1].show(bias);
    const { logs, gates } = gradientFlow(WEIGHTS, scale, bias);
    this.logs = logs;
    const [kind, number] = flowWords(logs);
    const strong = html("strong", { class: flowKind(logs) }, `Gradients ${flowBefore(logs)}${kind}.`);
    this.verdict.replaceChildren(strong, ` ${number}. `, html("span", { class: "quiet" }, RULE));
    $("flow-code").textContent = flowCode(scale, bias);
    this.drawPlot(logs, gates);
    const kept = gates.flat().reduce((a, b) => a + b, 0) / gates.flat().length;
    this.diagram.style.setProperty("--kept", kept.toFixed(3));
  }

  drawPlot(logs, gates) {
    this.plot.replaceChildren();
    const WIDE = clamp(this.plot.clientWidth, 320, 820);
    this.wide = WIDE;
    const tens = logs.map((log) => log / Math.LN10);
    const most = [2, 4, 10, 20, 40, 80].find((each) => Math.max(...tens.map(Math.abs)) <= each) ?? 160;
    const last = logs.length - 1;
    const x = (t) => LEFT + ((WIDE - LEFT - 16) * t) / last;
    const y = (log) => (TALL - BOTTOM) / 2 - (log / most) * ((TALL - BOTTOM) / 2 - 14);
    const words = `the norm of the gradient over ${last} steps of time: ${flowBefore(logs)}${flowWords(logs).join("; ")}`;
    const element = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL + 54}`, role: "img", "aria-label": words }, this.plot);
    const text = (at, up, content, name = "tick") => (svg("text", { x: at, y: up, class: name }, element).textContent = content);
    for (const power of [-most, -most / 2, 0, most / 2, most]) {
      svg("path", { class: power ? "rule" : "rule zero", d: `M${LEFT} ${y(power)}H${WIDE - 16}` }, element);
      const raised = svg("text", { x: LEFT - 8, y: y(power) + 4, class: "tick end" }, element);
      if (power === 0) raised.textContent = "1";
      else raised.append("10", svg("tspan", { dy: -5, class: "power" }));
      if (power) raised.lastChild.textContent = signed(power);
    }
    for (const t of [0, 15, 30, 45, 60].filter((each) => each <= last)) text(x(t), TALL - BOTTOM + 16, t);
    for (const log of [-1, 1]) svg("path", { class: "rule limit", d: `M${LEFT} ${y(log / Math.LN10)}H${WIDE - 16}` }, element);
    text((LEFT + WIDE) / 2, TALL - 8, "← the gradient travels · time t in steps →", "axis-words");
    text(WIDE - 20, y(most) + 18, "explodes", "zone");
    text(WIDE - 20, y(-most) - 8, "vanishes", "zone");
    const kind = flowKind(logs);
    const line = tens.map((log, t) => `${t ? "L" : "M"}${x(t).toFixed(1)} ${y(log).toFixed(1)}`).join("");
    svg("path", { class: `area ${kind}`, d: `${line}L${x(last)} ${y(0)}L${x(0)} ${y(0)}z` }, element);
    svg("path", { class: `curve ${kind}`, d: line }, element);
    this.drawGates(element, gates, x);
    this.cursor(element, logs, x, y, text);
  }

  // One stripe for each step: how much of the state the gates keep, on average.
  drawGates(element, gates, x) {
    const wide = x(1) - x(0);
    const words = svg("text", { x: LEFT - 8, y: TALL + 20, class: "tick end" }, element);
    words.textContent = "gates";
    gates.forEach((c, i) => {
      const kept = c.reduce((a, b) => a + b, 0) / c.length;
      svg("rect", { class: "gate", x: x(i + 1) - wide, y: TALL + 4, width: wide + 0.3, height: 22, opacity: (0.06 + 0.94 * kept).toFixed(3) }, element);
    });
    const note = svg("text", { x: (LEFT + this.wide) / 2, y: TALL + 44, class: "axis-words" }, element);
    note.textContent = "mean of c[t]: faint writes anew, strong keeps";
  }

  // The number at the time that is pointed at.
  cursor(element, logs, x, y, text) {
    const mark = svg("g", { class: "cursor", visibility: "hidden" }, element);
    const dotMark = svg("circle", { r: 5 }, mark);
    const words = svg("text", { class: "tick" }, mark);
    element.addEventListener("pointermove", (event) => {
      const [at] = pointIn(element, event);
      const t = clamp(Math.round(((at - LEFT) / (x(1) - x(0)))), 0, logs.length - 1);
      const up = y(logs[t] / Math.LN10);
      dotMark.setAttribute("cx", x(t));
      dotMark.setAttribute("cy", up);
      words.setAttribute("x", clamp(x(t), LEFT + 60, this.wide - 80));
      words.setAttribute("y", up < 40 ? up + 24 : up - 12);
      words.textContent = `t = ${t}: ${powerWords(logs[t])}`;
      mark.setAttribute("visibility", "visible");
    });
    element.addEventListener("pointerleave", () => mark.setAttribute("visibility", "hidden"));
  }
}
