/* The page: choose an image, show its masks, follow the controls. */

import { download, post, readFrame, safeStem, settings } from "./answer.js";
import { runBatch } from "./batch.js";
import { decide, dice, maskValues, truthOf } from "./decide.js";
import { draw, drawScale } from "./draw.js";
import { fillNumbers, make, number } from "./numbers.js";

const get = (id) => document.getElementById(id);
const DISPLAY_PIXELS = 3_000_000, THUMBNAIL_PIXELS = 20_000;

const state = {
  input: null, // {name, body, sample} of the image that is shown
  abort: null,
  stages: { main: null, other: null }, // {frame, thresholds, decided}
};
const stageOf = (side) => document.querySelector(`.stage[data-side="${side}"]`);
const modelOf = (side) => (side === "other" ? get("compare")?.value : get("model")?.value ?? "") ?? "";

/* ---- messages */

const SHOWN_MS = 6000;
let clearing = 0;
const say = (text, isLasting = false) => {
  get("status").textContent = text;
  clearTimeout(clearing);
  if (!isLasting) clearing = setTimeout(() => { get("status").textContent = ""; }, SHOWN_MS);
};
const showError = (text) => {
  get("error").textContent = text;
  get("error").hidden = !text;
};

/* ---- choosing an image */

const openFiles = (files) => {
  const list = [...files];
  if (list.length === 1) show({ name: list[0].name, body: list[0], sample: null });
  if (list.length > 1) batch(list);
};

const batch = async (files) => {
  showError("");
  say("");
  await runBatch(files, modelOf("main"));
};

const show = async (input) => {
  state.input = input;
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.setAttribute("aria-pressed", String(button.dataset.sample === input.sample));
  }
  await predict(modelOf("other") ? ["main", "other"] : ["main"]);
};

