/* What a mask contains, as numbers. */

import { dice, meanConfidence, truthOf } from "./decide.js";

export const number = (value, digits = 0) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/* Create an element with properties and children; texts are never read as HTML. */
export const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/* Numbers of a class, each [name, text]. */
const classNumbers = (frame, { index, mask, area, objects }) => {
  const numbers = [
    ["Share", `${number((100 * area) / mask.length, 2)} %`],
    ["Area", `${number(area)} px`],
    ["Objects", number(objects)],
  ];
  const truth = truthOf(frame, index);
  if (!truth) return numbers;
  const value = dice(mask, truth.mask, truth.isIgnored);
  return [...numbers, ["Dice", value === null ? "–" : number(value, 3)]];
};

export const fillNumbers = (element, { frame, decided }) => {
  const confidence = ["Confidence", number(meanConfidence(decided, frame.model), 3)];
  const tiles = decided.length === 1 ? [...classNumbers(frame, decided[0]), confidence] : [confidence];
  element.querySelector(".tiles").replaceChildren(...tiles.map(([name, text]) => (
    make("div", {}, make("dt", {}, name), make("dd", {}, text)))));
  element.querySelector(".scroll").hidden = decided.length === 1;
  element.querySelector("th.truth").hidden = !frame.arrays.truth;
  element.querySelector("tbody").replaceChildren(...decided.map((entry) => {
    const { name, colour } = frame.model.classes[entry.index];
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colour;
    const cells = classNumbers(frame, entry).map(([, text]) => make("td", { className: "number" }, text));
    return make("tr", {}, make("th", { scope: "row" }, swatch, name), ...cells);
  }));
};
