// The table at the end of a page: sorted by a click, saved as CSV or LaTeX.
//
// A column has a name, the text of a row's cell, its key for sorting, whether it is a number, and
// for CSV `values`: by heading, the text if there are none.

const ROWS_AT_FIRST = 100;
const sorting = { name: null, down: false };
let rowsShown = ROWS_AT_FIRST;

/** Draws the rows; `more` gives what stands in a row's last cell. */
function drawTable({ title, note, rows, columns, file, more = null }) {
  const again = () => drawTable({ title, note, rows, columns, file, more });
  document.getElementById("table-title").textContent = title;
  document.getElementById("table-note").textContent = note;
  const list = sorted(rows, columns);
  document.querySelector("#table thead").replaceChildren(element("tr", {},
    ...columns.map((column) => headOf(column, again)), ...(more ? [element("td")] : [])));
  document.querySelector("#table tbody").replaceChildren(...list.slice(0, rowsShown).map((row) => {
    const line = element("tr", { "data-name": row.name },
      ...columns.map((column) => element("td", { class: classOf(column) }, String(column.text(row)))));
    if (more) line.append(element("td", {}, ...more(row, line)));
    return line;
  }));
  const rest = document.getElementById("more");
  rest.hidden = list.length <= rowsShown;
  rest.textContent = `show all ${numberOf.format(list.length)}`;
  rest.onclick = () => { rowsShown = Infinity; again(); };
  document.getElementById("exports").replaceChildren(
    element("button", { type: "button", id: "save-csv", onclick: () => save(`${file}.csv`, "text/csv", asCsv(list, columns)) }, "save as CSV"),
    element("button", { type: "button", id: "save-latex", onclick: () => save(`${file}.tex`, "text/x-tex", asLatex(list, columns)) }, "save as LaTeX"),
    element("span", { class: "note" }, `${counted(list.length, "row")}, as filtered and sorted`));
}

const classOf = (column) => `${column.number ? "number" : ""}${column.name === "diverged" ? " diverged" : ""}`;

function sorted(rows, columns) {
  const column = columns.find(({ name }) => name === sorting.name);
  if (!column) return rows;
  const sign = sorting.down ? -1 : 1;
  return [...rows].sort((a, b) => sign * compareKeys(column.key(a), column.key(b)));
}

function headOf(column, again) {
  const sort = () => {
    sorting.down = sorting.name === column.name && !sorting.down;
    sorting.name = column.name;
    again();
  };
  return element("th", {
    scope: "col", class: classOf(column), tabindex: 0, onclick: sort,
    onkeydown: (event) => { if (event.key === "Enter") sort(); },
    "aria-sort": sorting.name !== column.name ? "none" : sorting.down ? "descending" : "ascending",
  }, column.name);
}

const valuesOf = (column, row) => (column.values ? column.values(row) : { [column.name]: column.text(row) });

/** Comma-separated, numbers and their deviations in columns of their own: for programs. */
function asCsv(rows, columns) {
  const lines = rows.map((row) => Object.assign({}, ...columns.map((column) => valuesOf(column, row))));
  const names = [...new Set(lines.flatMap(Object.keys))];
  const quoted = (value) => {
    const text = value === null || Number.isNaN(value) ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...lines.map((line) => names.map((name) => line[name] ?? null))]
    .map((line) => line.map(quoted).join(",") + "\n").join("");
}

/** A tabular for the package booktabs, as it stands on the page. */
function asLatex(rows, columns) {
  const escaped = (text) => [...String(text)].map((sign) => content.latex[sign] ?? sign).join("");
  const line = (cells) => `  ${cells.map(escaped).join(" & ")} \\\\\n`;
  return `\\begin{tabular}{${columns.map(({ number }) => (number ? "r" : "l")).join("")}}\n  \\toprule\n` +
    line(columns.map(({ name }) => name)) + "  \\midrule\n" +
    rows.map((row) => line(columns.map((column) => column.text(row)))).join("") +
    "  \\bottomrule\n\\end{tabular}\n";
}
