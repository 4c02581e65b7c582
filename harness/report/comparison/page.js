"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("harness-figures").textContent);
  const divs = [...document.querySelectorAll("[data-figure]")];
  const colour = () => getComputedStyle(document.documentElement).getPropertyValue("--text").trim();
  const options = { responsive: true, displaylogo: false, displayModeBar: false };
  for (const div of divs) {
    const figure = figures[Number(div.dataset.figure)];
    const font = { ...figure.layout.font, color: colour() };
    // On a narrow page the legend stands above the figure, one line for each entry.
    const more = innerWidth < 640 ? 18 * figure.data.length : 0;
    const layout = { ...figure.layout, font, height: figure.layout.height + more };
    Plotly.newPlot(div, figure.data, layout, options);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const div of divs) Plotly.relayout(div, { "font.color": colour() });
  });
  document.documentElement.dataset.figures = "done";
})();
