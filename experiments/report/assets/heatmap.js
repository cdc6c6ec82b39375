// The grid, a panel a data set: rules and f down, attacks and training settings across.

const QUANTITIES = {
  gain: {
    label: "gain: at workers − at update", unit: "points",
    of: (comparison) => statistics(pairsOf(comparison, false).map(({ gain }) => gain)),
  },
  worker: { label: "accuracy at workers", unit: "%", of: (comparison) => accuracyAt(comparison, "worker") },
  update: { label: "accuracy at update", unit: "%", of: (comparison) => accuracyAt(comparison, "update") },
  server: { label: "accuracy at server", unit: "%", of: (comparison) => accuracyAt(comparison, "server") },
  reference: {
    label: "accuracy unattacked", unit: "%",
    of: ({ reference }) => (reference === null ? statistics([]) : accuracyOf(configurations[reference])),
  },
};
let quantity = "gain";
// Cividis (Nuñez, Anderton and Renslow, 2018): even to the colour-blind, and in grey.
const ACCURACIES = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"];

function accuracyAt(comparison, place) {
  return place in comparison.at ? accuracyOf(configurations[comparison.at[place]]) : statistics([]);
}
const rowOf = ({ own }) => `${own.rule} f=${own.f}`;
const columnOf = ({ own }) =>
  [own.attack, `rate ${own.rate}`, own.nesterov ? "Nesterov" : "plain", own.other].filter(Boolean).join("<br>");

function drawQuantities(changed) {
  const bar = document.getElementById("quantities");
  const places = new Set(comparisons.flatMap(({ at }) => Object.keys(at)));
  for (const [name, { label }] of Object.entries(QUANTITIES)) {
    if (name === "server" && !places.has("server")) continue;
    bar.append(element("button", {
      type: "button", "data-quantity": name, "aria-pressed": String(name === quantity),
      onclick: () => {
        quantity = name;
        bar.querySelectorAll("button").forEach((one) =>
          one.setAttribute("aria-pressed", String(one.dataset.quantity === name)));
        changed();
      },
    }, label));
  }
}

/** Draws the panels; `open` is called with the comparison whose cell is clicked. */
function drawHeatmaps(selected, open) {
  // The place is what a cell compares: it filters nothing here.
  const shown = comparisons.filter(({ own }) => passes(own, ["place"]));
  const { label, unit, of } = QUANTITIES[quantity];
  const parent = document.getElementById("heatmaps");
  const values = new Map(shown.map((comparison) => [comparison, of(comparison)]));
  const most = Math.max(5, ...[...values.values()].map(({ mean }) => Math.abs(100 * mean) || 0));
  const datasets = inOrder("dataset", shown.map(({ own }) => own.dataset));
  document.getElementById("heatmap-title").textContent =
    `The grid: ${label}, in ${unit === "%" ? "%" : "percentage points"}` +
    (datasets.length ? ` (${datasets.join(", ")})` : "");
  document.getElementById("no-cell").hidden = shown.length > 0;
  const panels = datasets.map((dataset) => {
    let panel = parent.querySelector(`[data-dataset="${CSS.escape(dataset)}"]`);
    return panel || element("div", { class: "panel", "data-dataset": dataset });
  });
  [...parent.children].filter((child) => !panels.includes(child)).forEach((child) => {
    Plotly.purge(child);
    child.remove();
  });
  parent.append(...panels); // all of them before the first is drawn, as they share the width
  datasets.forEach((dataset, i) => {
    const list = shown.filter(({ own }) => own.dataset === dataset);
    drawPanel(panels[i], dataset, list, values, most, selected, open);
  });
  drawScale(most);
  drawClaim(shown);
}

/** Colours of the shown quantity, from its least to its greatest value. */
const scale = () => (quantity === "gain" ? ["update", "neutral", "worker"].map(color) : ACCURACIES);

function drawScale(most) {
  const [low, high] = quantity === "gain" ? [`−${most.toFixed(0)} points`, `+${most.toFixed(0)} points`] : ["0 %", "100 %"];
  document.getElementById("scale").replaceChildren(
    low, element("span", { style: `background: linear-gradient(to right, ${scale().join(", ")})` }), high);
}

