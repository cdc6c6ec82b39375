// Curves over steps: of the cell that is open, or of all that passes the filters.

const MOST_CURVES = 60;
const DASHES = { update: "dash", worker: "solid", server: "dashdot", none: "dot" };
const RULES = {
  krum: "#e69f00", median: "#3a9fd6", trmean: "#009e73", phocas: "#cc79a7", meamed: "#d55e00",
  bulyan: "#7a6fd0", average: "#8a8f98",
};

function titleOf(own) {
  const parts = [own.dataset];
  parts.push(own.attack === "none" ? "unattacked" : `${own.rule} against ${own.attack}, f = ${own.f} of ${own.n}`);
  parts.push(`learning rate ${own.rate}${own.nesterov ? ", Nesterov" : ""}`);
  if (own.other) parts.push(own.other);
  return parts.join(" · ");
}

function curvesOfCell(comparison) {
  const list = inOrder("place", Object.keys(comparison.at)).map((place) => configurations[comparison.at[place]]);
  const reference = comparison.reference === null ? [] : [configurations[comparison.reference]];
  return [...reference, ...list].map((configuration) => {
    const what = configuration.attack === "none" ? "unattacked" : configuration.place;
    return {
      configuration, color: color(what), dash: DASHES[what] || DASHES.none,
      name: what === "unattacked" ? "unattacked average" : `momentum at ${what}`,
    };
  });
}

function curvesOfAll() {
  const list = ordered.filter((configuration) => passes(configuration));
  const differs = (value) => new Set(list.map(value)).size > 1;
  // A name says only in what the curves differ.
  const parts = [
    (c) => c.dataset, (c) => (c.attack === "none" ? "unattacked" : c.rule), (c) => (c.attack === "none" ? "" : c.attack),
    (c) => (c.attack === "none" ? `n=${c.n}` : `f=${c.f}`), (c) => `rate ${c.rate}`,
    (c) => (c.nesterov ? "Nesterov" : ""), (c) => c.other, (c) => (c.attack === "none" ? "" : `at ${c.place}`),
  ].filter(differs);
  return list.map((configuration) => ({
    configuration, color: RULES[configuration.rule] || color("faint"),
    dash: configuration.attack === "none" ? DASHES.none : DASHES[configuration.place],
    name: parts.map((part) => part(configuration)).filter(Boolean).join(" · ") || configuration.name,
  }));
}

/** What `drawPlot` needs of a curve: its band, what the pointer tells, and marks where runs diverged. */
function curveOf({ configuration, color: tint, dash, name }, metric, format) {
  const band = bandOf(configuration, metric);
  const { logarithmic } = metrics[metric];
  const lost = divergedOf(configuration);
  const hover = band.x.map((step, i) => {
    const spread = band.count[i] > 1
      ? logarithmic ? ` ×/÷ ${(band.high[i] / band.mean[i]).toPrecision(3)}` : ` ± ${format(band.high[i] - band.mean[i])}` : "";
    return [`step ${step}: ${format(band.mean[i])}${spread}`,
      `${band.count[i]} of ${counted(configuration.runs.length, "seed")}${lost.length ? `, ${lost.length} diverged` : ""}`];
  });
  const marks = lost.map((run) => {
    const steps = grids[runs.grid[run]], values = pointsOf(run, metric);
    const i = steps.findLastIndex((step, j) => step <= runs.diverged[run] && Number.isFinite(values[j]));
    return i < 0 ? null : {
      x: steps[i], y: logarithmic ? 10 ** values[i] : values[i],
      hover: [`seed ${runs.seed[run]} diverged at step ${runs.diverged[run]}`],
    };
  }).filter(Boolean);
  return { ...band, name, color: tint, dash, hover, marks };
}

const written = (value) => (value === null ? "–" : value.toPrecision(4));
const onAxis = (value) => (Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(0) : `${Number(value.toPrecision(3))}`);
const asPercent = (digits) => (value) => (value === null ? "–" : `${(100 * value).toFixed(digits)} %`);

/** Draws the curves of `comparison`, or of all that passes if it is null. */
function drawCurves(comparison, metric) {
  const all = comparison ? curvesOfCell(comparison) : curvesOfAll();
  const list = all.slice(0, MOST_CURVES);
  const { label, logarithmic } = metrics[metric];
  const accuracy = metric === "accuracy";
  document.getElementById("curves-title").textContent =
    comparison ? `Curves: ${titleOf(comparison.own)}` : `Curves: the ${counted(all.length, "configuration")} that pass the filters`;
  document.getElementById("curves-note").textContent = (comparison
    ? "Mean over seeds, with a band of one deviation. "
    : "Mean over seeds; point at a curve for its band of one deviation. Colour: rule; dashed: momentum at the update, solid: at the workers, dotted: unattacked. ") +
    (accuracy ? "" : `A point is the ${logarithmic ? "geometric " : ""}mean of the steps up to the next. `) +
    (all.length > list.length ? `The first ${MOST_CURVES} of ${all.length} are drawn: narrow the filters for the others. ` : "") +
    "Drag over steps to see them larger, double click for all; a click on a name hides its curve.";
  drawPlot(document.getElementById("plot"), {
    curves: list.map((curve) => curveOf(curve, metric, accuracy ? asPercent(2) : written)),
    label: `${label}${accuracy ? " (%)" : logarithmic ? " (log)" : ""}`, logarithmic,
    format: accuracy ? asPercent(0) : onAxis, banded: comparison !== null,
    key: `${comparison ? titleOf(comparison.own) : "all"} ${metric}`,
  });
}

function savePlot() {
  const picture = document.querySelector("#plot .picture svg");
  save("curves.svg", "image/svg+xml", new XMLSerializer().serializeToString(picture));
}
