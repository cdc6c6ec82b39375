// What all pages share: the content, elements, numbers in words, colours, files to save.

const content = JSON.parse(document.getElementById("content").textContent);
const numberOf = new Intl.NumberFormat("en");
const counted = (count, thing) => `${numberOf.format(count)} ${thing}${count === 1 ? "" : "s"}`;

const withoutZeroSign = (text) => text.replace(/^[-+](0\.?0*)$/, "$1");
const percent = (value) => (Number.isFinite(value) ? (100 * value).toFixed(1) : "–");
const points = (value) =>
  Number.isFinite(value) ? withoutZeroSign((value > 0 ? "+" : "") + (100 * value).toFixed(1)) : "–";
const spreadOf = ({ mean, deviation }, format = percent) =>
  format(mean) + (Number.isFinite(deviation) ? ` ± ${(100 * deviation).toFixed(1)}` : "");
/** For CSV: a mean and a deviation in percent, in columns of their own. */
const inPercent = (name, { mean, deviation }) =>
  ({ [name]: Number((100 * mean).toFixed(6)), [`${name} ±`]: Number((100 * deviation).toFixed(6)) });

/** An element with attributes, listeners (on...) and children, which are never read as HTML. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function compareKeys(a, b) {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return 0;
}

/** Buttons of which one is pressed; `choose` is called with its name. */
function drawChoice(bar, kind, choices, chosen, choose) {
  bar.replaceChildren(...choices.map(([name, label, off = false]) => element("button", {
    type: "button", [`data-${kind}`]: name, "aria-pressed": String(name === chosen), disabled: off,
    onclick: () => {
      bar.querySelectorAll("button").forEach((one) =>
        one.setAttribute("aria-pressed", String(one.dataset[kind] === name)));
      choose(name);
    },
  }, label)));
}

// Of the theme, whose names are those of places of momentum.
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** The colour at `share` (0 to 1) of the way along some, and that of letters on it. */
function shade(colors, share) {
  const at = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
  const i = Math.min(Math.floor(at), colors.length - 2);
  const [first, second] = [channels(colors[i]), channels(colors[i + 1])];
  const mixed = first.map((value, k) => Math.round(value + (at - i) * (second[k] - value)));
  // Of WCAG's relative luminance: from 0.18 on, black is read better than white.
  const [red, green, blue] = mixed.map((value) => (value / 255) ** 2.2);
  const bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18;
  return { background: `rgb(${mixed.join(", ")})`, ink: bright ? "#000000" : "#ffffff" };
}

function useTheme(name) {
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "light" : "dark";
}
function startTheme(drawAll) {
  useTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.getElementById("theme").onclick = () => {
    useTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    drawAll();
  };
}

/** A file that the page makes itself goes to where the browser keeps what it loads. */
function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function drawVersions(...last) {
  document.getElementById("versions").append(...[`From ${content.folders.join(", ")}.`, ...content.versions, ...last]
    .map((line) => element("p", {}, line)));
}
