// What is listed: rows as arrays in the order of `columns`, then one bit for each picture that there is.
const $ = (id) => document.getElementById(id);
const { columns, common, pictures, live, key } = JSON.parse($("header").textContent);
const rows = JSON.parse($("entries").textContent);
const index = Object.fromEntries(columns.map((name, i) => [name, i]));
const get = (row, name) => (name in index ? row[index[name]] : failed(row) ? null : common[name]);
const ok = (row) => row[index.status] === "ok";
const failed = (row) => row[index.status] === "error";
const refused = (row) => row[index.status] === "refused";
const waiting = (row) => row[index.status] === "waiting"; // only in the local page: sent, and not answered yet
const probability = (row) => get(row, "probability");
// From here on the label is the positive one; from `threshold` to here the network has no say.
const upper = (row) => get(row, "certain_from") ?? get(row, "threshold");
const isPositive = (row) => ok(row) && probability(row) >= upper(row);
const isUnsure = (row) => ok(row) && !isPositive(row) && probability(row) >= get(row, "threshold");
const warned = (row) => ok(row) && get(row, "warnings").length > 0;
const look = (row) =>
  ok(row) ? (isPositive(row) ? "positive" : isUnsure(row) ? "unsure" : "negative") : row[index.status];
// What stands where an answer is, or would be.
const title = (row) => (ok(row) ? get(row, "label") : { refused: "refused", waiting: "being answered" }[look(row)] || "not answered");
const why = (row) => (refused(row) ? get(row, "refusal") : get(row, "error_message") || "");
// A backslash parts folders on Windows, and begins an escape in a path with slashes.
const separator = (path) => (path.includes("/") ? "/" : "\\");
const fileName = (row) => get(row, "path").split(separator(get(row, "path"))).pop();
const has = (row, name) => (row[columns.length] >> pictures.indexOf(name)) & 1;
// The address of the file itself, as it is now; null where this page cannot know it.
const original = (row) => {
  const path = get(row, "path");
  if (live || !(path.startsWith("/") || /^[A-Za-z]:\\/.test(path))) return null;
  const encoded = path.split(/[\\/]/).map(encodeURIComponent).join("/").replace(/^([A-Za-z])%3A/, "$1:");
  return `file://${path.startsWith("/") ? "" : "/"}${encoded}`;
};
const picture = (row, name) => `assets/${get(row, "sha256").slice(0, 2)}/${get(row, "sha256")}/${name}`;
const identity = (row) => get(row, "sha256") || get(row, "path");
const number = (n) => n.toLocaleString("en");
// Never a certainty that was not computed.
const said = (p) => (p > 0.9995 ? "> 0.999" : p < 0.0005 ? "< 0.001" : p.toFixed(3));
// Distances near 0 and 1 are visible in log-odds; float32 rounds to a bare 0 or 1 beyond the clip.
const logit = (p) => Math.log(Math.max(p, 1e-9) / Math.max(1 - p, 1e-9));
const distance = (row) =>
  Math.min(Math.abs(logit(probability(row)) - logit(get(row, "threshold"))), Math.abs(logit(probability(row)) - logit(upper(row))));
const NEAR = 1;
const near = (row) => ok(row) && distance(row) < NEAR;

function strength(row) {
  if (isUnsure(row)) return "between the two thresholds";
  const far = near(row) ? "just" : distance(row) < 3 ? "clearly" : "far";
  return `${far} ${isPositive(row) ? "above" : "below"} the threshold`;
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function drawing(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, content] of Object.entries(attributes)) element.setAttribute(name, content);
  return element;
}

// The probability as a bar, with a mark for each threshold.
function gauge(row) {
  const svg = drawing("svg", { viewBox: "0 0 300 14", preserveAspectRatio: "none", class: `gauge ${look(row)}`, "aria-hidden": "true" });
  const at = (value) => Math.min(299, Math.max(1, 300 * value));
  svg.append(
    drawing("rect", { class: "track", y: 3, width: 300, height: 8, rx: 2 }),
    drawing("rect", { class: "value", y: 3, width: Math.max(1, 300 * probability(row)), height: 8, rx: 2 }),
  );
  for (const value of new Set([get(row, "threshold"), upper(row)])) svg.append(drawing("path", { class: "mark", d: `M${at(value)} 0v14` }));
  return svg;
}

// Files of the same content have one answer: they are marked, because a patient may be listed twice.
let twins = null;
function sameContent(row) {
  if (!twins) {
    twins = new Map();
    for (const each of rows) if (get(each, "sha256")) twins.set(get(each, "sha256"), [...(twins.get(get(each, "sha256")) || []), each]);
  }
  return twins.get(get(row, "sha256")) || [];
}

// What people note about a radiograph stays in this browser; the local page keeps nothing at all.
const STORE = `cxr-edge ${key}`;
let marks = {};
try {
  marks = live ? {} : JSON.parse(localStorage.getItem(STORE)) || {};
} catch {
  marks = {}; // storage is switched off, or holds something else
}
const reviewed = (row) => marks[identity(row)]?.reviewed || "";
const note = (row) => marks[identity(row)]?.note || "";

function setMark(row, change) {
  marks[identity(row)] = { ...marks[identity(row)], ...change };
  if (live) return;
  try {
    localStorage.setItem(STORE, JSON.stringify(marks));
  } catch {
    $("kept").hidden = false;
  }
}
