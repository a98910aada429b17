// Filters and order.
const state = { group: "all", descending: true, heat: false, active: 0 };
let groups = [];
let view = [];
let haystack = null;
let ranks = null;
const orders = {
  probability: [(row) => probability(row), true],
  doubt: [distance, false],
  name: [null, false],
  status: [(row) => (failed(row) ? 0 : refused(row) ? 1 : warned(row) ? 2 : isUnsure(row) ? 3 : 4), false],
};

function listGroups() {
  const labels = new Map(rows.filter(ok).map((row) => [get(row, "label"), look(row)]));
  const order = ["positive", "unsure", "negative"];
  const answers = [...labels].sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1]) || a[0].localeCompare(b[0]));
  return [
    { name: "all", keep: () => true },
    ...answers.map(([name, className]) => ({ name, className, keep: (row) => ok(row) && get(row, "label") === name })),
    { name: "near a threshold", className: "near", keep: near },
    { name: "with warnings", className: "warning", keep: warned },
    { name: "refused", className: "refused", keep: refused },
    { name: "not answered", className: "error", keep: failed },
    { name: "same file twice", className: "twin", keep: (row) => sameContent(row).length > 1 },
  ];
}

function showGroups() {
  groups = listGroups();
  const buttons = groups.map((group) => {
    const count = rows.reduce((sum, row) => sum + (group.keep(row) ? 1 : 0), 0);
    const button = make("button", group.className, `${group.name} ${number(count)}`);
    button.type = "button";
    button.group = group.name;
    button.hidden = !count && group.name !== "all";
    button.onclick = () => {
      state.group = group.name;
      apply();
    };
    return button;
  });
  if (!groups.some((group) => group.name === state.group)) state.group = "all";
  $("show").replaceChildren(...buttons);
}

// Called after rows were added or changed.
function rowsChanged() {
  haystack = ranks = twins = null;
  const row = rows[view[state.active]];
  showGroups();
  apply();
  const place = view.findIndex((i) => rows[i] === row);
  if (place >= 0) state.active = place;
}

function byName() {
  if (!ranks) {
    const order = new Intl.Collator("en", { numeric: true }).compare;
    const names = rows.map(fileName);
    ranks = new Int32Array(rows.length);
    names.map((_, i) => i).sort((a, b) => order(names[a], names[b]) || a - b).forEach((i, rank) => (ranks[i] = rank));
  }
  return ranks;
}

const found = (row) =>
  [get(row, "path"), get(row, "error_kind"), get(row, "error_message"), get(row, "refusal"), get(row, "scope"),
    title(row), ...(get(row, "warnings") || []), note(row)].join(" ").toLowerCase();

function apply() {
  const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length && !haystack) haystack = rows.map(found);
  const bound = (id, otherwise) => ($(id).value === "" || Number.isNaN(+$(id).value) ? otherwise : +$(id).value);
  const [low, high] = [bound("low", 0), bound("high", 1)];
  const ranged = low > 0 || high < 1;
  const review = $("review").value;
  const keep = groups.find((group) => group.name === state.group).keep;
  view = [];
  rows.forEach((row, i) => {
    if (!keep(row)) return;
    if (review && (review === "done") !== Boolean(reviewed(row))) return;
    if (ranged && !(ok(row) && probability(row) >= low && probability(row) <= high)) return;
    if (words.every((word) => haystack[i].includes(word))) view.push(i);
  });
  const [key] = orders[$("sort").value];
  const keys = key ? rows.map((row) => key(row)) : byName();
  const numeric = $("sort").value === "probability" || $("sort").value === "doubt";
  const sign = state.descending ? -1 : 1;
  view.sort((a, b) => {
    const last = numeric ? !ok(rows[a]) - !ok(rows[b]) : 0; // what has no answer has no place in such an order
    return last || (ok(rows[a]) || !numeric ? sign * (keys[a] - keys[b]) : 0) || a - b;
  });
  state.active = 0;
  $("shown").value = `${number(view.length)} of ${number(rows.length)}`;
  document.body.classList.toggle("bare", !rows.length);
  $("none").hidden = view.length > 0 || !rows.length;
  for (const button of $("show").children) button.setAttribute("aria-pressed", button.group === state.group);
  $("direction").textContent = state.descending ? "↓ falling" : "↑ rising";
  redraw();
}

function redraw() {
  for (const card of cards.values()) card.remove();
  cards.clear();
  layOut();
}

// The gallery: only the cards in sight exist.
const gallery = $("gallery");
const style = getComputedStyle(document.documentElement);
const [cardWidth, rowHeight, gap] = ["--card", "--row", "--gap"].map((name) => parseInt(style.getPropertyValue(name)));
const cards = new Map();
let across = 1;

function layOut() {
  const before = across;
  across = Math.max(1, Math.floor((gallery.clientWidth + gap) / (cardWidth + gap)));
  gallery.style.height = `${Math.ceil(view.length / across) * rowHeight}px`;
  if (before !== across) for (const [place, card] of cards) move(card, place);
  draw();
}

