// A heatmap: a table whose cells are coloured, so that it is read, searched and tabbed through.

/** at: (i, j) -> what stands there or null; cellOf: of it, the text, title, share of the colours (null:
 *  none), whether it is selected, and what a click does. Headings are lists of lines. */
function heatmap({ title, rows, columns, colors, at, cellOf }) {
  const table = element("table", { class: "heat" },
    element("caption", {}, title),
    element("thead", {}, element("tr", {}, element("td"),
      ...columns.map((lines) => element("th", { scope: "col" }, ...inLines(lines))))),
    element("tbody", {}, ...rows.map((row, i) => element("tr", {},
      element("th", { scope: "row" }, ...inLines(row)),
      ...columns.map((_, j) => heatCell(at(i, j), cellOf, colors))))));
  return element("div", { class: "panel scroll", tabindex: 0, role: "region", "aria-label": title }, table);
}

const inLines = (lines) => lines.flatMap((line, i) => (i ? [element("br"), line] : [line]));

function heatCell(what, cellOf, colors) {
  if (what === null) return element("td", { class: "gone", title: "not run" });
  const cell = cellOf(what);
  const tint = cell.share === null ? null : shade(colors, cell.share);
  return element("td", { class: cell.selected ? "selected" : null },
    element("button", {
      type: "button", title: cell.title, onclick: cell.open,
      style: tint && `background: ${tint.background}; color: ${tint.ink}`,
    }, cell.text || "–"));
}

function drawScale(colors, low, high) {
  document.getElementById("scale").replaceChildren(
    low, element("span", { style: `background: linear-gradient(to right, ${colors.join(", ")})` }), high);
}
