// The local page: files go to the program on this machine, rows come back; of an open one the maps as they come.
const { most, largest, scan } = JSON.parse($("header").textContent);
const blank = (path) => columns.map((name) => (name === "path" ? path : name === "status" ? "waiting" : name === "warnings" ? [] : null)).concat(0);
const sending = { queue: [], running: 0, done: 0, all: 0 };
const own = new Map(rows.map((row) => [get(row, "path"), row])); // dropped here, by name
const listed = new Map(); // of the scan
const asked = new Set();
const limeButton = document.querySelector("[data-seen=lime]");
let due = false;

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The program does not answer any more: start cxr-edge view again and open its new address.");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer.status === 204 ? null : answer.json();
}

// Rows are changed in their place, so that what is open stays open.
function update(row, values) {
  row.splice(0, row.length, ...values);
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    rowsChanged();
    if ($("detail").open && view.length) fill();
  });
}

function take(files) {
  trouble("");
  const room = most - own.size;
  if (files.length > room) trouble(`Only ${most} files fit on the page: ${number(files.length - Math.max(0, room))} were left out. Clear the page, or answer folders with cxr-edge scan.`);
  const fresh = [];
  for (const { file, name } of files.slice(0, Math.max(0, room))) {
    let row = own.get(name);
    if (!row) {
      row = blank(name);
      rows.push(row);
      own.set(name, row);
    } else update(row, blank(name));
    asked.delete(name);
    sending.queue.push({ file, name, row });
    sending.all += 1;
    fresh.push(row);
  }
  rowsChanged();
  if (fresh.length === 1) openRow(fresh[0]);
  for (let i = 0; i < 3; i++) send();
}

function openRow(row) {
  const at = view.findIndex((i) => rows[i] === row);
  if (at >= 0) open(at);
}

async function send() {
  const next = sending.queue.shift();
  if (!next) return;
  sending.running += 1;
  progress();
  try {
    if (next.file.size > largest) throw new Error(`${next.name}: has more than ${largest >> 20} MiB; answer it with cxr-edge predict`);
    update(next.row, await ask(`answer?name=${encodeURIComponent(next.name)}`, { method: "POST", body: next.file }));
  } catch (error) {
    const failedRow = blank(next.name);
    failedRow[index.status] = "error";
    failedRow[index.error_kind] = "not-sent";
    failedRow[index.error_message] = error.message;
    update(next.row, failedRow);
    trouble(error.message);
  }
  sending.running -= 1;
  sending.done += 1;
  progress();
  send();
}

function progress() {
  const left = sending.queue.length + sending.running;
  $("state").value = left ? `${number(sending.done)} of ${number(sending.all)} files done` : sending.all ? `all ${number(sending.all)} files done` : "";
}

const regions = new Map(); // by name: what lies under the pointer
const regionsOf = (row) => regions.get(get(row, "path"));

// Called by the detail view: the cheap maps first.
async function whenShown(row) {
  const name = get(row, "path");
  if (!ok(row) || own.get(name) !== row || asked.has(name)) return;
  asked.add(name);
  try {
    for (const method of ["gradcam", "layercam", "lime", "shap"]) {
      limeButton.textContent = method === "lime" ? "LIME …" : "LIME";
      update(row, await ask(`explain?name=${encodeURIComponent(name)}&method=${method}`, { method: "POST" }));
      regions.set(name, await ask(`regions?name=${encodeURIComponent(name)}`));
    }
  } catch (error) {
    trouble(error.message);
  }
  limeButton.textContent = "LIME";
}

// The records of a scan that may still run.
let end = 0;
async function follow() {
  try {
    const news = await ask(`rows?start=${end}`);
    end = news.end;
    for (const values of news.rows) {
      const path = values[index.path];
      if (listed.has(path)) listed.get(path).splice(0, columns.length + 1, ...values);
      else {
        listed.set(path, values);
        rows.push(values);
      }
    }
    if (news.rows.length) {
      rowsChanged();
      if ($("detail").open && view.length) fill();
    }
    setTimeout(follow, news.rows.length === 1000 ? 0 : 1500);
  } catch (error) {
    trouble(error.message);
  }
}

// A dropped folder is searched with its sub-folders.
async function filesOf(entry, above = "") {
  if (entry.isFile) return [{ file: await new Promise((done, fail) => entry.file(done, fail)), name: above + entry.name }];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // a hundred at a time
    if (!some.length) return found;
    for (const each of some) found.push(...(await filesOf(each, `${above}${entry.name}/`)));
  }
}

$("files").onchange = () => {
  take([...$("files").files].map((file) => ({ file, name: file.name })));
  $("files").value = "";
};
$("empty").onclick = async () => {
  await ask("clear", { method: "POST" }).catch((error) => trouble(error.message));
  location.reload();
};
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...event.dataTransfer.files].map((file) => ({ file, name: file.name }));
  try {
    take(entries.some((entry) => entry.isDirectory) ? (await Promise.all(entries.map((entry) => filesOf(entry)))).flat() : plain);
  } catch {
    trouble("The folder cannot be read by the browser: choose its files instead.");
  }
});
if (scan) follow();
