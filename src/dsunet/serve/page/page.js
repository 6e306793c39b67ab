// The page: its pictures, what becomes of each, and the controls.

import { hire } from "./crew.js";
import { commonlyShown, inTurn, model, segment } from "./server.js";
import { cut, drawThumb, rendered, reveal, show, WORDS } from "./stage.js";
import { distinct, zip } from "./zip.js";

const PREVIEWS = 6; // how many are kept, about 20 MB each
const PLAIN = { view: "cutout", threshold: null, background: null };

const element = (id) => document.getElementById(id);
const panel = element("panel");
const viewer = hire(), maker = hire(); // so that a large file that is made holds up no preview

const pictures = [];
const previews = new Map();
let current = null;
let declined = false; // to give a token
let said = ""; // what there is to say beside the counts

// ---- pictures

function add(files) {
  const added = Array.from(files, (file) => {
    const picture = { file, source: file, state: "waiting", stop: new AbortController() };
    picture.thumb = thumbOf(picture);
    element("thumbs").append(picture.thumb.label);
    return picture;
  });
  if (!added.length) return;
  declined = false;
  said = "";
  pictures.push(...added);
  const fromWelcome = element("welcome").contains(document.activeElement);
  select(added[0]);
  render(); // at once, so that there is what gets the focus
  if (fromWelcome) added[0].thumb.radio.focus();
  added.forEach(work);
}

function thumbOf(picture) {
  const label = document.createElement("label");
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "picture" });
  const canvas = document.createElement("canvas");
  const mark = Object.assign(document.createElement("span"), { className: "mark" });
  label.className = "thumb";
  label.title = picture.file.name;
  label.dataset.kind = kindOf(picture.file);
  label.append(radio, canvas, mark);
  radio.addEventListener("change", () => select(picture));
  radio.addEventListener("keydown", (event) => {
    if (event.key === "Delete" || event.key === "Backspace") remove(picture);
  });
  return { label, radio, canvas, mark };
}

/** What stands for a picture that cannot be shown: what its name ends in. */
const kindOf = ({ name }) => /\.(\w{1,5})$/.exec(name)?.[1].toUpperCase() ?? "?";

function paint({ thumb }, pixels) {
  drawThumb(thumb.canvas, pixels);
  thumb.label.classList.add("seen");
}

/** Brings a picture to its cut-out, or to the line that says why not. */
async function work(picture) {
  change(picture, "waiting");
  previews.delete(picture); // of an attempt before
  const { signal } = picture.stop;
  await inTurn(async () => {
    if (signal.aborted) return;
    change(picture, "working");
    try {
      const opening = open(picture);
      if (!commonlyShown(picture.file)) await opening;
      const started = performance.now();
      const ask = (query) => segment(picture.file, query, { busy: (seconds) => busy(picture, seconds), token }, signal);
      let answer = picture.shown === false ? null : await ask({ output: "probability", refine: true });
      await opening;
      if (!picture.shown) answer = await ask({ output: "cutout" });
      picture.seconds = (performance.now() - started) / 1000;
      picture.notes = answer.notes;
      if (picture.shown) picture.map = answer.file;
      else picture.source = answer.file;
      const parts = await previewOf(picture, "look");
      if (signal.aborted) return;
      picture.found = parts.found;
      Object.assign(picture, { width: parts.width, height: parts.height });
      paint(picture, rendered(parts, PLAIN));
      change(picture, "done");
      if (picture === current) reveal();
    } catch (error) {
      if (signal.aborted) return;
      picture.message = error.message;
      change(picture, "failed");
    }
  });
}

/** Looks whether the browser can show a picture, and shows it. */
async function open(picture) {
  try {
    const parts = await previewOf(picture, "open");
    picture.shown = true;
    Object.assign(picture, { width: parts.width, height: parts.height });
    paint(picture, parts.picture);
  } catch {
    picture.shown = false;
  }
  if (picture === current) refresh();
}

function busy(picture, seconds) {
  picture.message = `It is asked again in ${Math.ceil(seconds)} s.`;
  change(picture, "busy");
}

function change(picture, state) {
  picture.state = state;
  const words = { waiting: "waiting", working: "being cut out", busy: "waiting for the server", done: "done", failed: "failed" };
  picture.thumb.label.dataset.state = state;
  const reason = state === "failed" ? `: ${picture.message}` : "";
  picture.thumb.radio.setAttribute("aria-label", `${picture.file.name}, ${words[state]}${reason}`);
  refresh();
  tell();
}

