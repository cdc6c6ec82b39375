// What is open, and redrawing what depends on it.

const state = { selected: null, scope: "cell", metric: "accuracy" };

function describe() {
  const inGrid = (dataset) => runs.configuration.filter((i) =>
    configurations[i].in_grid && configurations[i].dataset === dataset).length;
  const sentences = Object.entries(content.grid).map(([dataset, all]) => [dataset, inGrid(dataset), all])
    .filter(([, count]) => count)
    .map(([dataset, count, all]) => `${numberOf.format(count)} of the ${numberOf.format(all)} that the paper's grid has of ${dataset}`);
  const others = runs.configuration.filter((i) => !configurations[i].in_grid).length;
  if (others === runs.seed.length) sentences.push("with settings of their own, none of which the paper's grid has");
  else if (others) sentences.push(`${numberOf.format(others)} with settings that the paper's grid does not have`);
  const lost = runs.diverged.filter((step) => step !== null).length;
  document.getElementById("shown").textContent =
    `${counted(runs.seed.length, "run")} of ${counted(configurations.length, "configuration")}: ${sentences.join(", ")}. ` +
    (lost ? `${numberOf.format(lost)} diverged (✕).` : "None diverged.");
}

function open(comparison) {
  state.selected = comparison;
  state.scope = "cell";
  drawAll();
  document.getElementById("curves").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

function drawScopes() {
  drawChoice(document.getElementById("scopes"), "scope",
    [["cell", "the open cell", !state.selected], ["all", "all that passes the filters"]], state.scope,
    (name) => { state.scope = name; drawLower(); });
}

function drawLower() {
  const comparison = state.scope === "cell" ? state.selected : null;
  drawCurves(comparison, state.metric);
  document.getElementById("cell-commands").replaceChildren(...(comparison
    ? curvesOfCell(comparison).map(({ configuration, name }) => element("details", {},
      element("summary", {}, `commands: ${name}`), commandsOf(configuration))) : []));
}

function drawAll() {
  drawHeatmaps(state.selected, open);
  drawScopes();
  drawLower();
  drawConfigurations(open);
}

startTheme(drawAll);
const select = document.getElementById("metric");
select.append(...Object.entries(metrics).map(([name, { label }]) => element("option", { value: name }, label)));
select.onchange = () => { state.metric = select.value; drawLower(); };
document.getElementById("save-plot").onclick = savePlot;
// The cell that gains most is open at first: the picture that the page is about.
state.selected = comparisons.reduce((best, comparison) => {
  const gain = QUANTITIES.gain.of(comparison).mean;
  return Number.isFinite(gain) && (!best || gain > best.gain) ? { gain, comparison } : best;
}, null)?.comparison ?? comparisons[0] ?? null;
if (!state.selected) state.scope = "all";

/** At first the picture, and what is further down once that is on the screen. */
async function drawFirst() {
  const seen = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  describe();
  drawVersions("Curves are stored in 16 bits between their extremes; tables and the heatmap are exact.");
  drawFilters(configurations, drawAll);
  drawQuantities(() => drawHeatmaps(state.selected, open));
  drawHeatmaps(state.selected, open);
  await seen();
  drawScopes();
  drawLower();
  await seen();
  drawConfigurations(open);
  document.body.dataset.drawn = "";
}
drawFirst();
// The picture of curves is as wide as the page.
window.onresize = () => drawLower();
