// Requests to the server: a few at a time, again when it is busy, with a token where it wants one.

const AT_ONCE = 3, TRIES = 12, PATIENCE = 120; // PATIENCE: how long to wait at most, in seconds
/** Whether all browsers show files of such a name. */
export const commonlyShown = ({ name }) => /\.(jpe?g|png|webp|gif|bmp|avif)$/i.test(name);

const TYPES = { heic: "image/heic", heif: "image/heif", tif: "image/tiff", tiff: "image/tiff" }; // browsers know no others

let token = "";
let mostBytes = Infinity;
let running = 0;
const waiting = [];

/** Runs a task when fewer than a few others run. */
export async function inTurn(task) {
  if (running < AT_ONCE) running++;
  else await new Promise((resolve) => waiting.push(resolve));
  try {
    return await task();
  } finally {
    const next = waiting.shift(); // takes this one's place
    if (next) next();
    else running--;
  }
}

/**
 * Sends a picture.
 *
 * @param file A File.
 * @param options {output, refine …}: the query.
 * @param tell {busy(seconds), token(refused)}: called before a wait, and for the token, which it gives or null.
 * @param signal To stop it.
 * @returns {file, notes}: the answer as a Blob, and what the server remarks; else an Error with a line to show.
 */
export async function segment(file, options, tell, signal) {
  if (file.size > mostBytes) {
    throw new Error(`It has ${megabytes(file.size)}, and this server takes ${megabytes(mostBytes)} at most.`);
  }
  await file.slice(0, 1).arrayBuffer().catch(() => {
    throw new Error("It cannot be read. Is it a folder, or was it moved?");
  });
  const query = new URLSearchParams(options);
  const type = file.type || TYPES[file.name.split(".").pop().toLowerCase()] || "application/octet-stream";
  for (let attempt = 1; ; attempt++) {
    const sent = token;
    const answer = await ask(`v1/segment?${query}`, { method: "POST", body: file, headers: { "Content-Type": type }, signal });
    if (answer.ok) return { file: await answer.blob(), notes: answer.headers.get("X-Notes") ?? "" };
    if (answer.status === 401) {
      if (sent === token) token = await tell.token(sent !== "") ?? "";
      if (!token) throw new Error("This server wants a token.");
    } else if ((answer.status === 429 || answer.status === 503) && attempt < TRIES) {
      const seconds = Math.min(PATIENCE, delay(answer.headers.get("Retry-After"), attempt));
      tell.busy(seconds);
      await pause(seconds, signal);
    } else {
      throw new Error(await reason(answer));
    }
  }
}

/** The first model that the server runs: {name, threshold …}, or {}; the server's limit of bytes is kept here. */
export async function model() {
  try {
    const answer = await ask("v1/models");
    if (!answer.ok) return {};
    const { models, limits } = await answer.json();
    mostBytes = limits?.max_bytes ?? Infinity;
    return models?.[0] ?? {};
  } catch {
    return {}; // the page works without
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;

async function ask(path, { headers = {}, ...options } = {}) {
  if (token) headers = { ...headers, Authorization: `Bearer ${token}` };
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server did not answer. Is it still running, and is the picture within its limit?");
  }
}

async function reason(answer) {
  const told = await answer.json().catch(() => ({}));
  return typeof told.error === "string" ? told.error : `The server answered with status ${answer.status}.`;
}

/** Seconds to wait: what the server says, as a number or a date, else longer each time. */
function delay(header, attempt) {
  const seconds = Number(header ?? NaN);
  if (Number.isFinite(seconds)) return Math.max(0.2, seconds);
  const until = (Date.parse(header ?? "") - Date.now()) / 1000;
  return Number.isFinite(until) ? Math.max(0.2, until) : Math.min(20, 2 ** (attempt - 1));
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(end); reject(signal.reason); }, { once: true });
  });
}