function select(picture) {
  const before = current;
  current = picture;
  picture.thumb.radio.checked = true;
  picture.thumb.label.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (before !== picture) cut(picture.state === "done" ? 0 : 100);
  refresh();
  tell();
}

/** Takes away some pictures; the focus goes to the one that is chosen then. */
function remove(...gone) {
  const place = pictures.indexOf(gone[0]);
  for (const picture of gone) {
    picture.stop.abort();
    previews.delete(picture);
    picture.thumb.label.remove();
  }
  pictures.splice(0, Infinity, ...pictures.filter((each) => !gone.includes(each)));
  const next = pictures[Math.min(place, pictures.length - 1)];
  if (next) select(next);
  else current = null;
  tell();
  render();
  (next ? next.thumb.radio : document.querySelector("#welcome [data-choose]")).focus();
}

// ---- what is shown

/** What the stage needs of a picture, as the worker's `open` or `look` gives it; that of the last few is kept. */
function previewOf(picture, job) {
  const held = previews.get(picture) ?? {};
  held[job] ??= job === "open" ? viewer("open", { file: picture.source }) : looked(picture, held);
  previews.delete(picture);
  previews.set(picture, held);
  for (const [oldest] of previews) {
    if (previews.size > PREVIEWS) previews.delete(oldest);
  }
  return held[job];
}

async function looked({ source, map }, held) {
  const opened = map && await held.open;
  const parts = await viewer("look", { file: source, map, opened });
  delete held.open; // the same pixels are in these parts
  return parts;
}

function settingsOf(picture) {
  const unseen = picture.state === "done" && !picture.shown; // nothing to lay an overlay on
  const background = chosen("background") === "colour" ? element("colour").value : chosen("background");
  return {
    view: unseen && chosen("view") === "overlay" ? "cutout" : chosen("view"),
    threshold: chosen("edge") === "threshold" ? Number(element("threshold").value) / 100 : null,
    background: background === "none" ? null : background === "blur" ? "blur" : rgb(background),
  };
}

const chosen = (name) => panel.elements[name].value;
const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

let queued = false;

/** Shows the chosen picture anew, once for all that changed since the last frame. */
function refresh() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    render();
  });
}

async function render() {
  const picture = current;
  document.body.dataset.state = picture ? "work" : "empty";
  element("welcome").hidden = Boolean(picture);
  element("work").hidden = element("clear").hidden = !picture;
  if (!picture) return;
  const { state } = picture;
  const settings = settingsOf(picture);
  const done = pictures.filter((each) => each.state === "done");
  element("name").textContent = picture.file.name;
  element("facts").textContent = facts(picture);
  element("backgrounds").disabled = settings.view !== "cutout";
  element("download").disabled = state !== "done" || making;
  element("download-all").hidden = done.length < 2;
  element("download-all").disabled = making;
  if (!making) {
    element("download").textContent = `Download ${WORDS[settings.view]}`;
    element("download-all").textContent = `Download all ${done.length}`;
  }
  notice(picture);
  const parts = await partsOf(picture);
  if (picture !== current || state !== picture.state) return;
  show(parts, {
    name: picture.file.name, working: ["waiting", "working", "busy"].includes(state), hasBefore: picture.shown, settings,
  });
}

/** What there is to show of a picture, or null. */
async function partsOf(picture) {
  if (picture.state !== "done") return picture.shown ? previewOf(picture, "open").catch(() => null) : null;
  try {
    return await previewOf(picture, "look");
  } catch {
    picture.message = "Its file cannot be read any more. Was it moved or changed?";
    change(picture, "failed");
    return null;
  }
}

function facts({ state, width, height, seconds, shown, found, notes }) {
  const size = width ? `${width} × ${height} px` : "";
  const time = state === "done" ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : "";
  const remarks = state !== "done" ? [] : [
    found ? "" : "nothing stands out in it",
    notes,
    shown ? "" : "this browser cannot show the original, only what the server made of it",
  ];
  return [size, time, ...remarks].filter(Boolean).join(" · ");
}

