// The radiograph, large: layers over it, grey window, zoom. Two panes side by side share all of that.
const LAYERS = { heat: "gradcam.png", lime: "lime.png", lungs: "lungs.png" };
const seen = { heat: true, lime: false, lungs: true, invert: false };
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

function toggle(name) {
  seen[name] = !seen[name];
  if (seen[name] && name === "heat") seen.lime = false; // two maps over each other show neither
  if (seen[name] && name === "lime") seen.heat = false;
  showSwitches();
  setWindow();
}

function showSwitches() {
  const row = panes[0]?.row;
  for (const button of document.querySelectorAll("#tools button[data-seen]")) {
    const layer = LAYERS[button.dataset.seen];
    button.disabled = Boolean(layer) && !(row && has(row, layer) && has(row, "radiograph.jpg"));
    button.setAttribute("aria-pressed", seen[button.dataset.seen] && !button.disabled);
  }
  $("heat-key").hidden = !(seen.heat && row && has(row, LAYERS.heat));
  $("lime-key").hidden = !(seen.lime && row && has(row, LAYERS.lime));
}
