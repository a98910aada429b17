// The radiograph, large: layers over it, grey window, zoom. Two panes side by side share all of that.
const LAYERS = { heat: "gradcam.png", lime: "lime.png", lungs: "lungs.png", fine: "layercam.png", shap: "shap.png" };
const MAPS = { heat: "Grad-CAM", fine: "LayerCAM", lime: "LIME", shap: "SHAP" };
const seen = { heat: true, lime: false, lungs: true, fine: false, shap: false, invert: false };
const FULL = { level: 50, contrast: 100 }; // per cent of the grey range: its middle, all of it
let grey = { ...FULL };
let place = { zoom: 1, x: 0, y: 0 };
const panes = [];

function makePane(box) {
  const stage = make("div", "stage");
  const caption = make("figcaption");
  box.append(stage, caption);
  const pane = { box, stage, caption, row: null };
  panes.push(pane);
  new ResizeObserver(() => fit(pane)).observe(box);
  box.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, pane, event);
  }, { passive: false });
  box.addEventListener("pointerdown", (event) => drag(event, box));
  box.addEventListener("dblclick", resetView);
  box.addEventListener("pointermove", (event) => pointAt(pane, event));
  box.addEventListener("pointerleave", () => pointAt(pane, null));
  return pane;
}

function showIn(pane, row) {
  pane.row = row;
  const addresses = row ? addressesOf(row) : [];
  if (!addresses.length) {
    pane.stage.replaceChildren(make("p", "", row && waiting(row) ? "being answered" : "no picture"));
    pane.image = null;
  } else if (pane.image?.dataset.of !== addresses[0]) {
    const image = make("img", "radiograph");
    image.alt = `The radiograph ${fileName(row)}`;
    image.draggable = false;
    image.dataset.of = addresses[0];
    image.onload = () => fit(pane);
    image.onerror = () => { if (addresses.length > 1) image.src = (addresses.shift(), addresses[0]); };
    image.src = addresses[0];
    pane.image = image;
    pane.layers = {};
    pane.stage.replaceChildren(image);
  }
  paint(pane);
}

// Where a radiograph may be seen, the best first: the file itself, if a browser shows such files and it is still there.
function addressesOf(row) {
  const drawn = ["radiograph.jpg", "figure.png", "thumbnail.jpg"].filter((each) => has(row, each)).map((each) => picture(row, each));
  const own = ["JPEG", "PNG"].includes(get(row, "format")) && !has(row, "radiograph.jpg") && original(row);
  return own ? [own, ...drawn] : drawn;
}

function paint(pane) {
  if (pane.image) {
    for (const [layer, name] of Object.entries(LAYERS)) {
      const wanted = has(pane.row, name) && pane.image.src.endsWith("radiograph.jpg");
      if (wanted && !pane.layers[layer]) {
        const image = make("img", `layer ${layer}`);
        image.alt = "";
        image.draggable = false;
        image.src = picture(pane.row, name);
        pane.layers[layer] = image;
        pane.stage.append(image);
      }
      if (pane.layers[layer]) pane.layers[layer].hidden = !seen[layer];
    }
    const plain = grey.level === FULL.level && grey.contrast === FULL.contrast && !seen.invert;
    pane.image.style.filter = plain ? "" : "url(#window)";
  }
  fit(pane);
}

// The window: `level` is the grey in its middle, `contrast` 100 % spreads the whole range.
function setWindow() {
  const width = 100 / grey.contrast;
  let slope = 1 / width;
  let intercept = 0.5 - (grey.level / 100) / width;
  if (seen.invert) [slope, intercept] = [-slope, 1 - intercept];
  for (const each of document.querySelectorAll("#window feComponentTransfer > *")) {
    each.setAttribute("slope", slope);
    each.setAttribute("intercept", intercept);
  }
  $("level").value = grey.level;
  $("contrast").value = grey.contrast;
  panes.forEach(paint);
}

