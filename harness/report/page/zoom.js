"use strict";
(() => {
  /* Pictures of the gallery, one at a time and large. The dialog is modal: the browser keeps the
     focus inside, and closes it on Esc. */
  const dialog = document.getElementById("zoom");
  const buttons = [...document.querySelectorAll("button.zoom")];
  if (!dialog || !buttons.length) return;
  const caption = document.getElementById("zoom-caption");
  const stage = document.getElementById("zoom-stage");
  const place = document.getElementById("zoom-place");
  let shown = 0;

  const show = (index) => {
    shown = (index + buttons.length) % buttons.length;
    const picture = buttons[shown].querySelector("img").cloneNode();
    caption.textContent = picture.alt;
    place.textContent = `${shown + 1} of ${buttons.length}`;
    stage.style.setProperty("--aspect", picture.style.aspectRatio);
    stage.replaceChildren(picture);
  };
  const steps = {
    ArrowLeft: () => shown - 1,
    ArrowUp: () => shown - 1,
    ArrowRight: () => shown + 1,
    ArrowDown: () => shown + 1,
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
    else if (step) show(shown + Number(step));
  });
  dialog.addEventListener("close", () => {
    stage.replaceChildren();
    buttons[shown].focus();
  });
})();
