// The order of everything that lists configurations, as the paper's tables go, and what filters them.

const ORDER = {
  dataset: ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"],
  rule: ["krum", "median", "trmean", "phocas", "meamed", "bulyan", "average"],
  attack: ["none", "little", "empire"],
  place: ["update", "worker", "server"],
};
const attacked = (value) => (c) => (c.attack === "none" ? null : value(c));
const FILTERS = {
  dataset: { label: "data set", value: (c) => c.dataset },
  rule: { label: "rule", value: (c) => c.rule },
  attack: { label: "attack", value: (c) => c.attack },
  place: { label: "momentum at", value: attacked((c) => c.place) },
  f: { label: "f", value: attacked((c) => c.f) },
  rate: { label: "learning rate", value: (c) => c.rate },
  nesterov: { label: "Nesterov", value: (c) => c.nesterov, text: (on) => (on ? "on" : "off") },
  other: { label: "other settings", value: (c) => c.other, text: (other) => other || "none" },
};
for (const [name, filter] of Object.entries(FILTERS)) filter.order = (values) => inOrder(name, values);

function position(name, value) {
  const known = (ORDER[name] || []).indexOf(value);
  return known < 0 ? 1e6 : known;
}
function inOrder(name, values) {
  return [...new Set(values)].sort((a, b) =>
    position(name, a) - position(name, b) ||
    (typeof a === "string" ? a.localeCompare(b) : Number(b) - Number(a)));
}
const orderOf = (c) => [
  position("dataset", c.dataset), c.dataset, c.n - c.f, c.attack !== "none", -c.f, position("rule", c.rule), c.rule,
  position("attack", c.attack), c.attack, -c.rate, c.nesterov, c.other, position("place", c.place),
];
const ordered = [...configurations].sort((a, b) => compareKeys(orderOf(a), orderOf(b)));
comparisons.sort((a, b) => compareKeys(orderOf(a.own), orderOf(b.own)));