function draw() {
  const top = gallery.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor((-top - rowHeight) / rowHeight)) * across;
  const last = Math.min(view.length, Math.ceil((innerHeight - top + rowHeight) / rowHeight) * across);
  for (const [place, card] of cards) {
    if (place < first || place >= last) {
      card.remove();
      cards.delete(place);
    }
  }
  const fresh = document.createDocumentFragment();
  for (let place = first; place < last; place++) {
    if (cards.has(place)) continue;
    const card = makeCard(rows[view[place]], place);
    cards.set(place, card);
    move(card, place);
    fresh.append(card);
  }
  gallery.append(fresh);
  mark();
}

function move(card, place) {
  card.style.transform = `translate(${(place % across) * (cardWidth + gap)}px, ${Math.floor(place / across) * rowHeight}px)`;
}

function makeCard(row, place) {
  const card = make("div", "card");
  card.id = `card-${place}`;
  card.place = place;
  card.setAttribute("role", "option");
  card.setAttribute("aria-posinset", place + 1);
  card.setAttribute("aria-setsize", view.length);
  const frame = make("div", "frame");
  const name = state.heat && has(row, "gradcam.jpg") ? "gradcam.jpg" : "thumbnail.jpg";
  if (has(row, name)) {
    const image = make("img");
    image.alt = "";
    image.loading = "lazy";
    image.decoding = "async";
    image.src = picture(row, name);
    frame.append(image);
  } else {
    frame.append(make("span", "", ok(row) ? "no picture" : why(row)));
  }
  if (reviewed(row)) frame.append(make("span", "corner", note(row) ? "✓ ✎" : "✓"));
  else if (note(row)) frame.append(make("span", "corner", "✎"));
  if (sameContent(row).length > 1) {
    const twin = make("span", "corner twin", sameContent(row).length);
    twin.title = "so many files have this content";
    frame.append(twin);
  }
  const line = make("div", "said");
  line.append(make("span", look(row), title(row)));
  if (warned(row)) line.append(make("span", "flag", "⚠"));
  if (ok(row)) line.append(make("span", "number", said(probability(row))));
  card.append(frame, line, ok(row) ? gauge(row) : make("div", "gauge"), make("div", "name", fileName(row)));
  card.title = get(row, "path") + (ok(row) ? `\n${get(row, "label")}, ${strength(row)}` : "");
  return card;
}

function mark() {
  for (const [place, card] of cards) card.setAttribute("aria-selected", place === state.active);
  if (cards.has(state.active)) gallery.setAttribute("aria-activedescendant", `card-${state.active}`);
  else gallery.removeAttribute("aria-activedescendant");
}

function go(place) {
  if (!view.length) return;
  state.active = Math.max(0, Math.min(view.length - 1, place));
  const top = gallery.getBoundingClientRect().top + Math.floor(state.active / across) * rowHeight;
  const bar = getComputedStyle($("bar")).position === "sticky" ? $("bar").offsetHeight + gap : gap;
  if (top < bar) scrollBy(0, top - bar);
  else if (top + rowHeight > innerHeight) scrollBy(0, top + rowHeight - innerHeight);
  draw();
  if ($("detail").open) fill();
}

function toggleGalleryHeat() {
  state.heat = !state.heat;
  $("heat").setAttribute("aria-pressed", state.heat);
  $("legend").hidden = !state.heat;
  redraw();
}

// Paper: what is listed now, or the one radiograph that is open.
const PRINTED = 2000;

function commonFolder() {
  let parts = null;
  for (const i of view) {
    const own = get(rows[i], "path").split(separator(get(rows[i], "path"))).slice(0, -1);
    const differ = parts ? parts.findIndex((part, n) => part !== own[n]) : -1;
    parts = parts ? (differ < 0 ? parts : parts.slice(0, differ)) : own;
  }
  return (parts || []).join("/");
}

function print() {
  const table = $("printed");
  const folder = commonFolder();
  const head = make("thead");
  const body = make("tbody");
  const caption = make("caption", "", `${number(view.length)} of ${number(rows.length)} radiographs${folder ? ` in ${folder}` : ""}`);
  table.replaceChildren(caption, head, body);
  const line = (tag, cells) => {
    const row = make("tr");
    row.append(...cells.map((text) => make(tag, "", text)));
    return row;
  };
  head.append(line("th", ["answer", "probability", "file", "notes", "reviewed"]));
  for (const i of view.slice(0, PRINTED)) {
    const row = rows[i];
    const path = get(row, "path");
    const below = folder ? path.slice(folder.length + 1) : path;
    const notes = [note(row), ...(ok(row) ? get(row, "warnings") : [why(row)])].filter(Boolean).join(" ");
    body.append(line("td", [title(row), ok(row) ? said(probability(row)) : "", below, notes, reviewed(row).slice(0, 10)]));
  }
  if (view.length > PRINTED) {
    body.append(line("td", ["", "", `${number(view.length - PRINTED)} more are in results.csv`, "", ""]));
  }
}

// A table of what is listed now, with the marks, for a spreadsheet (RFC 4180).
function exportList() {
  const names = ["path", "status", "label", "probability", "threshold", "warnings", "refusal", "error_message", "sha256"];
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : Array.isArray(value) ? value.join("; ") : String(value);
    if (/^\s*[=+\-@＝＋－＠]/.test(text) && Number.isNaN(+text)) text = `'${text}`; // a spreadsheet would run it as a formula
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [[...names, "reviewed", "note"]];
  for (const i of view) lines.push([...names.map((name) => get(rows[i], name)), reviewed(rows[i]), note(rows[i])]);
  const text = `\ufeff${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "reviewed.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
