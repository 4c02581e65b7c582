/* Pictures of an answer on a canvas. */

import { settings } from "./answer.js";
import { topValue } from "./decide.js";

const bytes = settings.colours.match(/../g).map((text) => parseInt(text, 16));
const parse = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const TRUTH = [250, 230, 60]; // the yellow of missed pixels in the report

/* Every `step`-th pixel of an array with `channels` values a pixel. */
const reduce = (data, width, height, step, channels = 1) => {
  if (step === 1) return data;
  const [w, h] = [Math.ceil(width / step), Math.ceil(height / step)];
  const out = new data.constructor(w * h * channels);
  let to = 0;
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) {
      const from = (y * width + x) * channels;
      for (let c = 0; c < channels; c += 1) out[to++] = data[from + c];
    }
  }
  return out;
};

/* Call `paint` for each pixel of a mask within `line` pixels of its edge. */
const eachContourPixel = (mask, width, height, line, paint) => {
  // The border of the image is no edge, as in harness/data/files/overlay.py.
  const isInside = (x, y) => x < 0 || y < 0 || x >= width || y >= height || mask[y * width + x] === 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!mask[y * width + x]) continue;
      if (!(isInside(x - line, y) && isInside(x + line, y) && isInside(x, y - line) && isInside(x, y + line))) {
        paint((y * width + x) * 4);
      }
    }
  }
};

const paintImage = (out, rgb) => {
  for (let i = 0, j = 0; j < rgb.length; i += 4, j += 3) {
    out[i] = rgb[j]; out[i + 1] = rgb[j + 1]; out[i + 2] = rgb[j + 2];
  }
};

/* Blend the class colours over `out`; overlapping classes are mixed in equal parts. */
const paintClasses = (out, drawn, opacity) => {
  const size = out.length / 4;
  const sums = new Uint16Array(size * 3), counts = new Uint8Array(size);
  for (const { mask, colour } of drawn) {
    for (let i = 0; i < size; i += 1) {
      if (!mask[i]) continue;
      counts[i] += 1;
      for (let c = 0; c < 3; c += 1) sums[i * 3 + c] += colour[c];
    }
  }
  for (let i = 0; i < size; i += 1) {
    if (!counts[i]) continue;
    for (let c = 0; c < 3; c += 1) {
      out[i * 4 + c] = (1 - opacity) * out[i * 4 + c] + (opacity * sums[i * 3 + c]) / counts[i];
    }
  }
};

/* Draw one view of an answer.
   options: view, opacity 0..1, plane (of the probability), truths (masks to outline), maxPixels.
   A canvas of more pixels than that is drawn from every second, third, … pixel. */
export const draw = (canvas, frame, decided, { view, opacity, plane, truths, maxPixels }) => {
  const { arrays, model, scale } = frame;
  const [fullHeight, fullWidth] = arrays.rgb.shape;
  const step = Math.max(1, Math.ceil(Math.sqrt((fullWidth * fullHeight) / maxPixels)));
  const [width, height] = [Math.ceil(fullWidth / step), Math.ceil(fullHeight / step)];
  const small = (mask) => reduce(mask, fullWidth, fullHeight, step);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const out = picture.data;
  for (let i = 3; i < out.length; i += 4) out[i] = 255;
  const drawn = decided
    .filter(({ index }) => !model.classes[index].background)
    .map(({ index, mask }) => ({ mask: small(mask), colour: parse(model.classes[index].colour) }));
  const line = Math.max(1, Math.round(Math.min(width, height) / 200));
  const outline = (mask, colour) => eachContourPixel(mask, width, height, line, (i) => {
    out[i] = colour[0]; out[i + 1] = colour[1]; out[i + 2] = colour[2];
  });
  if (view === "image" || view === "overlay") paintImage(out, reduce(arrays.rgb.data, fullWidth, fullHeight, step, 3));
  if (view === "overlay") {
    paintClasses(out, drawn, opacity);
    for (const { mask, colour } of drawn) outline(mask, colour);
  }
  if (view === "mask") {
    // Two classes are white on black, as in the file that is downloaded.
    paintClasses(out, model.task === "binary" ? drawn.map(({ mask }) => ({ mask, colour: [255, 255, 255] })) : drawn, 1);
  }
  if (view === "probability") {
    const { data, shape: [, h, w] } = arrays.planes;
    const values = small(data.subarray(plane * h * w, (plane + 1) * h * w));
    const factor = 255 / topValue(model, scale);
    for (let i = 0; i < values.length; i += 1) {
      const colour = Math.round(values[i] * factor) * 3;
      out[i * 4] = bytes[colour]; out[i * 4 + 1] = bytes[colour + 1]; out[i * 4 + 2] = bytes[colour + 2];
    }
  }
  for (const truth of truths) outline(small(truth), TRUTH);
  context.putImageData(picture, 0, 0);
};

/* The colours of probabilities from 0 to 1, from left to right. */
export const drawScale = (canvas) => {
  const context = canvas.getContext("2d");
  for (let i = 0; i < 256; i += 1) {
    context.fillStyle = `rgb(${bytes.slice(i * 3, i * 3 + 3).join(" ")})`;
    context.fillRect(i, 0, 1, 1);
  }
};