function fit(pane) {
  const { box, stage, image } = pane;
  if (!image || !image.naturalWidth) return;
  const [wide, high] = [box.clientWidth, box.clientHeight - pane.caption.offsetHeight];
  const scale = Math.min(wide / image.naturalWidth, high / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  stage.style.width = `${width}px`;
  stage.style.height = `${height}px`;
  stage.style.left = `${(wide - width) / 2}px`;
  stage.style.top = `${(high - height) / 2}px`;
  // Shifts are shares of the picture, so that both panes show the same part of theirs.
  stage.style.transform = `translate(${place.x * width}px, ${place.y * height}px) scale(${place.zoom})`;
  $("zoomed").value = `${(place.zoom * 100).toFixed(0)} %`;
}

function zoom(factor, pane = panes[0], event = null) {
  const next = Math.min(16, Math.max(1, place.zoom * factor));
  const change = next / place.zoom;
  let [x, y] = [0, 0]; // where the pointer is, from the middle, in shares of the picture
  if (event) {
    const around = pane.box.getBoundingClientRect();
    x = (event.clientX - around.left - around.width / 2) / (pane.stage.offsetWidth || 1);
    y = (event.clientY - around.top - around.height / 2) / (pane.stage.offsetHeight || 1);
  }
  place = { zoom: next, x: x - (x - place.x) * change, y: y - (y - place.y) * change };
  if (next === 1) place = { zoom: 1, x: 0, y: 0 };
  panes.forEach(fit);
}

// Dragging changes the window as on a reporting station; when zoomed in, or with Shift, it moves the picture.
function drag(event, box) {
  if (event.button > 1 || !event.isPrimary) return;
  event.preventDefault();
  box.setPointerCapture(event.pointerId);
  const moves = event.shiftKey || event.button === 1 || place.zoom > 1;
  let last = event;
  const moved = (now) => {
    const [x, y] = [now.clientX - last.clientX, now.clientY - last.clientY];
    last = now;
    if (moves) {
      const { stage } = panes.find((each) => each.box === box);
      place = { ...place, x: place.x + x / stage.offsetWidth, y: place.y + y / stage.offsetHeight };
      panes.forEach(fit);
    } else {
      grey = {
        level: Math.min(100, Math.max(0, grey.level + y / 5)),
        contrast: Math.min(800, Math.max(25, grey.contrast * 1.005 ** x)),
      };
      setWindow();
    }
  };
  const end = () => {
    box.removeEventListener("pointermove", moved);
    box.removeEventListener("pointerup", end);
    box.removeEventListener("pointercancel", end);
  };
  box.addEventListener("pointermove", moved);
  box.addEventListener("pointerup", end);
  box.addEventListener("pointercancel", end);
}

function resetView() {
  grey = { ...FULL };
  place = { zoom: 1, x: 0, y: 0 };
  seen.invert = false;
  showSwitches();
  setWindow();
}

// What the map says of the place under the pointer; only the local page knows.
function pointAt(pane, event) {
  const map = Object.keys(MAPS).find((each) => seen[each] && pane.row && has(pane.row, LAYERS[each]));
  const regions = event && map && pane.image && typeof regionsOf === "function" ? regionsOf(pane.row)?.[LAYERS[map]] : null;
  let text = "";
  if (regions) {
    const area = pane.image.getBoundingClientRect();
    const column = Math.floor(((event.clientX - area.left) / area.width) * regions.width);
    const line = Math.floor(((event.clientY - area.top) / area.height) * regions.height);
    if (column >= 0 && line >= 0 && column < regions.width && line < regions.height) {
      const region = regions.cells[line * regions.width + column];
      const [value, low, high] = regions.values[region];
      const unit = regions.unit === "logodds" ? "log-odds" : "probability";
      const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
      text = low === undefined ? `${MAPS[map]}, this cell: ${percent(value)} of the peak`
        : `${MAPS[map]}, this superpixel: ${signed(value)} ${unit} of ${regions.target}, 95 % interval ${signed(low)} to ${signed(high)}${low <= 0 && high >= 0 ? ": it may as well be nothing" : ""}`;
    }
  }
  $("pointed").textContent = text;
}

// All maps of the radiograph beside each other.
function sideBySide() {
  const pane = panes[0];
  const wanted = !pane.box.querySelector(".maps") && pane.image;
  pane.box.querySelector(".maps")?.remove();
  $("all-maps").setAttribute("aria-pressed", Boolean(wanted));
  pane.stage.hidden = Boolean(wanted);
  if (!wanted) return;
  const grid = make("div", "maps");
  for (const [map, title] of Object.entries(MAPS).filter(([each]) => has(pane.row, LAYERS[each]))) {
    const figure = make("figure");
    const frame = make("div");
    frame.style.aspectRatio = `${get(pane.row, "width")} / ${get(pane.row, "height")}`;
    for (const source of [pane.image.src, picture(pane.row, LAYERS[map])]) {
      const image = make("img");
      image.src = source;
      image.alt = source === pane.image.src ? `The radiograph with ${title}` : "";
      frame.append(image);
    }
    figure.append(frame, make("figcaption", "", title));
    grid.append(figure);
  }
  pane.box.append(grid);
}

function toggle(name) {
  seen[name] = !seen[name];
  if (seen[name] && name in MAPS) for (const other of Object.keys(MAPS)) seen[other] = other === name; // two show neither
  showSwitches();
  setWindow();
}

function showSwitches() {
  const row = panes[0]?.row;
  for (const button of document.querySelectorAll("#tools button[data-seen]")) {
    const layer = LAYERS[button.dataset.seen];
    button.disabled = Boolean(layer) && !(row && has(row, layer) && has(row, "radiograph.jpg"));
    if (["fine", "shap"].includes(button.dataset.seen)) button.hidden = button.disabled; // only where asked
    button.setAttribute("aria-pressed", seen[button.dataset.seen] && !button.disabled);
  }
  if (panes[0]?.box.querySelector(".maps")) { // another radiograph, or one more map
    sideBySide();
    sideBySide();
  }
  $("all-maps").hidden = Object.keys(MAPS).filter((each) => row && has(row, LAYERS[each])).length < 2;
  $("heat-key").hidden = !(seen.heat && row && has(row, LAYERS.heat));
  $("lime-key").hidden = !(seen.lime && row && has(row, LAYERS.lime)) && !(seen.shap && row && has(row, LAYERS.shap));
}
