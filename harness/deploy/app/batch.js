/* Several images: one request for each, and a ZIP of the masks at the end. */

import { zip } from "./archive.js";
import { post, readFrame, safeStem, settings } from "./answer.js";

const get = (id) => document.getElementById(id);
const RETRIES = 20, PAUSE_MS = 2000;

let abort = null, address = null;

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/* The answer for one file; waits while other users keep the server busy. */
const predictFile = async (file, index, model, signal) => {
  const query = new URLSearchParams({ model, index });
  const headers = { "x-file-name": encodeURIComponent(file.name.slice(-200)) };
  for (let attempt = 0; ; attempt += 1) {
    try {
      const body = file.size > settings.maxBytes ? new Blob() : file;
      return await readFrame(await post(`/api/batch?${query}`, body, { headers, signal }));
    } catch (error) {
      if (error.status !== 503 || attempt === RETRIES) throw error;
      await wait(PAUSE_MS);
    }
  }
};

const listProblem = (text) => {
  const item = document.createElement("li");
  item.textContent = text;
  get("batch-problems").append(item);
};

export const runBatch = async (files, model) => {
  abort?.abort();
  const { signal } = (abort = new AbortController());
  const chosen = files.slice(0, settings.maxFiles);
  get("batch").hidden = false;
  get("batch-problems").replaceChildren();
  get("batch-link").hidden = true;
  get("batch-stop").hidden = false;
  get("batch-title").focus();
  if (files.length > chosen.length) {
    listProblem(`${files.length - chosen.length} files are left out: at most ${settings.maxFiles} at a time; use harness predict`);
  }
  const progress = get("batch-progress");
  progress.max = chosen.length;
  const entries = [], rows = [settings.csvHeader];
  let done = 0, failed = 0;
  for (const file of chosen) {
    progress.value = done;
    get("batch-text").textContent = `${done} of ${chosen.length}: ${file.name}`;
    try {
      const frame = await predictFile(file, done, model, signal);
      rows.push(frame.row);
      for (const [name, { data }] of Object.entries(frame.arrays)) entries.push({ name, data });
      if (frame.error) { failed += 1; listProblem(`${file.name}: ${frame.error}`); }
    } catch (error) {
      if (signal.aborted) break;
      failed += 1;
      listProblem(`${file.name}: ${error.message}`);
    }
    done += 1;
  }
  if (abort.signal !== signal) return; // another batch has taken over
  progress.value = done;
  finish(entries, rows, { done, failed, total: chosen.length });
};

const finish = (entries, rows, { done, failed, total }) => {
  get("batch-stop").hidden = true;
  const stopped = done < total ? `Stopped after ${done} of ${total}. ` : "";
  const text = `${stopped}${done - failed} predicted, ${failed} with a problem.`;
  get("batch-text").textContent = text;
  get("status").textContent = text;
  if (!done) return;
  entries.push({ name: "predictions.csv", data: new TextEncoder().encode(rows.join("")) });
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(zip(entries));
  Object.assign(get("batch-link"), { href: address, download: `${safeStem(document.querySelector("h1").textContent)}-masks.zip`, hidden: false });
  get("batch-link").focus();
};

get("batch-stop").addEventListener("click", () => abort?.abort());
