// A file of `dsunet export` in JavaScript, by onnxruntime-web: pixels → the object's probability.
// It knows nothing of a page, so that it runs in a worker and in Node as well.

const MEAN = [0.485, 0.456, 0.406]; // what the file's metadata says, which onnxruntime-web
const STD = [0.229, 0.224, 0.225]; // does not hand out

/**
 * Segments a picture.
 *
 * @param ort The module of onnxruntime-web.
 * @param session An InferenceSession of the file.
 * @param picture {data, width, height} with four bytes a pixel (RGBA), as ImageData has it.
 * @returns Float32Array of height × width values in 0..1, row by row.
 */
export async function segment(ort, session, picture) {
  const inputs = {};
  session.inputNames.forEach((name, index) => { // two of models with two encoders
    const [, , height, width] = session.inputMetadata[index].shape;
    inputs[name] = new ort.Tensor("float32", view(picture, height, width), [1, 3, height, width]);
  });
  const { logits } = await session.run(inputs, ["logits"]);
  const [, , height, width] = logits.dims;
  const map = resized(logits.data, height, width, picture.height, picture.width, false);
  return map.map((logit) => 1 / (1 + Math.exp(-logit)));
}

/** The picture as the network takes it: 3×height×width in planes, normalised. */
function view(picture, height, width) {
  const values = new Float32Array(3 * height * width);
  for (let channel = 0; channel < 3; channel++) {
    const plane = new Float32Array(picture.width * picture.height);
    for (let i = 0; i < plane.length; i++) plane[i] = picture.data[4 * i + channel];
    const small = resized(plane, picture.height, picture.width, height, width, true);
    for (let i = 0; i < small.length; i++) {
      const value = Math.min(255, Math.max(0, Math.floor(small[i] + 0.5))) / 255;
      values[channel * small.length + i] = (value - MEAN[channel]) / STD[channel];
    }
  }
  return values;
}

/** Bilinear; where it shrinks and `averaging`, over all pixels that a new one covers. */
function resized(values, height, width, newHeight, newWidth, averaging) {
  const across = weights(width, newWidth, averaging);
  const down = weights(height, newHeight, averaging);
  const wide = new Float32Array(height * newWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      across[x].forEach(([from, weight]) => { sum += values[y * width + from] * weight; });
      wide[y * newWidth + x] = averaging ? Math.floor(sum + 0.5) : sum; // Pillow rounds here
    }
  }
  const result = new Float32Array(newHeight * newWidth);
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      down[y].forEach(([from, weight]) => { sum += wide[from * newWidth + x] * weight; });
      result[y * newWidth + x] = sum;
    }
  }
  return result;
}

/** For each new place, the given ones it is made of, and their shares. */
function weights(given, wanted, averaging) {
  const scale = given / wanted;
  const reach = averaging ? Math.max(1, scale) : 1;
  return Array.from({ length: wanted }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(given, Math.floor(centre + reach + 0.5));
    const found = [];
    for (let from = first; from < last; from++) {
      const weight = Math.max(0, 1 - Math.abs(from + 0.5 - centre) / reach);
      if (weight > 0) found.push([from, weight]);
    }
    const sum = found.reduce((total, [, weight]) => total + weight, 0);
    return found.map(([from, weight]) => [from, weight / sum]);
  });
}
