// A worker whose jobs are functions that give promises.

/** A function of a job's name and what it is given; jobs of one worker are done one by one. */
export function hire() {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const open = new Map();
  let last = 0;
  worker.addEventListener("message", ({ data: { number, result, error } }) => {
    const { resolve, reject } = open.get(number);
    open.delete(number);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  });
  worker.addEventListener("error", () => {
    for (const { reject } of open.values()) reject(new Error("a part of this page could not be loaded"));
    open.clear();
  });
  return (job, given) => new Promise((resolve, reject) => {
    open.set(++last, { resolve, reject });
    worker.postMessage({ number: last, job, given });
  });
}
