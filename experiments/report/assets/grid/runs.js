// The table of configurations; a row opens its runs and their commands.

const finalOf = (c) => statistics(c.runs.map((run) => runs.final_accuracy[run]));
const ofAccuracy = (name, of) => ({
  name, text: (c) => spreadOf(of(c)), key: (c) => [of(c).mean], number: true, values: (c) => inPercent(name, of(c)),
});
const COLUMNS = [
  { name: "data set", text: (c) => c.dataset, key: (c) => [position("dataset", c.dataset), c.dataset] },
  { name: "rule", text: (c) => c.rule, key: (c) => [position("rule", c.rule), c.rule] },
  { name: "attack", text: (c) => c.attack, key: (c) => [position("attack", c.attack), c.attack] },
  { name: "momentum at", text: (c) => (c.attack === "none" ? "–" : c.place), key: (c) => [c.attack === "none" ? "" : c.place] },
  {
    name: "f of n", text: (c) => `${c.f} of ${c.n}`, key: (c) => [c.f, c.n], number: true,
    values: (c) => ({ f: c.f, n: c.n }),
  },
  { name: "rate", text: (c) => String(c.rate), key: (c) => [c.rate], number: true },
  { name: "Nesterov", text: (c) => (c.nesterov ? "on" : "off"), key: (c) => [c.nesterov] },
  { name: "other settings", text: (c) => c.other, key: (c) => [c.other] },
  ofAccuracy("highest, %", accuracyOf),
  ofAccuracy("final, %", finalOf),
  { name: "seeds", text: (c) => String(c.runs.length), key: (c) => [c.runs.length], number: true },
  {
    name: "diverged", text: (c) => divergedOf(c).length || "", key: (c) => [divergedOf(c).length], number: true,
    values: (c) => ({ diverged: divergedOf(c).length }),
  },
];

function drawConfigurations(open) {
  const rows = ordered.filter((configuration) => passes(configuration));
  const count = rows.reduce((sum, { runs: own }) => sum + own.length, 0);
  const columns = COLUMNS.filter(({ name }) => name !== "other settings" || configurations.some(({ other }) => other));
  drawTable({
    title: `Table: ${counted(rows.length, "configuration")}, ${counted(count, "run")}`,
    note: "Highest and final top-1 test accuracy in %, mean ± deviation over seeds. “runs” opens the single runs and the command that gives each again.",
    rows, columns, file: "configurations", more: (configuration, line) => buttonsOf(configuration, line, open),
  });
}

function buttonsOf(configuration, line, open) {
  const toggle = element("button", { type: "button", "aria-expanded": "false", onclick: () => {
    const next = line.nextElementSibling;
    const opened = next !== null && next.classList.contains("runs");
    toggle.setAttribute("aria-expanded", String(!opened));
    if (opened) return next.remove();
    line.after(element("tr", { class: "runs" },
      element("td", { colspan: line.cells.length }, commandsOf(configuration))));
  } }, "runs");
  const comparison = comparisons.find(({ at }) => Object.values(at).includes(configuration.index));
  return [toggle, " ", ...(comparison ? [element("button", { type: "button", onclick: () => open(comparison) }, "curves")] : [])];
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
