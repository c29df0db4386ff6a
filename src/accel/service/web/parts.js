// Small builders: everything that comes from elsewhere becomes text, never markup.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}

export function table(columns, rows, empty = "nothing here") {
  if (!rows.length) return el("p", { class: "soft" }, empty);
  const head = el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)));
  return el("div", { class: "table" }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

export const row = (...cells) => el("tr", {}, cells.map((cell) => (cell?.tagName === "TD" ? cell : el("td", {}, cell ?? ""))));
export const number = (text) => el("td", { class: "number" }, text);
export const state = (name) => el("span", { class: `state ${name}` }, name);
export const digest = (text) => el("code", { title: text ?? "" }, text ? `${text.slice(0, 19)}…` : "–");

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; n >= 1024 && at < units.length - 1; at++) n /= 1024;
  return `${at ? n.toFixed(1) : n} ${units[at]}`;
}

export function ago(then) {
  if (then == null) return "–";
  const seconds = Math.max(0, Date.now() / 1000 - then);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.round(seconds / length)} ${unit} ago`;
  }
  return `${Math.round(seconds)} s ago`;
}

export function bar(done, whole, label) {
  if (!whole) return "";
  return el("progress", { max: whole, value: Math.min(done, whole), "aria-label": label });
}