function notice(picture) {
  const { state } = picture;
  const failed = state === "failed", unseen = !picture.shown && state !== "done";
  element("notice").hidden = !(failed || unseen || state === "busy");
  element("notice").classList.toggle("failed", failed);
  const titles = { failed: `${picture.file.name} could not be cut out`, waiting: "Waiting for its turn", busy: "The server is busy" };
  element("notice-title").textContent = titles[state] ?? "Being cut out";
  element("notice-text").textContent = failed || state === "busy" ? picture.message : "";
  element("after-failure").hidden = !failed;
}

function tell() {
  const count = (...states) => pictures.filter(({ state }) => states.includes(state)).length;
  const [done, failed, open] = [count("done"), count("failed"), count("waiting", "working", "busy")];
  const parts = [
    open && (pictures.length === 1 ? "Being cut out …" : `${done + failed} of ${pictures.length} done`),
    !open && done && (done === 1 ? "1 picture cut out" : `${done} pictures cut out`),
    failed && `${failed} failed`,
  ].filter(Boolean);
  element("status").textContent = said || parts.join(", ");
}

// ---- files

let making = false;

/** What makes the file of a picture as it is shown now; its name is without `.png`. */
function order(picture) {
  const settings = settingsOf(picture);
  const stem = picture.file.name.replace(/\.[^.]*$/, "").replace(/[\\/:*?"<>|\u0000-\u001f]/g, "_") || "picture";
  return { picture, name: `${stem}-${settings.view}`, given: { file: picture.source, map: picture.map, settings } };
}

async function download() {
  const { name, given } = order(current);
  await busily(element("download"), async () => save((await maker("make", given)).blob, `${name}.png`));
}

async function downloadAll() {
  const button = element("download-all");
  const orders = pictures.filter(({ state }) => state === "done").map(order);
  const names = distinct(orders.map(({ name }) => name), ".png");
  const archive = `${chosen("view")}s.zip`;
  await busily(button, async () => {
    const entries = [], lost = [];
    for (const [index, { picture, given }] of orders.entries()) {
      button.textContent = `Making ${index + 1} of ${orders.length} …`;
      try {
        entries.push({ name: names[index], ...await maker("make", given) });
      } catch (error) {
        lost.push(`${picture.file.name}: ${error.message}`);
      }
    }
    if (entries.length) save(zip(entries), archive);
    if (lost.length) throw new Error(lost.join("; "));
  });
}

/** Runs what makes files, with its button resting; what went wrong is said. */
async function busily(button, task) {
  making = true;
  said = "";
  refresh();
  button.textContent = "Making …";
  try {
    await task();
  } catch (error) {
    said = `Not everything could be made: ${error.message}`;
  }
  making = false;
  refresh();
  tell();
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser has begun to read it by then
}

// ---- token

let asked = null;

/** Asks for the server's token, once for all requests that want it. */
function token(refused) {
  if (declined) return null;
  asked ??= new Promise((resolve) => {
    const dialog = element("ask");
    element("ask-title").textContent = refused ? "The server refused that token" : "This server asks for a token";
    element("token").value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asked = null;
      const given = dialog.returnValue === "yes" ? element("token").value.trim() : "";
      element("token").value = "";
      declined = !given;
      resolve(given || null);
    }, { once: true });
    dialog.showModal();
  });
  return asked;
}

// ---- controls

const chooser = element("files");
for (const button of document.querySelectorAll("[data-choose]")) button.addEventListener("click", () => chooser.click());
chooser.addEventListener("change", () => {
  add(chooser.files);
  chooser.value = "";
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  element("dropping").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) element("dropping").hidden = true;
});
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  element("dropping").hidden = true;
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => add(event.clipboardData.files));

panel.addEventListener("submit", (event) => event.preventDefault());
panel.addEventListener("input", () => {
  element("colour").hidden = chosen("background") !== "colour";
  element("thresholds").hidden = chosen("edge") !== "threshold";
  tellThreshold();
  refresh();
});

function tellThreshold() {
  element("threshold-value").value = `${element("threshold").value} %`;
}

element("download").addEventListener("click", download);
element("download-all").addEventListener("click", downloadAll);
element("remove").addEventListener("click", () => remove(current));
element("drop-this").addEventListener("click", () => remove(current));
element("clear").addEventListener("click", () => remove(...pictures));
element("again").addEventListener("click", () => {
  declined = false;
  work(current);
});

const { name = "", threshold = 0.5 } = await model();
element("model").textContent = name;
element("threshold").value = Math.round(100 * threshold); // what the weights were calibrated to
tellThreshold();
