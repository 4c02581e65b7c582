"use strict";
(() => {
  /* Enlarges one picture of the gallery at a time. The dialog is modal, so the browser keeps the
     focus inside it and closes it on Esc. */
  const dialog = document.getElementById("zoom");
  const buttons = [...document.querySelectorAll("button.zoom")];
  if (!dialog || !buttons.length) return;
  const caption = document.getElementById("zoom-caption");
  const stage = document.getElementById("zoom-stage");
  const position = document.getElementById("zoom-place");
  let current = 0;

  const show = (index) => {
    current = (index + buttons.length) % buttons.length;
    const picture = buttons[current].querySelector("img").cloneNode();
    caption.textContent = picture.alt;
    position.textContent = `${current + 1} of ${buttons.length}`;
    stage.style.setProperty("--aspect", picture.style.aspectRatio);
    stage.replaceChildren(picture);
  };
  const steps = {
    ArrowLeft: () => current - 1,
    ArrowUp: () => current - 1,
    ArrowRight: () => current + 1,
    ArrowDown: () => current + 1,
    Home: () => 0,
    End: () => buttons.length - 1,
  };

  buttons.forEach((button, index) => {
    button.addEventListener("click", () => {
      show(index);
      dialog.showModal();
    });
  });
  dialog.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
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
