// Curves over steps: of the cell that is open, or of all that passes the filters.

const MOST_CURVES = 60;
const DASHES = { update: "dash", worker: "solid", server: "dashdot", none: "dot" };
const RULES = {
  krum: "#e69f00", median: "#3a9fd6", trmean: "#009e73", phocas: "#cc79a7", meamed: "#d55e00",
  bulyan: "#7a6fd0", average: "#8a8f98",
};
// Named one by one: some of plotly's own buttons send the picture to a server.
const CONFIG = {
  displaylogo: false, responsive: true,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};

/** What all pictures share, in the colours of the theme. */
function layoutOf() {
  const axis = { gridcolor: color("line"), zerolinecolor: color("line"), linecolor: color("line"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: color("paper"), bordercolor: color("faint"), font: { color: color("ink") }, align: "left" },
    xaxis: axis, yaxis: axis,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("faint"), activecolor: color("ink") },
  };
}

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

/** A band, its mean curve, and a mark where each diverged run ends. */
function tracesOf({ configuration, color: tint, dash, name }, metric, banded) {
  const band = bandOf(configuration, metric);
  const { logarithmic } = metrics[metric];
  const lost = divergedOf(configuration);
  const format = (value) => (value === null ? "–" : metric === "accuracy" ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4));
  const hover = band.x.map((step, i) => {
    const spread = band.count[i] > 1
      ? logarithmic ? ` ×/÷ ${(band.high[i] / band.mean[i]).toPrecision(3)}` : ` ± ${format(band.high[i] - band.mean[i])}` : "";
    return `<b>${name}</b><br>step ${step}: ${format(band.mean[i])}${spread}<br>${band.count[i]} of ${configuration.runs.length} seeds` +
      (lost.length ? `, ${lost.length} diverged` : "");
  });
  const edge = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: name };
  const traces = [];
  if (banded) {
    traces.push({ ...edge, x: band.x, y: band.low });
    traces.push({ ...edge, x: band.x, y: band.high, fill: "tonexty", fillcolor: `${tint}33`, meta: "band" });
  }
  traces.push({
    type: "scatter", mode: "lines", name, legendgroup: name, x: band.x, y: band.mean, customdata: hover,
    hovertemplate: "%{customdata}<extra></extra>", line: { color: tint, dash, width: 2 }, meta: configuration.index,
  });
  if (lost.length) {
    const last = lost.map((run) => {
      const grid = grids[runs.grid[run]], values = pointsOf(run, metric);
      let i = grid.findLastIndex((step, j) => step <= runs.diverged[run] && Number.isFinite(values[j]));
      return i < 0 ? null : { x: grid[i], y: logarithmic ? 10 ** values[i] : values[i], run };
    }).filter(Boolean);
    traces.push({
      type: "scatter", mode: "markers", name: `${name}: diverged`, legendgroup: name, showlegend: false,
      x: last.map(({ x }) => x), y: last.map(({ y }) => y),
      marker: { symbol: "x", size: 10, color: tint, line: { color: color("paper"), width: 1 } }, meta: "diverged",
      customdata: last.map(({ run }) => `<b>${name}</b><br>seed ${runs.seed[run]} diverged at step ${runs.diverged[run]}`),
      hovertemplate: "%{customdata}<extra></extra>",
    });
  }
  return traces;
}

/** Of a logarithmic axis: ticks at 1, 2 and 5 of every decade, or at some decades if they are many. */
function tickOf(list, metric) {
  const values = list.map(({ configuration }) => bandOf(configuration, metric))
    .flatMap(({ low, high }) => [...low, ...high]).filter((value) => value > 0).map(Math.log10);
  const decades = values.reduce((a, b) => Math.max(a, b), 0) - values.reduce((a, b) => Math.min(a, b), 0);
  return decades > 3 ? Math.ceil(decades / 8) : "D2";
}

/** Draws the curves of `comparison`, or of all that passes if it is null. */
function drawCurves(comparison, metric) {
  const plot = document.getElementById("plot");
  const all = comparison ? curvesOfCell(comparison) : curvesOfAll();
  const list = all.slice(0, MOST_CURVES);
  const { label, logarithmic } = metrics[metric];
  document.getElementById("curves-title").textContent =
    comparison ? `Curves: ${titleOf(comparison.own)}` : `Curves: the ${numberOf.format(all.length)} configurations that pass the filters`;
  document.getElementById("curves-note").textContent = (comparison
    ? "Mean over seeds, with a band of one deviation. "
    : "Mean over seeds; point at a curve for its band of one deviation. Colour: rule; dashed: momentum at the update, solid: at the workers, dotted: unattacked. ") +
    (metric === "accuracy" ? "" : `A point is the ${logarithmic ? "geometric " : ""}mean of the steps up to the next. `) +
    (all.length > list.length ? `The first ${MOST_CURVES} of ${all.length} are drawn: narrow the filters for the others.` : "");
  const traces = list.flatMap((curve) => tracesOf(curve, metric, comparison !== null));
  const base = layoutOf();
  const draw = (shown) => Plotly.react(plot, shown, {
    ...base, margin: { l: 64, r: 12, t: 34, b: 46 }, hovermode: "closest",
    legend: comparison ? { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 } : { font: { size: 10 } },
    xaxis: { ...base.xaxis, title: { text: "step" }, rangemode: "tozero" },
    yaxis: {
      ...base.yaxis, title: { text: metric === "accuracy" ? `${label} (%)` : `${label}${logarithmic ? " (log)" : ""}` },
      ...(logarithmic ? { type: "log", dtick: tickOf(list, metric) } : { type: "linear" }),
      tickformat: metric === "accuracy" ? ".0%" : "", exponentformat: "power",
    },
    uirevision: `${comparison ? titleOf(comparison.own) : "all"} ${metric}`,
  }, CONFIG);
  draw(traces);
  plot.removeAllListeners("plotly_hover");
  plot.removeAllListeners("plotly_unhover");
  if (comparison) return;
  let hovered = null;
  plot.on("plotly_hover", ({ points: [point] }) => {
    const index = point.data.meta;
    if (typeof index !== "number" || index === hovered) return;
    hovered = index;
    const curve = list.find(({ configuration }) => configuration.index === index);
    draw([...traces, ...tracesOf(curve, metric, true).slice(0, 2)]);
  });
}
