// Pixels of a picture and its map → pixels of what is shown and saved. Nothing here knows of a page:
// the same code makes the small preview and, in a worker, the whole picture strip by strip. Numbers
// and roundings are those of `dsunet predict`, so that both write the same file.

const NEAR = [2, 3], FAR = [8, 11]; // neighbourhoods: a part of the size, and the radius there
const SURE = 26; // how far, of 255, an opacity may be from an end to be surely object or background
const ENOUGH = 8; // the share, of 255, of a neighbourhood that has to be sure
const TINT = [255, 64, 32];
const BACKDROP_SIDE = 256, BACKDROP_RADIUS = 7;

/** How many rows more than its own a strip needs on either side for `cleaned`; strips begin at multiples of it. */
export const HALO = 96;

/**
 * What a view shows, as RGBA.
 *
 * @param parts {picture, clean, map, outline, backdrop}: `picture` and `clean` RGBA, `map` one byte a
 *   pixel, `outline` of `outlined` for overlays, `backdrop` RGBA for a blurred background.
 * @param settings {view, threshold, background}: a view's name; null or 0..1; null, "blur" or [r, g, b].
 */
export function compose(parts, settings, result) {
  const { picture, clean, map, outline, backdrop } = parts;
  const { view, background } = settings;
  const least = lowest(settings);
  for (let i = 0, at = 0; i < map.length; i++, at += 4) {
    if (view === "map") {
      const value = settings.threshold === null ? map[i] : 255 * (map[i] >= least);
      result[at] = result[at + 1] = result[at + 2] = value;
      result[at + 3] = 255;
    } else if (view === "overlay") {
      const inside = map[i] >= least, own = picture[at + 3];
      for (let c = 0; c < 3; c++) {
        const seen = mixed(picture[at + c], 255, own);
        result[at + c] = inside ? Math.round(0.6 * seen + 0.4 * TINT[c]) : outline[i] ? TINT[c] : seen;
      }
      result[at + 3] = 255;
    } else {
      const share = map[i] < least ? 0 : Math.round(map[i] * picture[at + 3] / 255);
      for (let c = 0; c < 3; c++) {
        if (background === null) result[at + c] = share ? clean[at + c] : 0;
        else result[at + c] = mixed(clean[at + c], background === "blur" ? backdrop[at + c] : background[c], share);
      }
      result[at + 3] = background === null ? share : 255;
    }
  }
  return result;
}

/** The least value of a map that belongs to the object. */
export function lowest({ view, threshold }) {
  return threshold === null ? (view === "overlay" ? 127.5 : 0) : 255 * threshold;
}

/** A colour on another by its share of 255, rounded as Pillow rounds. */
function mixed(over, under, share) {
  const value = over * share + under * (255 - share) + 128;
  return (value + (value >> 8)) >> 8;
}

/** Where the outline of the object is drawn; `side` is the shorter one of the whole picture. */
export function outlined(map, width, height, side, settings) {
  const least = lowest(settings);
  return blurred(map.map((value) => 255 * (value >= least)), width, height, outlineRadius(side));
}

export const outlineRadius = (side) => Math.max(1, Math.floor(side / 150));

/**
 * The picture with the object's colours where it is half there, instead of a mixture with what was behind.
 *
 * Both colours are estimated from what is surely the one or the other nearby, and what else the pixel
 * shows goes to the object by its share (Forte, "Approximate Fast Foreground Colour Estimation", 2021).
 */
export function cleaned(picture, map, width, height) {
  const result = picture.slice();
  const half = (i) => map[i] > 0 && map[i] < 255 && picture[4 * i + 3] === 255;
  let any = false;
  for (let i = 0; i < map.length && !any; i++) any = half(i);
  if (!any) return result;
  const colours = [(value) => value >= 255 - SURE, (value) => value <= SURE].map((sure) => {
    const [near, far] = [NEAR, FAR].map((size) => neighbourhood(picture, map, width, height, size, sure));
    return (i, c) => {
      const close = near(i);
      if (close.share() >= ENOUGH) return close.colour(c);
      const wide = far(i);
      return wide.share() >= 1 ? wide.colour(c) : picture[4 * i + c];
    };
  });
  for (let i = 0; i < map.length; i++) {
    if (!half(i)) continue;
    const share = map[i] / 255;
    for (let c = 0; c < 3; c++) {
      const [own, other] = [colours[0](i, c), colours[1](i, c)];
      result[4 * i + c] = own + share * (picture[4 * i + c] - share * own - (1 - share) * other); // is rounded and clamped
    }
  }
  return result;
}

