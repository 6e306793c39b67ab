// What takes time: decoding pictures, previews of them, and files at their full size, strip by strip.

import { backdropOf, backdropSize, cleaned, compose, HALO, outlined, outlineRadius } from "./pixels.js";
import { crc32 } from "./checksum.js";
import { pngWriter } from "./png.js";

const ROWS = 2 * HALO; // of a strip
const PREVIEW_SIDE = 1600;

const jobs = { open, look, make };

addEventListener("message", async ({ data: { number, job, given } }) => {
  try {
    const { result, moved = [] } = await jobs[job](given);
    postMessage({ number, result }, moved);
  } catch (error) {
    postMessage({ number, error: error.message });
  }
});

/** A picture's size and a small copy of it; an error if this browser cannot decode it. */
async function open({ file }) {
  const bitmap = await createImageBitmap(file); // upright, as EXIF says
  const { width, height } = bitmap;
  const [across, down] = previewSize(width, height);
  const picture = scaled(bitmap, across, down).getImageData(0, 0, across, down);
  bitmap.close();
  return { result: { width, height, picture }, moved: [picture.data.buffer] };
}

/** What `compose` needs to show a picture at the size of its preview. */
async function look({ file, map }) {
  const source = await sourceOf(file, map);
  const { width, height } = source;
  const [across, down] = previewSize(width, height);
  const small = source.scaled(across, down), tiny = source.scaled(...backdropSize(width, height));
  source.close();
  const clean = map ? cleaned(small.picture, small.map, across, down) : small.picture.slice();
  const backdrop = new ImageData(backdropOf(tiny.picture, tiny.map, tiny.width, tiny.height), tiny.width);
  const enlarged = scaled(await createImageBitmap(backdrop), across, down).getImageData(0, 0, across, down).data;
  const found = small.map.some((value) => value >= 128);
  const result = { width, height, across, down, picture: small.picture, clean, map: small.map, backdrop: enlarged, found };
  return { result, moved: [small.picture, clean, small.map, enlarged].map((each) => each.buffer) };
}

/** The server's own file where nothing is to be changed, or the file of a view at the picture's own size, and its checksum. */
async function make({ file, map, settings }) {
  const { view, threshold, background } = settings;
  const ready = threshold !== null ? null : map ? view === "map" && map : view === "cutout" && background === null && file;
  if (ready) return { result: { blob: ready, crc: crc32(new Uint8Array(await ready.arrayBuffer())) } };
  const source = await sourceOf(file, map);
  const { width, height } = source;
  const side = Math.min(width, height);
  const backdrop = view === "cutout" && background === "blur" ? await backdropBitmap(source) : null;
  const halo = view === "overlay" ? outlineRadius(side) : HALO;
  const channels = view === "map" ? 1 : view === "cutout" && background === null ? 4 : 3;
  const png = pngWriter(width, height, channels);
  for (let top = 0; top < height; top += ROWS) {
    const bottom = Math.min(height, top + ROWS);
    const from = Math.max(0, top - halo), to = Math.min(height, bottom + halo);
    const { picture, map: shares } = source.rows(from, to);
    const parts = { picture, map: shares };
    if (view === "overlay") parts.outline = outlined(shares, width, to - from, side, settings);
    if (view === "cutout") parts.clean = map ? cleaned(picture, shares, width, to - from) : picture;
    for (const [name, values] of Object.entries(parts)) {
      const size = values.length / (to - from);
      parts[name] = values.subarray((top - from) * size, (bottom - from) * size);
    }
    if (backdrop) parts.backdrop = strip(backdrop, width, height, top, bottom);
    await png.write(compose(parts, settings, new Uint8ClampedArray(4 * width * (bottom - top))));
  }
  source.close();
  return { result: await png.finish() };
}

async function backdropBitmap(source) {
  const { width, height, picture, map } = source.scaled(...backdropSize(source.width, source.height));
  return createImageBitmap(new ImageData(backdropOf(picture, map, width, height), width));
}

/** A picture and its map, or a cut-out, whose opacity is the map. */
async function sourceOf(file, mapFile) {
  const [picture, map] = await Promise.all([
    createImageBitmap(file),
    mapFile && createImageBitmap(mapFile, { colorSpaceConversion: "none" }),
  ]);
  const { width, height } = picture;
  const split = (pixels, shares) => {
    if (shares) return { picture: pixels, map: channel(shares, 0) };
    const opacity = channel(pixels, 3);
    for (let at = 3; at < pixels.length; at += 4) pixels[at] = 255;
    return { picture: pixels, map: opacity };
  };
  return {
    width,
    height,
    rows: (from, to) => split(strip(picture, width, height, from, to), map && strip(map, width, height, from, to)),
    scaled: (across, down) => {
      const pixels = (bitmap) => scaled(bitmap, across, down).getImageData(0, 0, across, down).data;
      return { width: across, height: down, ...split(pixels(picture), map && pixels(map)) };
    },
    close: () => { picture.close(); map?.close(); },
  };
}

function channel(pixels, c) {
  const result = new Uint8Array(pixels.length / 4);
  for (let i = 0; i < result.length; i++) result[i] = pixels[4 * i + c];
  return result;
}

function previewSize(width, height) {
  const scale = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

function scaled(bitmap, width, height) {
  const context = canvas(width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return context;
}

/** Some rows of a bitmap that is stretched to a size. */
function strip(bitmap, width, height, top, bottom) {
  const context = canvas(width, bottom - top);
  context.drawImage(bitmap, 0, -top, width, height);
  return context.getImageData(0, 0, width, bottom - top).data;
}

function canvas(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}
