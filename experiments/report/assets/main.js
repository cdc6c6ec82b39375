// What is open, and redrawing what depends on it.

const state = { selected: null, scope: "cell", metric: "accuracy" };

function describe() {
  const count = (dataset) => runs.configuration.filter((i) =>
    configurations[i].in_grid && configurations[i].dataset === dataset).length;
  const paper = Object.entries(content.grid).map(([dataset, all]) =>
    `${dataset} ${numberOf.format(count(dataset))} of the paper's ${numberOf.format(all)} runs`);
  const beside = runs.configuration.filter((i) => !configurations[i].in_grid).length;
  if (beside) paper.push(`${numberOf.format(beside)} runs beside the paper's grid`);
  const lost = runs.diverged.filter((step) => step !== null).length;
  document.getElementById("shown").textContent =
    `${numberOf.format(runs.seed.length)} runs of ${numberOf.format(configurations.length)} configurations: ${paper.join(", ")}. ` +
    (lost ? `${numberOf.format(lost)} diverged (✕).` : "None diverged.");
  document.getElementById("versions").append(
    element("p", {}, `From ${content.folders.join(", ")}.`),
    ...content.versions.map((line) => element("p", {}, line)),
    element("p", {}, "Curves are stored in 16 bits between their extremes; tables and the heatmap are exact."));
}

function open(comparison) {
  state.selected = comparison;
  state.scope = "cell";
  drawAll();
  document.getElementById("curves").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

function drawScopes() {
  const bar = document.getElementById("scopes");
  bar.replaceChildren(...[["cell", "the open cell"], ["all", "all that passes the filters"]].map(([name, label]) =>
    element("button", {
      type: "button", "data-scope": name, "aria-pressed": String(state.scope === name),
      disabled: name === "cell" && !state.selected,
      onclick: () => { state.scope = name; drawScopes(); drawLower(); },
    }, label)));
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
  drawTable(open);
}

function useTheme(name) {
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "light" : "dark";
}

useTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.getElementById("theme").onclick = () => {
  useTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  drawAll();
};
const select = document.getElementById("metric");
select.append(...Object.entries(metrics).map(([name, { label }]) => element("option", { value: name }, label)));
select.onchange = () => { state.metric = select.value; drawLower(); };
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
  drawFilters(drawAll);
  drawQuantities(() => drawHeatmaps(state.selected, open));
  drawHeatmaps(state.selected, open);
  await seen();
  drawScopes();
  drawLower();
  await seen();
  drawTable(open);
  document.body.dataset.drawn = "";
}
drawFirst();
