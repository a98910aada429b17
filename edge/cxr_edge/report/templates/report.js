"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const { columns, common, positive, pictures } = JSON.parse($("header").textContent);
  const rows = JSON.parse($("entries").textContent);
  const index = Object.fromEntries(columns.map((name, i) => [name, i]));
  const get = (row, name) => (name in index ? row[index[name]] : failed(row) ? null : common[name]);
  const ok = (row) => row[index.status] === "ok";
  const failed = (row) => row[index.status] === "error";
  const refused = (row) => row[index.status] === "refused";
  // What stands where an answer would, and its look.
  const unanswered = (row) => (refused(row) ? "refused" : "not answered");
  const look = (row) => (refused(row) ? "refused" : "error");
  const why = (row) => (refused(row) ? get(row, "refusal") : get(row, "error_kind"));
  const probability = (row) => get(row, "probability");
  const isPositive = (row) => probability(row) >= get(row, "threshold");
  const warned = (row) => ok(row) && get(row, "warnings").length > 0;
  // A backslash parts folders on Windows, and begins an escape in a path with slashes.
  const fileName = (row) => get(row, "path").split(get(row, "path").includes("/") ? "/" : "\\").pop();
  const has = (row, name) => (row[columns.length] >> pictures.indexOf(name)) & 1;
  const picture = (row, name) => `assets/${get(row, "sha256").slice(0, 2)}/${get(row, "sha256")}/${name}`;
  const number = (n) => n.toLocaleString("en");
  // Never a certainty that was not computed.
  const said = (p) => (p > 0.9995 ? "> 0.999" : p < 0.0005 ? "< 0.001" : p.toFixed(3));

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Filters and order

  const labels = [...new Set(rows.filter(ok).map((row) => get(row, "label")))];
  labels.sort((a, b) => (b === positive) - (a === positive) || a.localeCompare(b));
  const groups = [
    { name: "all", keep: () => true },
    ...labels.map((label) => ({
      name: label,
      className: label === positive ? "positive" : "negative",
      keep: (row) => ok(row) && get(row, "label") === label,
    })),
    { name: "with warnings", className: "warning", keep: warned },
    { name: "refused", className: "refused", keep: refused },
    { name: "not answered", className: "error", keep: failed },
  ];
  const orders = {
    probability: [(row) => probability(row), true],
    doubt: [(row) => Math.abs(logit(probability(row)) - logit(get(row, "threshold"))), false],
    name: [null, false],
    status: [(row) => (failed(row) ? 0 : refused(row) ? 1 : warned(row) ? 2 : 3), false],
  };
  // Distances near 0 and 1 are visible in log-odds; float32 rounds to a bare 0 or 1 beyond the clip.
  const logit = (p) => Math.log(Math.max(p, 1e-9) / Math.max(1 - p, 1e-9));
  const state = { group: groups[0], descending: true, heat: false, active: 0 };
  let view = [];
  let haystack = null;
  let ranks = null;

  function byName() {
    if (!ranks) {
      const order = new Intl.Collator("en", { numeric: true }).compare;
      const names = rows.map(fileName);
      ranks = new Int32Array(rows.length);
      names.map((_, i) => i).sort((a, b) => order(names[a], names[b]) || a - b).forEach((i, rank) => (ranks[i] = rank));
    }
    return ranks;
  }

  function apply() {
    const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !haystack) {
      haystack = rows.map((row) =>
        [get(row, "path"), get(row, "error_kind"), get(row, "error_message"), get(row, "refusal"),
          refused(row) ? "refused" : "", ...(get(row, "warnings") || [])]
          .join(" ").toLowerCase());
    }
    const bound = (id, otherwise) => ($(id).value === "" || Number.isNaN(+$(id).value) ? otherwise : +$(id).value);
    const [low, high] = [bound("low", 0), bound("high", 1)];
    const ranged = low > 0 || high < 1;
    view = [];
    rows.forEach((row, i) => {
      if (!state.group.keep(row)) return;
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
    $("none").hidden = view.length > 0;
    for (const button of $("show").children) button.setAttribute("aria-pressed", button.group === state.group);
    $("direction").textContent = state.descending ? "↓ falling" : "↑ rising";
    for (const card of cards.values()) card.remove();
    cards.clear();
    layOut();
  }

  // The gallery: only the cards in sight exist

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
    const line = make("div", "said");
    if (ok(row)) {
      line.append(make("span", isPositive(row) ? "positive" : "negative", get(row, "label")));
      if (warned(row)) line.append(make("span", "flag", "⚠"));
      line.append(make("span", "", said(probability(row))));
    } else {
      line.append(make("span", look(row), unanswered(row)));
    }
    const caption = make("div", "name", fileName(row));
    card.title = get(row, "path");
    card.append(frame, line, caption);
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
    const bar = $("bar").offsetHeight + gap;
    if (top < bar) scrollBy(0, top - bar);
    else if (top + rowHeight > innerHeight) scrollBy(0, top + rowHeight - innerHeight);
    draw();
    if ($("detail").open) fill();
  }

  // One radiograph

  const units = { width: " px", height: " px", patient_age_years: " years" };
  const shownAbove = new Set(["warnings", "error_message", "refusal"]);
  const names = [...new Set([...columns, ...Object.keys(common)])];

  function open(place) {
    if (!view.length) return;
    go(place);
    fill();
    $("detail").showModal();
    $("close").focus();
  }

  function fill() {
    const row = rows[view[state.active]];
    $("name").textContent = fileName(row);
    $("place").textContent = `${number(state.active + 1)} of ${number(view.length)}`;
    $("previous").disabled = state.active === 0;
    $("next").disabled = state.active === view.length - 1;
    showPicture(row);
    const facts = $("facts");
    facts.replaceChildren();
    facts.scrollTop = 0;
    if (ok(row)) {
      const sort = isPositive(row) ? "positive" : "negative";
      facts.append(make("p", `answer ${sort}`, get(row, "label")));
      facts.append(gauge(probability(row), get(row, "threshold")));
      const of = positive ? ` of ${positive}` : "";
      const called = positive ? `; called ${positive} from ${said(get(row, "threshold"))} on` : "";
      facts.append(make("p", "", `Calibrated probability${of} ${said(probability(row))}${called}.`));
      for (const warning of get(row, "warnings")) facts.append(make("p", "warning", warning));
    } else {
      const reason = refused(row) ? `${get(row, "refusal")}.` : get(row, "error_message");
      facts.append(make("p", `answer ${look(row)}`, unanswered(row)), make("p", "", reason));
    }
    const list = make("dl", "facts");
    for (const name of names) {
      const value = get(row, name);
      if (value === null || value === undefined || value.length === 0 || shownAbove.has(name)) continue;
      const text = Array.isArray(value) ? value.join(" → ") : `${value}${units[name] || ""}`;
      list.append(make("dt", "", name.replaceAll("_", " ")), make("dd", "", text));
    }
    facts.append(list);
  }

  function showPicture(row) {
    const box = $("picture");
    const figure = has(row, "figure.png");
    const name = figure ? "figure.png" : state.heat && has(row, "gradcam.jpg") ? "gradcam.jpg" : "thumbnail.jpg";
    if (!has(row, name)) {
      box.replaceChildren(make("p", "", "no picture"));
      return;
    }
    const image = make("img", figure ? "" : "small");
    image.alt = figure
      ? `The radiograph beside what explains ${get(row, "explained") || get(row, "label")}`
      : "The radiograph, reduced";
    image.src = picture(row, name);
    if (figure) image.onclick = () => image.classList.toggle("whole");
    box.replaceChildren(image);
  }

  function gauge(value, threshold) {
    const svg = (tag, attributes) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, content] of Object.entries(attributes)) element.setAttribute(name, content);
      return element;
    };
    const drawing = svg("svg", { viewBox: "0 0 300 14", class: "gauge", "aria-hidden": "true" });
    drawing.append(
      svg("rect", { class: "track", y: 3, width: 300, height: 8, rx: 2 }),
      svg("rect", { class: "value", y: 3, width: Math.max(1, 300 * value), height: 8, rx: 2 }),
      svg("path", { class: "mark", d: `M${Math.min(299, Math.max(1, 300 * threshold))} 0v14` }),
    );
    return drawing;
  }

  function toggleHeat() {
    state.heat = !state.heat;
    $("heat").setAttribute("aria-pressed", state.heat);
    $("legend").hidden = !state.heat;
    for (const card of cards.values()) card.remove();
    cards.clear();
    draw();
    if ($("detail").open) fill();
  }

  // Paper: what is listed now, or the one radiograph that is open

  const PRINTED = 2000;

  function print() {
    const table = $("printed");
    const head = make("thead");
    const body = make("tbody");
    table.replaceChildren(head, body);
    const line = (tag, cells) => {
      const row = make("tr");
      row.append(...cells.map((text) => make(tag, "", text)));
      return row;
    };
    head.append(line("th", ["answer", "probability", "file", "notes"]));
    for (const i of view.slice(0, PRINTED)) {
      const row = rows[i];
      body.append(line("td", ok(row)
        ? [get(row, "label"), said(probability(row)), get(row, "path"), get(row, "warnings").join(" ")]
        : [unanswered(row), "", get(row, "path"), why(row)]));
    }
    if (view.length > PRINTED) {
      body.append(line("td", ["", "", `${number(view.length - PRINTED)} more are in results.csv`, ""]));
    }
  }

  // What people do

  for (const group of groups) {
    const count = rows.reduce((sum, row) => sum + group.keep(row), 0);
    if (!count && group !== groups[0]) continue;
    const button = make("button", group.className, `${group.name} ${number(count)}`);
    button.type = "button";
    button.group = group;
    button.onclick = () => {
      state.group = group;
      apply();
    };
    $("show").append(button);
  }
  $("text").oninput = apply;
  $("low").oninput = apply;
  $("high").oninput = apply;
  $("sort").onchange = () => {
    state.descending = orders[$("sort").value][1];
    apply();
  };
  $("direction").onclick = () => {
    state.descending = !state.descending;
    apply();
  };
  $("heat").onclick = toggleHeat;
  $("clear").onclick = () => {
    $("bar").reset();
    state.group = groups[0];
    state.descending = orders.probability[1];
    apply();
  };
  for (const bin of document.querySelectorAll(".bin")) {
    bin.onclick = () => {
      $("low").value = bin.dataset.low;
      $("high").value = bin.dataset.high;
      apply();
      $("bar").scrollIntoView();
    };
  }
  gallery.onclick = (event) => {
    const card = event.target.closest(".card");
    if (card) open(card.place);
  };
  $("previous").onclick = () => go(state.active - 1);
  $("next").onclick = () => go(state.active + 1);
  $("print").onclick = () => window.print();
  $("close").onclick = () => $("detail").close();
  $("detail").onclick = (event) => {
    if (event.target === $("detail")) $("detail").close();
  };
  document.onkeydown = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target.matches("input, select");
    if (typing) {
      if (event.key !== "Escape" && (event.key !== "Enter" || event.target.matches("select"))) return;
      gallery.focus();
      event.preventDefault();
      return;
    }
    const inDetail = $("detail").open;
    const page = Math.max(1, Math.floor((innerHeight - $("bar").offsetHeight) / rowHeight)) * across;
    const steps = inDetail
      ? { ArrowLeft: -1, ArrowRight: 1 }
      : { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      const place = state.active + steps[event.key];
      if (!inDetail) gallery.focus({ preventScroll: true });
      // Up from the first row leads back to the summary.
      if (event.key === "ArrowUp" && place < 0) scrollTo(0, 0);
      else go(place);
    } else if (event.key === "h") toggleHeat();
    else if (event.key === "/" && !inDetail) $("text").focus();
    else if (event.key === "Enter" && !inDetail && !event.target.matches("button")) open(state.active);
    else return;
    event.preventDefault();
  };
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", layOut);
  addEventListener("beforeprint", print);
  apply();
  gallery.focus({ preventScroll: true });
  performance.mark("interactive");
})();
