"use strict";
(() => {
  /* Enlarges one picture of the gallery at a time, in several views. The dialog is modal, so the
     browser keeps the focus inside it and closes it on Esc. */
  const dialog = document.getElementById("zoom");
  if (!dialog) return;
  const get = (id) => document.getElementById(id);
  const [caption, stage, position, views] = ["caption", "stage", "place", "views"].map((name) =>
    get(`zoom-${name}`),
  );
  const slide = get("zoom-slide");
  const slider = slide.querySelector("input");
  const legend = get("zoom-legend");
  const next = dialog.querySelector('[data-step="1"]');
  const titles = {
    outline: "True outline",
    overlay: "Errors",
    compare: "Truth and prediction",
    probability: "Probability",
    image: "Image",
    truth: "True mask",
    prediction: "Prediction",
  };
  let buttons = [];
  let current = 0;
  let preferred = null;
  let pictures = {};

  /* Pictures of the same image, or of the same window of it, and of the same trial, by kind. */
  const picturesOf = (button) => {
    const area = (one) => one.closest(".window") ?? one.closest(".sample");
    const trialOf = (one) => one.closest("[data-trial]")?.dataset.trial;
    const all = [...area(button).querySelectorAll("button.zoom")].filter(
      (one) => area(one) === area(button),
    );
    const trial = trialOf(button) ?? all.map(trialOf).find((number) => number !== undefined);
    const related = all.filter((one) => trialOf(one) === undefined || trialOf(one) === trial);
    return Object.fromEntries(
      related.map((one) => [one.dataset.kind, one.querySelector("img")]),
    );
  };
  const layer = (image) => {
    const copy = image.cloneNode();
    copy.className = "layer";
    copy.alt = "";
    return copy;
  };
  const split = () => {
    const [truth, prediction] = stage.querySelectorAll(".layer");
    truth.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    prediction.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    stage.querySelector(".edge").style.left = `${slider.value}%`;
  };
  const showView = (kind) => {
    const isComparison = kind === "compare";
    const base = (isComparison ? pictures.image : pictures[kind]).cloneNode();
    if (isComparison) base.alt = `True mask left of the line. Right of it: ${pictures.prediction.alt}`;
    stage.style.setProperty("--aspect", base.style.aspectRatio);
    stage.replaceChildren(base);
    slide.hidden = !isComparison;
    legend.hidden = kind !== "overlay";
    if (isComparison) {
      const edge = document.createElement("div");
      edge.className = "edge";
      stage.append(layer(pictures.truth), layer(pictures.prediction), edge);
      split();
    }
    caption.textContent = base.alt;
    for (const one of views.children) {
      one.setAttribute("aria-pressed", String(one.dataset.view === kind));
    }
  };
  const show = (index) => {
    current = (index + buttons.length) % buttons.length;
    const button = buttons[current];
    const own = button.dataset.kind;
    pictures = { ...picturesOf(button), [own]: button.querySelector("img") };
    const isComparable = pictures.image && pictures.truth && pictures.prediction;
    const kinds = Object.keys(titles).filter((kind) =>
      kind === "compare" ? isComparable : pictures[kind],
    );
    for (const one of views.children) {
      one.hidden = !kinds.includes(one.dataset.view);
      /* A hidden button loses the focus, and the arrow keys would no longer reach the dialog. */
      if (one.hidden && one === document.activeElement) next.focus();
    }
    showView(kinds.includes(preferred) ? preferred : own);
    position.textContent = `${current + 1} of ${buttons.length}`;
  };
  const steps = {
    ArrowLeft: () => current - 1,
    ArrowUp: () => current - 1,
    ArrowRight: () => current + 1,
    ArrowDown: () => current + 1,
    Home: () => 0,
    End: () => buttons.length - 1,
  };

  for (const [kind, title] of Object.entries(titles)) {
    const one = document.createElement("button");
    one.type = "button";
    one.dataset.view = kind;
    one.textContent = title;
    one.addEventListener("click", () => {
      preferred = kind;
      showView(kind);
    });
    views.append(one);
  }
  for (const button of document.querySelectorAll("button.zoom")) {
    button.addEventListener("click", () => {
      /* Pictures in closed details are not stepped through. */
      buttons = [...document.querySelectorAll("button.zoom")].filter(
        (one) => !one.closest("details:not([open])"),
      );
      preferred = null;
      show(buttons.indexOf(button));
      dialog.showModal();
      views.querySelector('[aria-pressed="true"]').focus();
    });
  }
  slider.addEventListener("input", split);
  stage.addEventListener("pointermove", (event) => {
    if (!event.buttons || slide.hidden) return;
    const { left, width } = stage.getBoundingClientRect();
    slider.value = (100 * (event.clientX - left)) / width;
    split();
  });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  dialog.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.target === slider) return;
    event.preventDefault();
    show(steps[event.key]());
  });
  dialog.addEventListener("click", (event) => {
    const { step } = event.target.dataset;
    if (event.target === dialog || step === "close") dialog.close();
    else if (step) show(current + Number(step));
  });
  dialog.addEventListener("close", () => {
    stage.replaceChildren();
    buttons[current].focus();
  });
})();
