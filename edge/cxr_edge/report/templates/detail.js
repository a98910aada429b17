// One radiograph: picture, answer, what speaks against it, what people note, facts.
const FACTS = [ // heading, text of a row or nothing
  ["File", (row) => get(row, "path")],
  ["Picture", (row) => get(row, "width") && `${get(row, "width")} × ${get(row, "height")} pixels, ${get(row, "bits")} bit, ${get(row, "format")}`],
  ["Modality", (row) => get(row, "modality")],
  ["Body part", (row) => get(row, "body_part")],
  ["View", (row) => get(row, "view_position")],
  ["Patient's age", (row) => get(row, "patient_age_years") !== null && `${round(get(row, "patient_age_years"), 1)} years`],
  ["Done to the pixels", (row) => get(row, "steps")?.join(" → ")],
  ["Small changes of it", (row) => get(row, "lowest_probability") !== null && `move the probability between ${said(get(row, "lowest_probability"))} and ${said(get(row, "highest_probability"))}`],
];
const TECHNICAL = [
  ["Operating point", (row) => get(row, "operating_point")],
  ["Threshold", (row) => get(row, "threshold") !== null && (upper(row) === get(row, "threshold") ? said(upper(row)) : `${said(get(row, "threshold"))}, sure from ${said(upper(row))}`)],
  ["Log-odds", (row) => get(row, "logodds") !== null && round(get(row, "logodds"), 2)],
  ["Unlike a chest radiograph", (row) => get(row, "gate_score") !== null && `score ${round(get(row, "gate_score"), 2)}`],
  ["From elsewhere", (row) => get(row, "scope_score") !== null && `log-odds ${round(get(row, "scope_score"), 1)} (${get(row, "scope")})`],
  ["Error", (row) => get(row, "error_kind")],
  ["Computed", (row) => get(row, "precision") && `${get(row, "precision")} on ${get(row, "provider")}`],
  ["Bundle", (row) => get(row, "bundle_name") && `${get(row, "bundle_name")} ${get(row, "bundle_version")}, ${get(row, "bundle_sha256").slice(0, 12)}`],
  ["Answered", (row) => get(row, "time")?.slice(0, 19).replace("T", " ") + " UTC"],
  ["Content (SHA-256)", (row) => get(row, "sha256")],
];
const round = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "");
const percent = (share) => `${(100 * share).toFixed(0)} %`;
let compared = null;
const right = makePane($("pane"));
const left = makePane($("compared"));

function open(at) {
  if (!view.length) return;
  go(at);
  fill();
  if (!$("detail").open) $("detail").showModal();
  $("close").focus();
}

const current = () => rows[view[state.active]];

function fill() {
  const row = current();
  $("name").textContent = fileName(row);
  $("place").textContent = `${number(state.active + 1)} of ${number(view.length)}`;
  $("previous").disabled = state.active === 0;
  $("next").disabled = state.active === view.length - 1;
  $("compared").hidden = !compared;
  $("compare").setAttribute("aria-pressed", Boolean(compared));
  for (const [pane, each] of [[right, row], [left, compared]]) {
    showIn(pane, each);
    pane.caption.replaceChildren();
    if (each && compared) pane.caption.append(make("span", look(each), `${title(each)}${ok(each) ? ` ${said(probability(each))}` : ""}`), ` ${fileName(each)}`);
  }
  showSwitches();
  fillAnswer(row);
  fillFacts(row);
  $("reviewed").checked = Boolean(reviewed(row));
  $("when").textContent = reviewed(row) ? `on ${reviewed(row).slice(0, 16).replace("T", " ")}` : "";
  if ($("note").value !== note(row)) $("note").value = note(row);
  if (typeof whenShown === "function") whenShown(row);
}

function fillAnswer(row) {
  const box = $("answer");
  box.replaceChildren(make("p", `answer ${look(row)}`, title(row)));
  if (ok(row)) {
    const gap = upper(row) === get(row, "threshold");
    const sure = gap ? `called so from ${said(upper(row))} on` : `unsure from ${said(get(row, "threshold"))}, sure from ${said(upper(row))}`;
    box.append(gauge(row), make("p", "", `Calibrated probability of ${positive() || "the positive label"} ${said(probability(row))}, ${strength(row)} (${sure}).`));
  } else if (waiting(row)) {
    return;
  } else {
    box.append(make("p", "", refused(row) ? `${why(row)[0].toUpperCase()}${why(row).slice(1)}.` : why(row)));
  }
  const against = doubts(row);
  if (against.length) {
    const list = make("ul", "doubts");
    list.append(...against.map((text) => make("li", "warning", text)));
    box.append(make("h3", "", "What speaks against it"), list);
  }
  const reasons = evidence(row);
  if (reasons) box.append(make("h3", "", "Where the evidence lies"), make("p", "", reasons));
}

// The positive label, as an answer or the header says it.
const positive = () => get(rows.find(isPositive) || [], "label") || JSON.parse($("header").textContent).positive;

function doubts(row) {
  const said = [...(get(row, "warnings") || [])];
  if (isUnsure(row)) said.push("The probability lies where the network has no say: nothing follows from it.");
  else if (near(row)) said.push("A close call: a small change of the picture may turn the label.");
  const others = sameContent(row).filter((each) => each !== row);
  if (others.length) said.push(`The same file is listed ${others.length === 1 ? "once" : `${others.length} times`} more: ${others.slice(0, 5).map(fileName).join(", ")}${others.length > 5 ? ", …" : ""}.`);
  return said;
}

function evidence(row) {
  const shares = [["Grad-CAM", "gradcam_inside"], ["LIME", "lime_inside"]].filter(([, name]) => typeof get(row, name) === "number");
  if (!shares.length || typeof get(row, "lungs_share") !== "number") return "";
  const parts = shares.map(([method, name]) => `${percent(get(row, name))} of the ${method} evidence`);
  return `${parts.join(" and ")} for ${get(row, "explained")} lies in the lungs, which are ${percent(get(row, "lungs_share"))} of the picture.`;
}

function fillFacts(row) {
  const list = (entries) => {
    const box = make("dl", "facts");
    for (const [heading, text] of entries) {
      const value = text(row);
      if (value !== null && value !== undefined && value !== false && value !== "" && !String(value).startsWith("undefined")) {
        box.append(make("dt", "", heading), make("dd", "", value));
      }
    }
    return box;
  };
  $("facts").replaceChildren(list(FACTS));
  $("technical").replaceChildren(list(TECHNICAL));
  const address = original(row);
  $("original").hidden = !address;
  if (address) $("original").href = address;
}

function toggleReviewed() {
  const row = current();
  setMark(row, { reviewed: reviewed(row) ? "" : new Date().toISOString() });
  fill();
  redraw();
}

function compare() {
  compared = compared ? null : current();
  fill();
}
