// Zip files of stored entries: what is in them is compressed already.

const LIMIT = 0xffffffff, MOST = 0xffff;

/**
 * A zip file.
 *
 * @param entries A list of {name, blob, crc}; names are written in UTF-8.
 * @param now The date of all entries.
 */
export function zip(entries, now = new Date()) {
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, blob, crc } of entries) {
    const bytes = new TextEncoder().encode(name);
    // version 2.0, names in UTF-8, stored
    const shared = [[2, 20], [2, 0x0800], [2, 0], [2, time], [2, date], [4, crc], [4, blob.size], [4, blob.size], [2, bytes.length], [2, 0]];
    parts.push(record([4, 0x04034b50], ...shared), bytes, blob);
    directory.push(record([4, 0x02014b50], [2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), bytes);
    offset += 30 + bytes.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  if (offset + size > LIMIT || entries.length > MOST) {
    throw new Error("these pictures are more than one zip file holds (4 GB); download some of them one by one");
  }
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Numbers of two or four bytes, the lowest first. */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

/** The same names, of which those that are equal, in any case, have a number behind them. */
export function distinct(names, ending) {
  const taken = new Set();
  return names.map((name) => {
    let result = name + ending;
    for (let number = 2; taken.has(result.toLowerCase()); number++) result = `${name}-${number}${ending}`;
    taken.add(result.toLowerCase());
    return result;
  });
}
