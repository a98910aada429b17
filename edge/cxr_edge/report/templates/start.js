// What people do.
$("text").oninput = apply;
$("low").oninput = apply;
$("high").oninput = apply;
$("review").onchange = apply;
$("sort").onchange = () => {
  state.descending = orders[$("sort").value][1];
  apply();
};
$("direction").onclick = () => {
  state.descending = !state.descending;
  apply();
};
$("heat").onclick = toggleGalleryHeat;
$("export").onclick = exportList;
$("clear").onclick = () => {
  $("bar").reset();
  state.group = "all";
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
$("detail").onclose = () => {
  compared = null;
  redraw();
  // The event comes after the dialog is gone: who types in a field by then is left there.
  if (!document.activeElement.matches("input, select, textarea")) gallery.focus({ preventScroll: true });
};
$("compare").onclick = compare;
$("reviewed").onchange = toggleReviewed;
$("note").oninput = () => {
  setMark(current(), { note: $("note").value });
  haystack = null;
};
for (const button of document.querySelectorAll("#tools button[data-seen]")) button.onclick = () => toggle(button.dataset.seen);
$("reset").onclick = resetView;
$("larger").onclick = () => zoom(1.4);
$("smaller").onclick = () => zoom(1 / 1.4);
$("level").oninput = () => {
  grey.level = +$("level").value;
  setWindow();
};
$("reveal").oninput = () => document.documentElement.style.setProperty("--reveal", `${$("reveal").value}%`);
$("all-maps").onclick = sideBySide;
$("contrast").oninput = () => {
  grey.contrast = +$("contrast").value;
  setWindow();
};
const inDetail = {
  ArrowLeft: () => go(state.active - 1),
  ArrowRight: () => go(state.active + 1),
  h: () => toggle("heat"),
  l: () => toggle("lime"),
  o: () => toggle("lungs"),
  i: () => toggle("invert"),
  c: compare,
  r: toggleReviewed,
  n: () => $("note").focus(),
  "+": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: resetView,
};
document.onkeydown = (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (event.target.matches("textarea")) {
    if (event.key !== "Escape") return;
    event.target.blur();
    $("close").focus();
    event.preventDefault();
    return;
  }
  if (event.target.matches("input:not([type=range], [type=checkbox]), select")) {
    if (event.key !== "Escape" && (event.key !== "Enter" || event.target.matches("select"))) return;
    gallery.focus();
    event.preventDefault();
    return;
  }
  if ($("detail").open) {
    if (!(event.key in inDetail)) return;
    inDetail[event.key]();
    event.preventDefault();
    return;
  }
  const page = Math.max(1, Math.floor((innerHeight - $("bar").offsetHeight) / rowHeight)) * across;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
  if (event.key in steps) {
    const at = state.active + steps[event.key];
    gallery.focus({ preventScroll: true });
    // Up from the first row leads back to the summary.
    if (event.key === "ArrowUp" && at < 0) scrollTo(0, 0);
    else go(at);
  } else if (event.key === "h") toggleGalleryHeat();
  else if (event.key === "/") $("text").focus();
  else if (event.key === "Enter" && !event.target.matches("button, a, summary")) open(state.active);
  else return;
  event.preventDefault();
};
addEventListener("scroll", draw, { passive: true });
addEventListener("resize", layOut);
addEventListener("beforeprint", print);
showGroups();
apply();
setWindow();
gallery.focus({ preventScroll: true });
performance.mark("interactive");
