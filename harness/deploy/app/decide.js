/* Masks from probabilities: the same rules as harness/data/files/decide.py, on typed arrays. */

/* Connected regions of pixels that equal `value`, as runs along rows.
   reach 1: 8 neighbours, 0: 4 neighbours. A region's number is that of its first run. */
const findRegions = (mask, width, height, value, reach) => {
  const starts = [], ends = [], rows = [], parents = [];
  const root = (run) => {
    while (parents[run] !== run) run = parents[run] = parents[parents[run]];
    return run;
  };
  let previous = 0, previousEnd = 0;
  for (let y = 0; y < height; y += 1) {
    const first = starts.length;
    const line = y * width;
    for (let x = 0; x < width; x += 1) {
      if (mask[line + x] !== value) continue;
      const start = x;
      while (x + 1 < width && mask[line + x + 1] === value) x += 1;
      const run = starts.length;
      starts.push(start); ends.push(x); rows.push(y); parents.push(run);
      while (previous < previousEnd && ends[previous] + reach < start) previous += 1;
      for (let above = previous; above < previousEnd && starts[above] - reach <= x; above += 1) {
        const [a, b] = [root(above), root(run)];
        parents[Math.max(a, b)] = Math.min(a, b);
      }
    }
    previous = first;
    previousEnd = starts.length;
  }
  const areas = new Map();
  for (let run = 0; run < starts.length; run += 1) {
    const region = root(run);
    areas.set(region, (areas.get(region) ?? 0) + ends[run] - starts[run] + 1);
  }
  const fill = (isFilled, filler) => {
    for (let run = 0; run < starts.length; run += 1) {
      if (isFilled(root(run))) {
        mask.fill(filler, rows[run] * width + starts[run], rows[run] * width + ends[run] + 1);
      }
    }
  };
  const touchingBorder = () => {
    const regions = new Set();
    for (let run = 0; run < starts.length; run += 1) {
      const touches = rows[run] === 0 || rows[run] === height - 1 || starts[run] === 0 || ends[run] === width - 1;
      if (touches) regions.add(root(run));
    }
    return regions;
  };
  return { areas, fill, touchingBorder };
};

/* Clean a mask of 0 and 1 in place by a class's rule; returns the number of its objects. */
export const cleanMask = (mask, width, height, rule) => {
  if (rule.fill_holes) {
    const background = findRegions(mask, width, height, 0, 0);
    const outside = background.touchingBorder();
    background.fill((region) => !outside.has(region), 1);
  }
  const objects = findRegions(mask, width, height, 1, 1);
  let kept = [...objects.areas];
  if (rule.largest_only && kept.length > 1) {
    // Of objects of one size the first; a Map keeps the order of first runs.
    kept = [kept.reduce((best, entry) => (entry[1] > best[1] ? entry : best))];
  }
  kept = kept.filter(([, area]) => area >= rule.min_size);
  if (kept.length < objects.areas.size) {
    const regions = new Set(kept.map(([region]) => region));
    objects.fill((region) => !regions.has(region), 0);
  }
  return kept.length;
};

/* The number that stands for probability 1. */
export const topValue = (model, scale) => (model.task === "multiclass" ? 255 : scale);

const noCleanUp = { fill_holes: false, min_size: 0, largest_only: false };

/* Decide every pixel of an answer.
   thresholds: one for each plane, not used in multiclass tasks; isCleaned: apply the clean-up.
   Returns one {index, mask, objects, area, inside, total} for each scored class: the sums of its
   probabilities inside the mask and over all pixels. */
export const decide = ({ arrays, model, scale }, thresholds, isCleaned) => {
  const { data, shape: [, height, width] } = arrays.planes;
  const size = height * width;
  const labels = isCleaned ? arrays.cleaned : arrays.labels;
  const top = topValue(model, scale);
  return model.planes.map((index, k) => {
    const plane = data.subarray(k * size, (k + 1) * size);
    const mask = new Uint8Array(size);
    if (labels) {
      for (let i = 0; i < size; i += 1) mask[i] = labels.data[i] === index ? 1 : 0;
    } else {
      const lowest = Math.round(thresholds[k] * scale);
      for (let i = 0; i < size; i += 1) mask[i] = plane[i] >= lowest ? 1 : 0;
    }
    // The server has cleaned class indices already: there the objects are only counted.
    const objects = cleanMask(mask, width, height, isCleaned && !labels ? model.rule[k] : noCleanUp);
    let area = 0, inside = 0, total = 0;
    for (let i = 0; i < size; i += 1) {
      total += plane[i];
      if (mask[i]) { area += 1; inside += plane[i]; }
    }
    return { index, mask, objects, area, inside: inside / top, total: total / top };
  });
};

/* Mean probability of what was decided, as in predictions.csv (harness/deploy/predict/rows.py). */
export const meanConfidence = (decided, { task }) => {
  const size = decided[0].mask.length;
  const perClass = decided.map(({ inside, total, area }) => (
    (inside + (task === "multiclass" ? 0 : size - area - (total - inside))) / size));
  const sum = perClass.reduce((a, b) => a + b, 0);
  return task === "multiclass" ? sum : sum / perClass.length;
};

/* Dice of two masks where `ignored` does not hold; null if both are empty. */
export const dice = (a, b, isIgnored = () => false) => {
  let both = 0, sum = 0;
  for (let i = 0; i < a.length; i += 1) {
    if (isIgnored(i)) continue;
    both += a[i] & b[i];
    sum += a[i] + b[i];
  }
  return sum ? (2 * both) / sum : null;
};

/* Mask of a class in an annotation, and the pixels that it leaves out. */
export const truthOf = ({ arrays: { truth }, model }, index) => {
  if (!truth) return null;
  const mask = new Uint8Array(truth.shape[0] * truth.shape[1]);
  if (truth.shape.length === 2) {
    for (let i = 0; i < mask.length; i += 1) mask[i] = truth.data[i] === index ? 1 : 0;
    return { mask, isIgnored: (i) => truth.data[i] === 255 };
  }
  const n = truth.shape[2];
  for (let i = 0; i < mask.length; i += 1) mask[i] = truth.data[i * n + index];
  return { mask, isIgnored: () => false };
};

/* Class indices (H, W), or planes (K, H, W) in multilabel tasks, as the server encodes them. */
export const maskValues = (decided, model) => {
  const size = decided[0].mask.length;
  if (model.task === "multilabel") {
    const planes = new Uint8Array(size * decided.length);
    decided.forEach(({ mask }, k) => planes.set(mask, k * size));
    return planes;
  }
  const labels = new Uint8Array(size);
  for (const { index, mask } of decided) {
    for (let i = 0; i < size; i += 1) if (mask[i]) labels[i] = index;
  }
  return labels;
};
