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
const rowOf = ({ own }) => [`${own.rule} f=${own.f}`];
const columnOf = ({ own }) =>
  [own.attack, `rate ${own.rate}`, own.nesterov ? "Nesterov" : "plain", own.other].filter(Boolean);

function drawQuantities(changed) {
  const places = new Set(comparisons.flatMap(({ at }) => Object.keys(at)));
  const choices = Object.entries(QUANTITIES).filter(([name]) => name !== "server" || places.has(name));
  drawChoice(document.getElementById("quantities"), "quantity", choices.map(([name, { label }]) => [name, label]),
    quantity, (name) => { quantity = name; changed(); });
}

/** Draws the panels; `open` is called with the comparison whose cell is clicked. */
function drawHeatmaps(selected, open) {
  // The place is what a cell compares: it filters nothing here.
  const shown = comparisons.filter(({ own }) => passes(own, ["place"]));
  const { label, unit, of } = QUANTITIES[quantity];
  const gain = quantity === "gain";
  const values = new Map(shown.map((comparison) => [comparison, of(comparison)]));
  const most = Math.max(5, ...[...values.values()].map(({ mean }) => Math.abs(100 * mean) || 0));
  const datasets = inOrder("dataset", shown.map(({ own }) => own.dataset));
  document.getElementById("heatmap-title").textContent =
    `The grid: ${label}, in ${unit === "%" ? "%" : "percentage points"}` +
    (datasets.length ? ` (${datasets.join(", ")})` : "");
  document.getElementById("no-cell").hidden = shown.length > 0;
  // Orange is momentum at the update and blue at the workers, here as in all pictures.
  const colors = gain ? ["update", "neutral", "worker"].map(color) : ACCURACIES;
  const shareOf = (mean) => (Number.isFinite(mean) ? (gain ? 0.5 + 50 * mean / most : mean) : null);
  document.getElementById("heatmaps").replaceChildren(...datasets.map((dataset) => {
    const list = shown.filter(({ own }) => own.dataset === dataset);
    const panel = heatmap({
      title: `${dataset}, n = ${[...new Set(list.map(({ own }) => own.n))].join(", ")}`,
      colors, ...axesOf(list),
      cellOf: (comparison) => {
        const { mean } = values.get(comparison);
        const lost = Object.values(comparison.at).flatMap((index) => divergedOf(configurations[index])).length;
        return {
          text: (Number.isFinite(mean) ? (gain ? points : percent)(mean) : "") + (lost ? " ✕" : ""),
          title: hoverOf(comparison, lost), share: shareOf(mean),
          selected: comparison === selected, open: () => open(comparison),
        };
      },
    });
    panel.dataset.dataset = dataset;
    return panel;
  }));
  drawScale(colors, ...(gain
    ? [`at the update better by ${most.toFixed(0)} points`, `at the workers by ${most.toFixed(0)}`] : ["0 %", "100 %"]));
  drawClaim(shown);
}

/** Headings down and across, and which comparison stands where. */
function axesOf(list) {
  const byText = (of) => new Map(list.map((comparison) => [of(comparison).join("\n"), of(comparison)]));
  const rows = byText(rowOf), columns = byText(columnOf);
  const first = (text) => list.find((comparison) => columnOf(comparison).join("\n") === text).own;
  const order = [...columns.keys()].sort((a, b) => {
    const [p, q] = [first(a), first(b)].map((own) =>
      [position("attack", own.attack), own.attack, own.other, -own.rate, own.nesterov]);
    return compareKeys(p, q);
  });
  const places = new Map(list.map((comparison) =>
    [`${rowOf(comparison).join("\n")}\n\n${columnOf(comparison).join("\n")}`, comparison]));
  const names = [...rows.keys()];
  return {
    rows: [...rows.values()], columns: order.map((text) => columns.get(text)),
    at: (i, j) => places.get(`${names[i]}\n\n${order[j]}`) ?? null,
  };
}

function hoverOf(comparison, lost) {
  const lines = [titleOf(comparison.own)];
  for (const place of inOrder("place", Object.keys(comparison.at))) {
    lines.push(`at ${place}: ${spreadOf(accuracyAt(comparison, place))} %`);
  }
  lines.push(`unattacked: ${spreadOf(QUANTITIES.reference.of(comparison))} %`);
  const gain = QUANTITIES.gain.of(comparison);
  lines.push(`gain: ${spreadOf(gain, points)} points, ${counted(gain.count, "seed")}`);
  if (lost) lines.push(`✕ ${counted(lost, "run")} diverged`);
  return lines.join("\n");
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
