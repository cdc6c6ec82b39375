// A page of one table: its heatmap, an open cell, and all of it. `content` names its columns:
// panel, down and across are the keys; a quantity has its column, its deviation's, and its colours.

const rows = content.rows;
const state = { selected: rows[0] ?? null, quantity: content.quantities[0] };
const COLORS = {
  // Cividis (Nuñez, Anderton and Renslow, 2018): even to the colour-blind, and in grey.
  high: ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"],
};
COLORS.low = COLORS.high.toReversed();

const textOf = (row, name) => (row[name] === null ? "–" : String(row[name]));
const finite = (values) => values.filter((value) => typeof value === "number" && Number.isFinite(value));

/** A number as it is read: in percent, in three digits with a deviation of as many places, or as is. */
function written(row, { name, deviation, percent: isPercent }) {
  const value = row[name];
  if (value === "infinite") return "∞";
  if (typeof value !== "number") return textOf(row, name);
  const spread = typeof row[deviation] === "number" ? row[deviation] : NaN;
  if (isPercent) return spreadOf({ mean: value, deviation: spread });
  if (deviation === undefined) return String(value);
  const size = value ? Math.floor(Math.log10(Math.abs(value))) : 0;
  if (size < -3 || size > 5) return value.toExponential(1);
  const places = Math.max(0, 2 - Math.max(size, -1));
  return value.toFixed(places) + (Number.isFinite(spread) ? ` ± ${spread.toFixed(places)}` : "");
}
/** A key as it stands in a heading: a number says of what. */
const headingOf = (row, name) => (typeof row[name] === "number" ? `${labelOf[name]} = ${row[name]}` : textOf(row, name));
const labelOf = Object.fromEntries(content.columns.map(({ name, label }) => [name, label]));

/** Where in the colours a value stands: of the whole scale, or of the largest in its column. */
function shareOf(row, shown) {
  const { name, within } = state.quantity;
  const value = row[name];
  if (value === "infinite") return 1;
  if (typeof value !== "number") return null;
  if (within) return (value - within[0]) / (within[1] - within[0]);
  const alike = shown.filter((other) => [...content.panel, ...content.across].every((key) => other[key] === row[key]));
  return value / Math.max(...finite(alike.map((other) => other[name])));
}

function drawHeatmaps() {
  const shown = rows.filter((row) => passes(row));
  const { label, colors, within, percent: isPercent } = state.quantity;
  const join = (names) => (row) => names.map((name) => headingOf(row, name));
  const panels = Map.groupBy(shown, (row) => join(content.panel)(row).join(", "));
  document.getElementById("heatmap-title").textContent = `Heatmap: ${label}`;
  document.getElementById("no-cell").hidden = shown.length > 0;
  document.getElementById("heatmaps").replaceChildren(...[...panels].map(([title, list]) => {
    const down = new Map(list.map((row) => [join(content.down)(row).join("\n"), join(content.down)(row)]));
    const across = new Map(list.map((row) => [join(content.across)(row).join("\n"), join(content.across)(row)]));
    const places = new Map(list.map((row) => [JSON.stringify([join(content.down)(row), join(content.across)(row)]), row]));
    const [downward, acrossward] = [[...down.values()], [...across.values()]];
    return heatmap({
      title, rows: downward, columns: acrossward, colors: COLORS[colors],
      at: (i, j) => places.get(JSON.stringify([downward[i], acrossward[j]])) ?? null,
      cellOf: (row) => ({
        text: written(row, { ...state.quantity, deviation: null }) + (row.diverged > 0 ? " ✕" : ""),
        title: known(row).map(([name, text]) => `${name}: ${text}`).join("\n"),
        share: shareOf(row, shown), selected: row === state.selected, open: () => openCell(row),
      }),
    });
  }));
  const ends = within ? within.map((end) => (isPercent ? `${100 * end} %` : `${Number(end.toPrecision(3))}`)) : ["0", "the largest of its column"];
  drawScale(COLORS[colors], ...ends);
}

/** All that is known of a row, in words. */
const known = (row) => COLUMNS.map((column) => [column.name, String(column.text(row))]).filter(([, text]) => text !== "–");

function openCell(row) {
  state.selected = row;
  drawHeatmaps();
  drawCell();
}
function drawCell() {
  const pairs = state.selected === null ? [] : known(state.selected);
  document.getElementById("cell").replaceChildren(...pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
}

const COLUMNS = content.columns.map((column) => {
  const { name, label, number, percent: isPercent, deviation } = column;
  return {
    name: label, number,
    text: (row) => (number ? written(row, column) : textOf(row, name)),
    key: (row) => [typeof row[name] === "number" ? row[name] : number ? Infinity : textOf(row, name)],
    values: (row) => (isPercent && typeof row[name] === "number"
      ? inPercent(label, { mean: row[name], deviation: row[deviation] ?? NaN })
      : { [label]: row[name], ...(deviation ? { [`${label} ±`]: row[deviation] } : {}) }),
  };
});

function drawRows() {
  drawTable({
    title: `Table: ${counted(rows.filter((row) => passes(row)).length, "row")}`, note: content.note,
    rows: rows.filter((row) => passes(row)), columns: COLUMNS, file: content.file,
  });
}
function drawAll() {
  drawHeatmaps();
  drawCell();
  drawRows();
}

document.getElementById("shown").textContent = content.shown;
document.getElementById("lead").textContent = content.lead;
startTheme(drawAll);
drawVersions();
drawFilters(rows, drawAll);
drawChoice(document.getElementById("quantities"), "quantity",
  content.quantities.map(({ name, label }) => [name, label]), state.quantity.name, (name) => {
    state.quantity = content.quantities.find((one) => one.name === name);
    drawHeatmaps();
  });
drawAll();
document.body.dataset.drawn = "";
