// What passes: for each property the chosen values, all of them if none is chosen.
//
// FILTERS, of the page's own: by name the label, the value of an item, and how it is written.

const MOST_BUTTONS = 14; // in a line; more are folded away
const chosen = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, new Set()]));

/** Whether an item passes. `except`: filters that are not asked. */
const passes = (item, except = []) =>
  Object.entries(FILTERS).every(([name, { value }]) =>
    !chosen[name].size || except.includes(name) || chosen[name].has(value(item)));

/** A group of buttons a filter, but where there is nothing to choose. */
function drawFilters(items, changed) {
  const bar = document.getElementById("filters");
  for (const [name, { label, value, text = String, order = (values) => values }] of Object.entries(FILTERS)) {
    const values = order([...new Set(items.map(value).filter((one) => one !== null))]);
    if (values.length < 2) continue;
    const buttons = values.map((one) => element("button", {
      type: "button", "aria-pressed": "false", "data-filter": name, "data-value": String(one),
      onclick: (event) => {
        const on = !chosen[name].delete(one);
        if (on) chosen[name].add(one);
        event.currentTarget.setAttribute("aria-pressed", on);
        changed();
      },
    }, text(one)));
    const group = (...parts) => element("div", { class: "filter", role: "group", "aria-label": label }, ...parts);
    bar.append(values.length > MOST_BUTTONS
      ? element("details", {}, element("summary", {}, `${label} (${values.length})`), group(...buttons))
      : group(element("span", {}, label), ...buttons));
  }
  bar.append(element("button", {
    type: "button", id: "clear",
    onclick: () => {
      Object.values(chosen).forEach((set) => set.clear());
      bar.querySelectorAll("[aria-pressed]").forEach((one) => one.setAttribute("aria-pressed", "false"));
      changed();
    },
  }, "clear"));
}
