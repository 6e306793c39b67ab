// Where one picture is shown, before and after.

import { compose, outlined } from "./pixels.js";

/** What views are called. */
export const WORDS = { cutout: "cut-out", overlay: "overlay", map: "map" };

const REVEAL = 900; // milliseconds
const THUMB = 128; // pixels

const still = matchMedia("(prefers-reduced-motion: reduce)");
const element = (id) => document.getElementById(id);
const [stage, frame, after, before, compare] = ["stage", "frame", "after", "before", "compare"].map(element);

let revealing = 0;
let drawn = null; // the original that `before` shows
let made = {}; // what `after` shows: of which parts, by which settings

/** Shows a picture; `parts` as the worker's `open` or `look` gives them, or null if there is nothing to show. */
export function show(parts, { name, working, hasBefore, settings }) {
  frame.hidden = !parts;
  stage.classList.toggle("working", working);
  if (!parts) return;
  frame.style.setProperty("--wide", parts.width);
  frame.style.setProperty("--high", parts.height);
  const done = parts.map !== undefined;
  frame.classList.toggle("done", done);
  compare.hidden = !(done && hasBefore);
  before.hidden = done && !hasBefore;
  frame.classList.toggle("comparing", !compare.hidden);
  after.setAttribute("aria-label", `${name}, ${WORDS[settings.view]}`);
  const original = done ? new ImageData(parts.picture, parts.across) : parts.picture;
  if (drawn !== original.data) put(before, original);
  drawn = original.data;
  const chosen = JSON.stringify(settings);
  if (done && (made.parts !== parts || made.chosen !== chosen)) {
    put(after, rendered(parts, settings));
    made = { parts, chosen };
  }
  if (!done) cut(100);
}

/** The pixels of a view of a picture's preview. */
export function rendered(parts, settings) {
  const { across, down, map } = parts;
  const outline = settings.view === "overlay" ? outlined(map, across, down, Math.min(across, down), settings) : null;
  const result = new ImageData(across, down);
  compose({ ...parts, outline }, settings, result.data);
  return result;
}

/** Draws the middle of some pixels as a small square. */
export async function drawThumb(canvas, pixels) {
  const side = Math.min(pixels.width, pixels.height);
  const bitmap = await createImageBitmap(pixels, (pixels.width - side) >> 1, (pixels.height - side) >> 1, side, side);
  Object.assign(canvas, { width: THUMB, height: THUMB });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, THUMB, THUMB);
  bitmap.close();
}

/** Draws the original aside, so that the result is seen. */
export function reveal() {
  cancelAnimationFrame(revealing);
  if (still.matches) return cut(0);
  const start = performance.now();
  const step = (now) => {
    const part = Math.min(1, Math.max(0, now - start) / REVEAL);
    cut(100 * (1 - part) ** 3);
    if (part < 1) revealing = requestAnimationFrame(step);
  };
  cut(100);
  revealing = requestAnimationFrame(step);
}

/** Shows the original up to a share of the width, in per cent. */
export function cut(percent) {
  compare.value = percent;
  compare.setAttribute("aria-valuetext", `${Math.round(percent)} % of the original`);
  frame.style.setProperty("--cut", `${percent}%`);
  frame.classList.toggle("mixed", percent > 12);
}

compare.addEventListener("input", () => {
  cancelAnimationFrame(revealing);
  cut(Number(compare.value));
});

/** Follows a finger or a mouse; the range itself, which browsers let go by its thumb alone, is for keys. */
function follow(event) {
  if (compare.hidden || !event.isPrimary || event.buttons !== 1) return;
  cancelAnimationFrame(revealing);
  const { left, width } = frame.getBoundingClientRect();
  cut(Math.round(Math.min(100, Math.max(0, 100 * (event.clientX - left) / width))));
}

frame.addEventListener("pointerdown", (event) => {
  if (compare.hidden || event.button !== 0) return;
  event.preventDefault(); // no text is marked
  frame.setPointerCapture(event.pointerId);
  compare.focus({ preventScroll: true, focusVisible: false });
  follow(event);
});
frame.addEventListener("pointermove", follow);

function put(canvas, pixels) {
  Object.assign(canvas, { width: pixels.width, height: pixels.height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
