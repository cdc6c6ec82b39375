// The table of configurations; a row opens its runs and their commands.

const ROWS_AT_FIRST = 100;
const COLUMNS = [
  ["data set", (c) => c.dataset, (c) => [position("dataset", c.dataset), c.dataset]],
  ["rule", (c) => c.rule, (c) => [position("rule", c.rule), c.rule]],
  ["attack", (c) => c.attack, (c) => [position("attack", c.attack), c.attack]],
  ["momentum at", (c) => (c.attack === "none" ? "–" : c.place), (c) => [c.attack === "none" ? "" : c.place]],
  ["f of n", (c) => `${c.f} of ${c.n}`, (c) => [c.f, c.n], "number"],
  ["rate", (c) => String(c.rate), (c) => [c.rate], "number"],
  ["Nesterov", (c) => (c.nesterov ? "on" : "off"), (c) => [c.nesterov]],
  ["other settings", (c) => c.other, (c) => [c.other]],
  ["highest, %", (c) => spreadOf(accuracyOf(c)), (c) => [accuracyOf(c).mean], "number"],
  ["final, %", (c) => spreadOf(finalOf(c)), (c) => [finalOf(c).mean], "number"],
  ["seeds", (c) => String(c.runs.length), (c) => [c.runs.length], "number"],
  ["diverged", (c) => divergedOf(c).length || "", (c) => [divergedOf(c).length], "number"],
];
const finalOf = (c) => statistics(c.runs.map((run) => runs.final_accuracy[run]));
const sorting = { column: null, down: false };
let rowsShown = ROWS_AT_FIRST;

function drawTable(open) {
  const list = ordered.filter((configuration) => passes(configuration));
  const used = COLUMNS.filter(([name]) => name !== "other settings" || configurations.some(({ other }) => other));
  const count = list.reduce((sum, { runs: own }) => sum + own.length, 0);
  document.getElementById("table-title").textContent =
    `Table: ${numberOf.format(list.length)} configurations, ${numberOf.format(count)} runs`;
  if (sorting.column !== null) {
    const [, , key] = COLUMNS[sorting.column], sign = sorting.down ? -1 : 1;
    list.sort((a, b) => sign * compareKeys(key(a), key(b)));
  }
  document.querySelector("#table thead").replaceChildren(element("tr", {},
    ...used.map((column) => {
      const i = COLUMNS.indexOf(column);
      return element("th", {
        scope: "col", class: column[3] || "", tabindex: 0,
        "aria-sort": sorting.column === i ? (sorting.down ? "descending" : "ascending") : "none",
        onclick: () => sortBy(i, open),
        onkeydown: (event) => { if (event.key === "Enter") sortBy(i, open); },
      }, column[0]);
    }), element("th", { scope: "col" }, "")));
  document.querySelector("#table tbody").replaceChildren(...list.slice(0, rowsShown).map((c) => rowFor(c, used, open)));
  const more = document.getElementById("more");
  more.hidden = list.length <= rowsShown;
  more.textContent = `show all ${numberOf.format(list.length)}`;
  more.onclick = () => { rowsShown = Infinity; drawTable(open); };
}

function sortBy(column, open) {
  sorting.down = sorting.column === column && !sorting.down;
  sorting.column = column;
  drawTable(open);
}

function rowFor(configuration, used, open) {
  const row = element("tr", { "data-name": configuration.name },
    ...used.map(([name, text, , kind]) => element("td", {
      class: `${kind || ""}${name === "diverged" ? " diverged" : ""}`,
    }, String(text(configuration)))));
  const toggle = element("button", { type: "button", "aria-expanded": "false", onclick: () => {
    const next = row.nextElementSibling;
    const opened = next !== null && next.classList.contains("runs");
    toggle.setAttribute("aria-expanded", String(!opened));
    if (opened) return next.remove();
    row.after(element("tr", { class: "runs" },
      element("td", { colspan: used.length + 1 }, commandsOf(configuration))));
  } }, "runs");
  const comparison = comparisons.find(({ at }) => Object.values(at).includes(configuration.index));
  row.append(element("td", {}, toggle, " ",
    ...(comparison ? [element("button", { type: "button", onclick: () => open(comparison) }, "curves")] : [])));
  return row;
}

/** Every run of a configuration: seed, accuracy, and its command with a button that copies it. */
function commandsOf(configuration) {
  const grid = element("div", { class: "commands" });
  for (const run of configuration.runs) {
    const text = configuration.command && `${configuration.command} --seeds ${runs.seed[run]}`;
    const lost = runs.diverged[run] !== null;
    grid.append(
      element("span", {}, `seed ${runs.seed[run]}: highest ${percent(runs.highest_accuracy[run])} %, final ${percent(runs.final_accuracy[run])} %`,
        ...(lost ? [element("span", { class: "diverged" }, ` ✕ diverged at step ${runs.diverged[run]}`)] : [])),
      text ? element("button", { type: "button", class: "copy", onclick: copy }, "copy") : "",
      text ? inWords(text) : element("code", {}, "no command line gives this run: some of its settings are not options"));
  }
  return grid;
}

/** A command that breaks between its words and options only; its text stays as it is. */
function inWords(text) {
  const code = element("code");
  text.split(/ (?=--)/).forEach((part, i) => code.append(i ? " " : "", element("span", {}, part)));
  return code;
}

async function copy(event) {
  const button = event.currentTarget, code = button.nextElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
  } catch {
    // No right to the clipboard: the text is selected, to be copied by hand.
    getSelection().selectAllChildren(code);
    button.textContent = "selected";
  }
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}
