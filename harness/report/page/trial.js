"use strict";
(() => {
  /* Shows one trial: its numbers, configuration, curve and pictures. Opened by a click on a point
     of a figure (event `trial`) or on the number of a trial in a table. */
  const dialog = document.getElementById("trial");
  const get = (name) => document.getElementById(`trial-${name}`);
  const data = JSON.parse(document.getElementById("harness-data").textContent);
  const trials = new Map(data.trials.map((trial) => [trial.number, trial]));
  const element = (tag, text = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  };
  const short = (value) =>
    typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value);
  const facts = (pairs) =>
    pairs.map(([name, value]) => {
      const group = document.createElement("div");
      group.append(element("dt", name), element("dd", short(value)));
      return group;
    });

  const pictures = (number) => {
    const groups = document.querySelectorAll(`.sample [data-trial="${number}"]:not(.pair)`);
    return [...groups].slice(0, 6).map((group) => {
      const figure = document.createElement("figure");
      figure.append(group.querySelector("img").cloneNode(), element("figcaption"));
      figure.lastChild.textContent = group.querySelector("figcaption").textContent;
      return figure;
    });
  };
  const show = (number) => {
    const trial = trials.get(number);
    const rank = data.ranking.indexOf(number) + 1;
    const { metric } = data.objective;
    /* Two slashes are values of single classes, which have a table of their own. */
    const numbers = Object.entries({ [metric]: trial.value, ...trial.best, ...trial.costs }).filter(
      ([name]) => name.split("/").length < 3,
    );
    get("title").textContent = `Trial ${number}`;
    get("state").textContent = rank
      ? `complete, rank ${rank} of ${data.ranking.length}, best at epoch ${trial.best_epoch}`
      : trial.state;
    get("settings").replaceChildren(...facts(Object.entries(trial.params)));
    get("numbers").replaceChildren(...facts(numbers.filter(([, value]) => value !== null)));
    const row = document.querySelector(`tr[data-trial="${number}"]`);
    const curve = row?.querySelector("svg");
    get("curve").replaceChildren(
      ...(curve ? [curve.cloneNode(true), element("p", curve.getAttribute("aria-label"))] : []),
    );
    const own = pictures(number);
    get("pictures").replaceChildren(
      ...(own.length ? own : [element("p", "No picture of this trial is on the page.")]),
    );
    get("row").hidden = !row;
    get("row").dataset.number = number;
    dialog.showModal();
  };

  addEventListener("trial", (event) => show(event.detail));
  get("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  get("row").addEventListener("click", () => {
    dialog.close();
    const row = document.querySelector(`tr[data-trial="${get("row").dataset.number}"]`);
    for (let node = row; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
    row.scrollIntoView({ block: "center" });
    row.querySelector("button.trial").focus();
  });
  for (const row of document.querySelectorAll("tr[data-trial]")) {
    const number = Number(row.dataset.trial);
    const cell = row.querySelector("td.trial");
    if (!cell || !trials.has(number)) continue;
    const button = element("button", cell.textContent);
    button.type = "button";
    button.className = "trial";
    button.title = "Show the configuration, curve and pictures of this trial";
    button.addEventListener("click", () => show(number));
    cell.replaceChildren(button);
  }
})();
