// What takes time: decoding pictures, previews of them, and files at their full size, strip by strip.

import { backdropOf, cleaned, compose, HALO, outlined, outlineRadius } from "./pixels.js";
import { crc32 } from "./checksum.js";
import { pngWriter } from "./png.js";

const ROWS = 4 * HALO; // of a strip
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
  const picture = new ImageData(scaled(bitmap, across, down), across);
  bitmap.close();
  return { result: { width, height, picture }, moved: [picture.data.buffer] };
}

/**
 * What `compose` needs to show a picture at the size of its preview.
 *
 * @param given {file, map, opened}: no `map` of a cut-out; `opened` is what `open` gave, where it is at hand.
 */
async function look({ file, map, opened }) {
  const { width, height, picture: { data: picture, width: across, height: down } } = opened ?? (await open({ file })).result;
  const grey = map && await decodedMap(map, width, height);
  const shares = sharesOf(picture, grey && scaled(grey, across, down));
  grey?.close();
  const clean = map ? cleaned(picture, shares, across, down) : picture.slice();
  const backdrop = scaled(await createImageBitmap(backdropOf(picture, shares, across, down)), across, down);
  const found = shares.some((value) => value >= 128);
  const result = { width, height, across, down, picture, clean, map: shares, backdrop, found };
  return { result, moved: [picture, clean, shares, backdrop].map((each) => each.buffer) };
}

/** The file of a view at the picture's own size, and its checksum; the server's own where nothing is to be changed. */
async function make({ file, map, settings }) {
  const { view, threshold, background } = settings;
  const ready = threshold !== null ? null : map ? view === "map" && map : view === "cutout" && background === null && file;
  if (ready) return { result: { blob: ready, crc: crc32(new Uint8Array(await ready.arrayBuffer())) } };

  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const grey = map && await decodedMap(map, width, height);
  const side = Math.min(width, height);
  const backdrop = view === "cutout" && background === "blur" ? await backdropBitmap(bitmap, grey) : null;
  const halo = view === "overlay" ? outlineRadius(side) : HALO;
  const channels = view === "map" ? 1 : view === "cutout" && background === null ? 4 : 3;
  const png = pngWriter(width, height, channels);
  for (let top = 0; top < height; top += ROWS) {
    const bottom = Math.min(height, top + ROWS);
    const from = Math.max(0, top - halo), to = Math.min(height, bottom + halo);
    const picture = strip(bitmap, width, height, from, to);
    const shares = sharesOf(picture, grey && strip(grey, width, height, from, to));
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
  bitmap.close();
  grey?.close();
  return { result: await png.finish() };
}

/** The blurred background, small; of the same pixels as the preview's. */
function backdropBitmap(bitmap, grey) {
  const [across, down] = previewSize(bitmap.width, bitmap.height);
  const picture = scaled(bitmap, across, down);
  return createImageBitmap(backdropOf(picture, sharesOf(picture, grey && scaled(grey, across, down)), across, down));
}

async function decodedMap(file, width, height) {
  const grey = await createImageBitmap(file, { colorSpaceConversion: "none" });
  if (grey.width === width && grey.height === height) return grey;
  throw new Error("this browser takes the picture for one of another size than the server does");
}

/** A map's values; without one the opacity of a cut-out, which is opaque from then on. */
function sharesOf(picture, grey) {
  const result = new Uint8Array(picture.length / 4);
  for (let i = 0; i < result.length; i++) {
    if (grey) {
      result[i] = grey[4 * i];
    } else {
      result[i] = picture[4 * i + 3];
      picture[4 * i + 3] = 255;
    }
  }
  return result;
}

function previewSize(width, height) {
  const scale = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

function scaled(bitmap, width, height) {
  return strip(bitmap, width, height, 0, height);
}

/** RGBA of some rows of a bitmap that is stretched to a size. */
function strip(bitmap, width, height, top, bottom) {
  const context = new OffscreenCanvas(width, bottom - top).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, -top, width, height);
  return context.getImageData(0, 0, width, bottom - top).data;
}
