// node run_segment.mjs MODULE MODEL WIDTH HEIGHT PIXELS MAP: examples/browser/segment.mjs in Node.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [module, model, width, height, pixels, map] = process.argv.slice(2);
const ort = createRequire(pathToFileURL(`${process.cwd()}/`))("onnxruntime-web");
const { segment } = await import(pathToFileURL(module));
const session = await ort.InferenceSession.create(model);
const picture = { data: readFileSync(pixels), width: Number(width), height: Number(height) };
writeFileSync(map, Buffer.from((await segment(ort, session, picture)).buffer));