/** The mean colour of what is sure around a pixel, and how much of the neighbourhood that is. */
function neighbourhood(picture, map, width, height, [part, radius], sure) {
  const across = Math.ceil(width / part), down = Math.ceil(height / part);
  const planes = Array.from({ length: 4 }, () => new Uint8Array(across * down));
  const sums = new Uint32Array(4 * across);
  for (let row = 0; row < down; row++) {
    sums.fill(0);
    const bottom = Math.min(height, (row + 1) * part);
    for (let y = row * part; y < bottom; y++) {
      for (let x = 0, i = y * width; x < width; x++, i++) {
        if (!sure(map[i])) continue;
        const at = 4 * Math.floor(x / part);
        for (let c = 0; c < 3; c++) sums[at + c] += picture[4 * i + c];
        sums[at + 3] += 255;
      }
    }
    for (let column = 0; column < across; column++) {
      const count = (bottom - row * part) * (Math.min(width, (column + 1) * part) - column * part);
      for (let c = 0; c < 4; c++) {
        planes[c][row * across + column] = Math.floor((sums[4 * column + c] + (count >> 1)) / count);
      }
    }
  }
  const means = planes.map((plane) => blurred(plane, across, down, radius));
  let place = 0;
  const found = {
    share: () => means[3][place],
    colour: (c) => Math.min(255, means[c][place] * (255 / means[3][place])),
  };
  return (i) => {
    const y = Math.floor(i / width);
    place = Math.floor(y / part) * across + Math.floor((i - y * width) / part);
    return found;
  };
}

/** The mean of a square around each value, along rows and then along columns; edges go on outside, bytes are rounded. */
export function blurred(plane, width, height, radius) {
  const whole = plane instanceof Uint8Array;
  const size = 2 * radius + 1, half = plane.slice(), result = plane.slice();
  const run = (from, to, start, step, length) => {
    const last = start + (length - 1) * step;
    let sum = from[start] * (radius + 1);
    for (let k = 1; k <= radius; k++) sum += from[Math.min(start + k * step, last)];
    for (let k = 0, at = start; k < length; k++, at += step) {
      to[at] = whole ? Math.round(sum / size) : sum / size;
      sum += from[Math.min(at + (radius + 1) * step, last)] - from[Math.max(at - radius * step, start)];
    }
  };
  for (let y = 0; y < height; y++) run(plane, half, y * width, 1, width);
  for (let x = 0; x < width; x++) run(half, result, x, width, height);
  return result;
}

/** The picture, small and blurred, without the colours of the object, so that no glow of it is left around it. */
export function backdropOf(picture, map, width, height) {
  const scale = Math.min(1, BACKDROP_SIDE / Math.max(width, height));
  const across = Math.max(1, Math.round(width * scale)), down = Math.max(1, Math.round(height * scale));
  const planes = Array.from({ length: 4 }, () => new Float64Array(across * down)); // red, green, blue, weight
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.floor(y * down / height) * across;
    for (let x = 0; x < width; x++, i++) {
      const at = row + Math.floor(x * across / width);
      const weight = 255 - map[i] + 1 / 256; // where all is object, its colours are better than none
      for (let c = 0; c < 3; c++) planes[c][at] += weight * picture[4 * i + c];
      planes[3][at] += weight;
    }
  }
  const soft = planes.map((plane) => [1, 2, 3].reduce((before) => blurred(before, across, down, BACKDROP_RADIUS), plane));
  const result = new ImageData(across, down);
  for (let i = 0; i < across * down; i++) {
    for (let c = 0; c < 3; c++) result.data[4 * i + c] = soft[c][i] / soft[3][i];
    result.data[4 * i + 3] = 255;
  }
  return result;
}
