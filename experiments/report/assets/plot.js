// Curves over steps: drag to see some steps larger, double click for all; a click on a name hides it.

const MARGIN = { left: 66, right: 14, top: 10, bottom: 44 };
const HEIGHT = 430;
const DASHED = { solid: null, dash: "8 4", dot: "2 3", dashdot: "8 3 2 3" };
const view = { key: null, steps: null, hidden: new Set() };

/** Draws curves into `parent`.
 *
 * curves: of each its name, color, dash, x, mean, low, high (null: none), hover (lines at a point), and
 *   marks of x, y and hover. banded: bands of all curves, or of the one under the pointer.
 * key: of what is shown; another key shows all steps and curves.
 */
function drawPlot(parent, { curves, label, logarithmic, format, banded, key }) {
  if (view.key !== key) Object.assign(view, { key, steps: null, hidden: new Set() });
  const again = () => drawPlot(parent, { curves, label, logarithmic, format, banded, key });
  const shown = curves.filter(({ name }) => !view.hidden.has(name));
  const width = Math.max(parent.clientWidth, 300);
  const axes = axesFor(shown, width, logarithmic, banded);
  const picture = svg("svg", {
    xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label,
    "font-family": getComputedStyle(document.body).fontFamily, "font-size": 12,
  }, svg("rect", { width, height: HEIGHT, fill: color("paper") }), frame(axes, width, label, format));
  const inside = svg("svg", {
    x: MARGIN.left, y: MARGIN.top, width: axes.right - MARGIN.left, height: axes.bottom - MARGIN.top,
    viewBox: `${MARGIN.left} ${MARGIN.top} ${axes.right - MARGIN.left} ${axes.bottom - MARGIN.top}`,
  });
  const bands = svg("g"), tip = element("div", { class: "tip", hidden: true });
  inside.append(bands, ...shown.flatMap((curve) => linesOf(curve, axes)));
  if (banded) bands.append(...shown.flatMap((curve) => bandsOf(curve, axes)));
  picture.append(inside);
  parent.replaceChildren(legend(curves, again), element("div", { class: "picture" }, picture, tip));
  follow(picture, { shown, axes, tip, bands, banded, width, again });
}

/** Scales and ticks of what is shown: of all steps, or of those dragged over. */
function axesFor(curves, width, logarithmic, banded) {
  const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  const steps = view.steps ?? [0, most(curves.flatMap(({ x }) => x.at(-1) ?? 0)) || 1];
  const seen = curves.flatMap(({ x, mean, low, high }) => x.flatMap((step, i) =>
    step >= steps[0] && step <= steps[1] ? (banded ? [low[i], high[i]] : [mean[i]]) : []))
    .filter((value) => value !== null && Number.isFinite(value) && (!logarithmic || value > 0));
  const to = logarithmic ? Math.log10 : (value) => value;
  let [low, high] = seen.length ? [to(least(seen)), to(most(seen))] : [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const margin = 0.04 * (high - low);
  [low, high] = [low - margin, high + margin];
  const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
  return {
    right, bottom, steps,
    x: (step) => MARGIN.left + (right - MARGIN.left) * (step - steps[0]) / (steps[1] - steps[0]),
    step: (x) => steps[0] + (steps[1] - steps[0]) * (x - MARGIN.left) / (right - MARGIN.left),
    y: (value) => bottom - (bottom - MARGIN.top) * ((logarithmic && !(value > 0) ? low : to(value)) - low) / (high - low),
    xTicks: ticks(steps[0], steps[1], Math.max(3, Math.floor(width / 110))),
    yTicks: logarithmic ? decades(low, high) : ticks(low, high, 7),
  };
}

/** Round numbers, about `count` of them. */
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const unit = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const first = Math.ceil(low / unit);
  return Array.from({ length: Math.floor(high / unit) - first + 1 }, (_, i) => Number(((first + i) * unit).toPrecision(12)));
}
/** Powers of ten, with 2 and 5 between them where they are few. */
function decades(low, high) {
  const every = Math.max(1, Math.ceil((high - low) / 8));
  const found = [];
  for (let power = Math.floor(low); power <= high; power += every) {
    for (const factor of high - low > 3 ? [1] : [1, 2, 5]) found.push(factor * 10 ** power);
  }
  return found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
}

function frame({ right, bottom, x, y, xTicks, yTicks }, width, label, format) {
  const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2, stroke: color("line") });
  const word = (text, attributes) => svg("text", { fill: color("ink"), ...attributes }, text);
  const middle = (MARGIN.top + bottom) / 2;
  return svg("g", {},
    ...xTicks.flatMap((step) => [line(x(step), MARGIN.top, x(step), bottom),
      word(numberOf.format(step), { x: x(step), y: bottom + 17, "text-anchor": "middle" })]),
    ...yTicks.flatMap((value) => [line(MARGIN.left, y(value), right, y(value)),
      word(format(value), { x: MARGIN.left - 7, y: y(value) + 4, "text-anchor": "end" })]),
    word("step", { x: (MARGIN.left + right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }),
    word(label, { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }));
}