/* Ask for the predictions of these sides, one after the other, as the server does them. */
const predict = async (sides) => {
  state.abort?.abort();
  const abort = state.abort = new AbortController();
  const { name, body, sample } = state.input;
  showError("");
  if (body && body.size > settings.maxBytes) {
    showError(`${name}: larger than ${Math.round(settings.maxBytes / 2 ** 20)} MB; use harness predict`);
    return;
  }
  document.body.classList.add("busy");
  say(`Predicting ${name} …`, true);
  try {
    for (const side of sides) {
      const query = new URLSearchParams({ model: modelOf(side) });
      if (sample !== null) query.set("sample", sample);
      const started = performance.now();
      const frame = await readFrame(await post(`/api/predict?${query}`, body ?? "", { signal: abort.signal }));
      if (abort.signal.aborted) return;
      accept(side, frame, (performance.now() - started) / 1000);
    }
    get("result").hidden = false;
    get("result-title").textContent = name;
    update();
    say(`${name}: ${summary(state.stages.main)}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    showError(`${name}: ${error.message}`);
  } finally {
    if (state.abort === abort) document.body.classList.remove("busy");
  }
};

const summary = ({ frame, decided }) => {
  const total = decided[0].mask.length;
  const parts = decided
    .filter(({ index }) => !frame.model.classes[index].background)
    .map(({ index, area }) => `${frame.model.classes[index].name} ${number((100 * area) / total, 1)} %`);
  return parts.slice(0, 6).join(", ");
};

/* ---- a new answer */

const accept = (side, frame, seconds) => {
  const { model } = frame;
  const old = state.stages[side];
  const isSame = old && old.frame.model.key === model.key;
  const thresholds = isSame ? old.thresholds : model.rule.map(({ threshold }) => threshold);
  state.stages[side] = { frame, thresholds, decided: null };
  const stage = stageOf(side);
  stage.querySelector("h3").textContent = model.title;
  stage.querySelector(".reason").textContent = model.reason;
  const { decode, network, packing } = frame.seconds;
  const ms = (value) => `${number(value * 1000)} ms`;
  stage.querySelector(".latency").textContent = `decode ${ms(decode)} · network ${ms(network)} · packing ${ms(packing)} · total ${ms(seconds)}`;
  if (!isSame) buildThresholds(side);
  if (side === "main") buildSettings(model);
};

const buildSettings = (model) => {
  const select = get("class");
  const names = model.planes.map((index) => model.classes[index].name);
  if ([...select.options].map(({ text }) => text).join() !== names.join()) {
    select.replaceChildren(...names.map((name, k) => new Option(name, k)));
    const first = model.planes.findIndex((index) => !model.classes[index].background);
    select.value = String(Math.max(0, first));
  }
  const cleans = model.rule.some((rule) => rule.fill_holes || rule.min_size > 1 || rule.largest_only);
  get("clean-setting").hidden = !cleans;
  get("no-clean").hidden = cleans;
};

const buildThresholds = (side) => {
  const { frame: { model }, thresholds } = state.stages[side];
  const box = stageOf(side).querySelector(".thresholds");
  box.replaceChildren();
  if (model.task === "multiclass") return;
  box.append(...model.planes.map((index, k) => buildThreshold(side, index, k, thresholds)));
};

const buildThreshold = (side, index, k, thresholds) => {
  const { model } = state.stages[side].frame;
  const id = `threshold-${side}-${k}`;
  const chosen = model.rule[k].threshold;
  const label = make("label", { htmlFor: id }, model.planes.length > 1 ? `Threshold of ${model.classes[index].name}` : "Threshold");
  const output = make("output", {});
  output.htmlFor = id;
  const range = make("input", { type: "range", id, min: "0.01", max: "0.99", step: "0.01" });
  const reset = make("button", { type: "button", className: "reset" }, `Back to ${chosen}, the decision rule`);
  const follow = () => {
    range.value = String(thresholds[k]);
    output.textContent = String(thresholds[k]);
    reset.hidden = thresholds[k] === chosen;
  };
  range.addEventListener("input", () => { thresholds[k] = Number(range.value); follow(); schedule(); });
  reset.addEventListener("click", () => { thresholds[k] = chosen; follow(); range.focus(); schedule(); });
  follow();
  return make("div", { className: "threshold" }, label, " ", output, range, reset);
};

/* ---- drawing */

let isScheduled = false;
const schedule = () => {
  if (isScheduled || !state.stages.main) return;
  isScheduled = true;
  requestAnimationFrame(() => { isScheduled = false; update(); });
};

const viewOptions = (frame) => ({
  view: document.querySelector("[name=view]:checked").value,
  opacity: Number(get("opacity").value) / 100,
  plane: Number(get("class").value || 0),
  truths: get("truth").checked ? truthMasks(frame) : [],
});
const truthMasks = (frame) => frame.model.planes
  .filter((index) => !frame.model.classes[index].background)
  .map((index) => truthOf(frame, index)?.mask)
  .filter(Boolean);

const update = () => {
  const { main, other } = state.stages;
  get("opacity-value").textContent = `${get("opacity").value} %`;
  const view = viewOptions(main.frame).view;
  get("class-setting").hidden = view !== "probability" || main.frame.model.planes.length < 2;
  get("truth-setting").hidden = !main.frame.arrays.truth;
  get("stages").classList.toggle("two", Boolean(other));
  stageOf("other").hidden = !other;
  for (const [side, stage] of Object.entries(state.stages)) if (stage) updateStage(side, stage);
  for (const canvas of document.querySelectorAll("[data-thumbnail]")) {
    draw(canvas, main.frame, main.decided, { ...viewOptions(main.frame), view: canvas.dataset.thumbnail, truths: [], maxPixels: THUMBNAIL_PIXELS });
  }
  showAgreement(main, other);
};

const updateStage = (side, stage) => {
  const { frame, thresholds } = stage;
  const isCleaned = get("clean").checked;
  stage.decided = decide(frame, thresholds, isCleaned);
  const element = stageOf(side);
  const options = viewOptions(frame);
  const canvas = element.querySelector(".shown");
  draw(canvas, frame, stage.decided, { ...options, maxPixels: DISPLAY_PIXELS });
  canvas.setAttribute("aria-label", `${options.view} of ${state.input.name}, ${frame.model.title}: ${summary(stage)}`);
  const scale = element.querySelector(".scale");
  scale.hidden = options.view !== "probability";
  drawScale(scale.querySelector("canvas"));
  fillNumbers(element, stage);
};

const showAgreement = (main, other) => {
  const text = get("agreement");
  text.hidden = !other;
  if (!other) return;
  const [a, b] = [main, other].map(({ frame, decided }) => maskValues(decided, frame.model));
  let equal = 0;
  for (let i = 0; i < a.length; i += 1) if (a[i] === b[i]) equal += 1;
  const values = main.decided
    .map(({ index, mask }, k) => [main.frame.model.classes[index], dice(mask, other.decided[k].mask)])
    .filter(([{ background }]) => !background)
    .map(([{ name }, value]) => `${name} ${value === null ? "–" : number(value, 3)}`);
  text.textContent = `The two masks agree on ${number((100 * equal) / a.length, 2)} % of the pixels; Dice between them: ${values.slice(0, 8).join(", ")}.`;
};

/* ---- downloads */

const saveMask = async (side) => {
  const { frame, decided } = state.stages[side];
  const [height, width] = frame.arrays.rgb.shape;
  const query = new URLSearchParams({ height, width });
  try {
    const response = await post(`/api/mask?${query}`, maskValues(decided, frame.model));
    const blob = await response.blob();
    download(blob, `${safeStem(state.input.name)}-mask.${blob.type === "application/zip" ? "zip" : "png"}`);
    say("The mask is among your downloads.");
  } catch (error) {
    showError(`The mask could not be made: ${error.message}`);
  }
};

const saveOverlay = (side) => {
  const { frame, decided } = state.stages[side];
  const canvas = document.createElement("canvas");
  draw(canvas, frame, decided, { ...viewOptions(frame), view: "overlay", maxPixels: Infinity });
  canvas.toBlob((blob) => {
    if (!blob) { showError("The overlay is too large for this browser; use harness predict --overlays."); return; }
    download(blob, `${safeStem(state.input.name)}-overlay.png`);
    say("The overlay is among your downloads.");
  });
};

/* ---- controls */

get("file").addEventListener("change", ({ target }) => {
  openFiles(target.files);
  target.value = ""; // so that the same file can be chosen again
});
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => show({ name: button.dataset.name, body: null, sample: button.dataset.sample }));
}
let depth = 0; // of nested dragenter events
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  document.body.classList.add("dragging");
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) document.body.classList.remove("dragging");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  if (hasFiles(event)) openFiles(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) openFiles(event.clipboardData.files);
});
for (const id of ["opacity", "class", "clean", "truth"]) get(id).addEventListener("input", schedule);
for (const radio of document.querySelectorAll("[name=view]")) radio.addEventListener("change", schedule);
get("model")?.addEventListener("change", () => { if (state.input) predict(["main"]); });
get("compare")?.addEventListener("change", () => {
  if (!modelOf("other")) state.stages.other = null;
  if (!state.stages.main) return;
  if (modelOf("other")) predict(["other"]);
  else update();
});
for (const side of ["main", "other"]) {
  stageOf(side).querySelector(".save-mask").addEventListener("click", () => saveMask(side));
  stageOf(side).querySelector(".save-overlay").addEventListener("click", () => saveOverlay(side));
}
document.documentElement.dataset.ready = "yes";
