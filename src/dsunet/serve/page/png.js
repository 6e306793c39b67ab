// PNG files, row by row. A canvas would write them too, but only whole, in RGBA, and with the
// colours of half-transparent pixels rounded.

import { crc32 } from "./checksum.js";

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 };

/**
 * A file to write strips of RGBA into.
 *
 * @param channels What is kept of each pixel: 1 (grey, from red), 3 (RGB) or 4 (RGBA).
 * @returns {write, finish}: `await write(pixels)` for each strip, then `await finish()` for {blob, crc}.
 */
export function pngWriter(width, height, channels) {
  const parts = [];
  let crc = 0;
  const put = (bytes) => { parts.push(bytes); crc = crc32(bytes, crc); };
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, COLOUR_TYPES[channels]);
  put(SIGNATURE);
  put(chunk("IHDR", new Uint8Array(header.buffer)));

  const packer = new CompressionStream("deflate");
  const rows = packer.writable.getWriter();
  const packed = (async () => {
    const reader = packer.readable.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) put(chunk("IDAT", next.value));
  })();
  const length = width * channels;
  let above = new Uint8Array(length), row = new Uint8Array(length);

  return {
    async write(pixels) {
      const count = pixels.length / 4 / width;
      const filtered = new Uint8Array(count * (length + 1));
      for (let y = 0; y < count; y++) {
        for (let x = 0, from = 4 * y * width, to = 0; x < width; x++, from += 4) {
          for (let c = 0; c < channels; c++) row[to++] = pixels[from + c];
        }
        filtered[y * (length + 1)] = 4;
        paeth(row, above, channels, filtered, y * (length + 1) + 1);
        [above, row] = [row, above];
      }
      await rows.write(filtered);
    },
    async finish() {
      await rows.close();
      await packed;
      put(chunk("IEND", new Uint8Array(0)));
      return { blob: new Blob(parts, { type: "image/png" }), crc };
    },
  };
}

function paeth(row, above, channels, result, start) {
  for (let i = 0; i < row.length; i++) {
    const left = i < channels ? 0 : row[i - channels], up = above[i], corner = i < channels ? 0 : above[i - channels];
    const byLeft = Math.abs(up - corner), byUp = Math.abs(left - corner), byCorner = Math.abs(left + up - 2 * corner);
    const guess = byLeft <= byUp && byLeft <= byCorner ? left : byUp <= byCorner ? up : corner;
    result[start + i] = row[i] - guess;
  }
}

function chunk(name, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc32(bytes.subarray(4, 8 + content.length)));
  return bytes;
}
