// What passes: for each property the chosen values, all of them if none is chosen.

const ORDER = {
  dataset: ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"],
  rule: ["krum", "median", "trmean", "phocas", "meamed", "bulyan", "average"],
  attack: ["none", "little", "empire"],
  place: ["update", "worker", "server"],
};
const FILTERS = {
  dataset: { label: "data set", value: (c) => c.dataset },
  rule: { label: "rule", value: (c) => c.rule },
  attack: { label: "attack", value: (c) => c.attack },
  place: { label: "momentum at", value: (c) => (c.attack === "none" ? null : c.place) },
  f: { label: "f", value: (c) => (c.attack === "none" ? null : c.f), text: (f) => `${f}` },
  rate: { label: "learning rate", value: (c) => c.rate },
  nesterov: { label: "Nesterov", value: (c) => c.nesterov, text: (on) => (on ? "on" : "off") },
  other: { label: "other settings", value: (c) => c.other, text: (other) => other || "none" },
};
const chosen = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, new Set()]));

/** Whether a configuration passes. `except`: filters that are not asked. */
const passes = (configuration, except = []) =>
  Object.entries(FILTERS).every(([name, { value }]) =>
    !chosen[name].size || except.includes(name) || chosen[name].has(value(configuration)));

function position(name, value) {
  const known = (ORDER[name] || []).indexOf(value);
  return known < 0 ? 1e6 : known;
}
function inOrder(name, values) {
  return [...new Set(values)].sort((a, b) =>
    position(name, a) - position(name, b) ||
    (typeof a === "string" ? a.localeCompare(b) : Number(b) - Number(a)));
}

function compareKeys(a, b) {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return 0;
}
// The order of everything that lists configurations: as the paper's tables go.
const orderOf = (c) => [
  position("dataset", c.dataset), c.dataset, c.n - c.f, c.attack !== "none", -c.f, position("rule", c.rule), c.rule,
  position("attack", c.attack), c.attack, -c.rate, c.nesterov, c.other, position("place", c.place),
];
const ordered = [...configurations].sort((a, b) => compareKeys(orderOf(a), orderOf(b)));
comparisons.sort((a, b) => compareKeys(orderOf(a.own), orderOf(b.own)));

function drawFilters(changed) {
  const bar = document.getElementById("filters");
  for (const [name, { label, value, text }] of Object.entries(FILTERS)) {
    const values = inOrder(name, configurations.map(value).filter((one) => one !== null));
    if (values.length < 2 && name === "other") continue;
    const group = element("div", { class: "filter", role: "group", "aria-label": label },
      element("span", {}, label));
    for (const one of values) {
      group.append(element("button", {
        type: "button", "aria-pressed": "false", "data-filter": name, "data-value": String(one),
        onclick: (event) => {
          const on = !chosen[name].has(one);
          on ? chosen[name].add(one) : chosen[name].delete(one);
          event.currentTarget.setAttribute("aria-pressed", on);
          changed();
        },
      }, text ? text(one) : String(one)));
    }
    bar.append(group);
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