function drawPanel(panel, dataset, list, values, most, selected, open) {
  const rows = [...new Set(list.map(rowOf))], columns = [...new Set(list.map(columnOf))];
  columns.sort((a, b) => {
    const first = (column) => list.find((comparison) => columnOf(comparison) === column).own;
    const [p, q] = [first(a), first(b)].map((own) =>
      [position("attack", own.attack), own.attack, own.other, -own.rate, own.nesterov]);
    return compareKeys(p, q);
  });
  const gain = quantity === "gain";
  const grid = (fill) => rows.map(() => columns.map(() => fill));
  const z = grid(null), text = grid(""), hover = grid("not run"), at = grid(null);
  for (const comparison of list) {
    const i = rows.indexOf(rowOf(comparison)), j = columns.indexOf(columnOf(comparison));
    const value = values.get(comparison);
    const lost = Object.values(comparison.at).flatMap((index) => divergedOf(configurations[index])).length;
    at[i][j] = comparison;
    const known = Number.isFinite(value.mean);
    z[i][j] = known ? 100 * value.mean : null;
    text[i][j] = (known ? (gain ? points : percent)(value.mean) : "") + (lost ? " ✕" : "");
    hover[i][j] = hoverOf(comparison, lost);
  }
  const colors = scale(), lines = Math.max(...columns.map((column) => column.split("<br>").length));
  Plotly.react(panel, [{
    type: "heatmap", z, text, customdata: hover, x: columns.map((_, j) => j), y: rows.map((_, i) => i),
    texttemplate: "%{text}", hovertemplate: "%{customdata}<extra></extra>", hoverongaps: true,
    xgap: 2, ygap: 2, showscale: false, zmin: gain ? -most : 0, zmax: gain ? most : 100,
    colorscale: colors.map((tint, i) => [i / (colors.length - 1), tint]),
  }], {
    ...layoutOf(), height: 56 + 14 * lines + 27 * rows.length,
    title: { text: `${dataset}, n = ${[...new Set(list.map(({ own }) => own.n))].join(", ")}`, font: { size: 15 }, x: 0, xref: "paper", y: 0.985, yanchor: "top" },
    margin: { l: 104, r: 10, t: 34, b: 20 + 14 * lines },
    plot_bgcolor: color("gone"),
    xaxis: {
      tickvals: columns.map((_, j) => j), ticktext: columns, tickangle: 0, showgrid: false, zeroline: false,
      fixedrange: true, tickfont: { size: 10.5 },
    },
    yaxis: {
      tickvals: rows.map((_, i) => i), ticktext: rows, autorange: "reversed", showgrid: false,
      zeroline: false, fixedrange: true,
    },
    shapes: outline(at, selected),
  }, { ...CONFIG, displayModeBar: false });
  panel.cells = at;
  panel.removeAllListeners("plotly_click");
  panel.on("plotly_click", ({ points: [point] }) => {
    const comparison = panel.cells[point.y][point.x];
    if (comparison) open(comparison);
  });
}

function hoverOf(comparison, lost) {
  const lines = [titleOf(comparison.own)];
  for (const place of inOrder("place", Object.keys(comparison.at))) {
    lines.push(`at ${place}: ${spreadOf(accuracyAt(comparison, place))} %`);
  }
  lines.push(`unattacked: ${spreadOf(QUANTITIES.reference.of(comparison))} %`);
  const gain = QUANTITIES.gain.of(comparison);
  lines.push(`<b>gain: ${spreadOf(gain, points)} points</b>, ${gain.count} seeds`);
  if (lost) lines.push(`✕ ${lost} runs diverged`);
  return lines.join("<br>");
}

function outline(at, selected) {
  const shapes = [];
  at.forEach((row, i) => row.forEach((comparison, j) => {
    if (comparison && comparison === selected) {
      shapes.push({
        type: "rect", x0: j - 0.5, x1: j + 0.5, y0: i - 0.5, y1: i + 0.5,
        line: { color: color("ink"), width: 3 },
      });
    }
  }));
  return shapes;
}

/** The paper's question, for what is shown. */
function drawClaim(shown) {
  const pairs = shown.flatMap((comparison) => pairsOf(comparison, true));
  const body = document.querySelector("#claim tbody");
  body.replaceChildren(...[0.1, 0.2, 0.4].map((x) => {
    const hit = pairs.filter(({ reference, update }) => reference - update > x);
    const share = (least) => hit.length
      ? `${(100 * hit.filter(({ gain }) => gain > least).length / hit.length).toFixed(0)} %` : "–";
    const mean = statistics(hit.map(({ gain }) => gain)).mean;
    return element("tr", {}, ...[`${100 * x} points`, `${numberOf.format(hit.length)} of ${numberOf.format(pairs.length)}`,
      share(0), share(0.1), share(0.2), points(mean)].map((cell) => element("td", {}, cell)));
  }));
}