/** Stretches of points that are known, as lists of indices. */
function stretches({ mean }) {
  const found = [];
  mean.forEach((value, i) => {
    if (value === null) return;
    if (i && mean[i - 1] !== null) found.at(-1).push(i);
    else found.push([i]);
  });
  return found;
}
const pathOf = (places) => places.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function linesOf(curve, { x, y }) {
  const lines = stretches(curve).map((some) => svg("path", {
    d: pathOf(some.map((i) => [x(curve.x[i]), y(curve.mean[i])])), fill: "none", stroke: curve.color,
    "stroke-width": 2, "stroke-dasharray": DASHED[curve.dash], "data-curve": curve.name,
  }));
  const marks = curve.marks.map((mark) => svg("text", {
    x: x(mark.x), y: y(mark.y) + 6, "text-anchor": "middle", "font-size": 17, fill: curve.color, "data-mark": curve.name,
  }, "✕"));
  return [...lines, ...marks];
}
function bandsOf(curve, { x, y }) {
  return stretches(curve).map((some) => svg("path", {
    d: pathOf([...some.map((i) => [x(curve.x[i]), y(curve.high[i])]),
      ...some.toReversed().map((i) => [x(curve.x[i]), y(curve.low[i])])]) + "Z",
    fill: curve.color, "fill-opacity": 0.2, "data-band": curve.name,
  }));
}

function legend(curves, again) {
  return element("div", { class: "legend" }, ...curves.map(({ name, color: tint, dash }) => element("button", {
    type: "button", "aria-pressed": String(!view.hidden.has(name)), title: "hide or show",
    onclick: () => {
      if (!view.hidden.delete(name)) view.hidden.add(name);
      again();
    },
  }, svg("svg", { width: 30, height: 10 }, svg("line", {
    x1: 0, x2: 30, y1: 5, y2: 5, stroke: tint, "stroke-width": 2, "stroke-dasharray": DASHED[dash],
  })), name)));
}

/** What is under the pointer is named; a drag takes some steps, a double click all. */
function follow(picture, { shown, axes, tip, bands, banded, width, again }) {
  const dot = svg("circle", { r: 4, visibility: "hidden" });
  const taken = svg("rect", { y: MARGIN.top, height: axes.bottom - MARGIN.top, fill: color("accent"), "fill-opacity": 0.15, visibility: "hidden" });
  picture.append(taken, dot);
  const points = shown.flatMap((curve) => [
    ...stretches(curve).flat().map((i) => ({ curve, x: axes.x(curve.x[i]), y: axes.y(curve.mean[i]), lines: curve.hover[i] })),
    ...curve.marks.map((mark) => ({ curve, x: axes.x(mark.x), y: axes.y(mark.y), lines: mark.hover })),
  ]).filter(({ x }) => x >= MARGIN.left - 1 && x <= axes.right + 1);
  let from = null, near = null;
  const at = (event) => {
    const box = picture.getBoundingClientRect(), scale = width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  picture.onpointerdown = (event) => { [from] = at(event); };
  picture.onpointermove = (event) => {
    const [x, y] = at(event);
    if (from !== null && event.buttons) {
      taken.setAttribute("x", Math.min(from, x));
      taken.setAttribute("width", Math.abs(x - from));
      taken.setAttribute("visibility", "visible");
    }
    const distance = (point) => (point.x - x) ** 2 + (point.y - y) ** 2;
    const found = points.reduce((best, point) => (!best || distance(point) < distance(best) ? point : best), null);
    tip.hidden = !found || distance(found) > 60 ** 2;
    dot.setAttribute("visibility", tip.hidden ? "hidden" : "visible");
    if (tip.hidden) return;
    if (!banded && found.curve !== near) bands.replaceChildren(...bandsOf(found.curve, axes));
    near = found.curve;
    filled(dot, { cx: found.x, cy: found.y, fill: found.curve.color }, []);
    tip.replaceChildren(...inLines([found.curve.name, ...found.lines]));
    tip.style.top = `${found.y + 12}px`;
    tip.style.left = `${Math.max(0, Math.min(found.x + 12, width - tip.offsetWidth - 4))}px`;
  };
  picture.onpointerup = (event) => {
    const [x] = at(event), start = from;
    from = null;
    taken.setAttribute("visibility", "hidden");
    if (start === null || Math.abs(x - start) < 8) return;
    const ends = [Math.min(start, x), Math.max(start, x)].map((end) => axes.step(end));
    view.steps = [Math.max(ends[0], axes.steps[0]), Math.min(ends[1], axes.steps[1])];
    again();
  };
  picture.onpointerleave = () => { tip.hidden = true; dot.setAttribute("visibility", "hidden"); };
  picture.ondblclick = () => { view.steps = null; again(); };
}
