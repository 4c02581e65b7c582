"use strict";
(() => {
  const page = document.documentElement;
  const divs = [...document.querySelectorAll("[data-figure]")];

  /* Text in figures has the colours of the page, light or dark. On a narrow page the legend is
     above the figure with one entry per line and needs additional height. */
  const colours = () => {
    const style = getComputedStyle(page);
    const get = (name) => style.getPropertyValue(name).trim();
    return {
      "font.color": get("--text"),
      "hoverlabel.bgcolor": get("--card"),
      "hoverlabel.font.color": get("--text"),
      "hoverlabel.bordercolor": get("--line"),
      "modebar.color": get("--soft"),
      "modebar.activecolor": get("--accent"),
    };
  };
  const narrow = (figure) => innerWidth < 640 && figure.layout.showlegend !== false;
  const layoutOf = (figure) => ({
    ...figure.layout,
    height: figure.layout.height + (narrow(figure) ? 18 * figure.data.length : 0),
    font: { ...figure.layout.font, color: colours()["font.color"] },
    hoverlabel: {
      align: "left",
      bgcolor: colours()["hoverlabel.bgcolor"],
      bordercolor: colours()["hoverlabel.bordercolor"],
      font: { color: colours()["font.color"] },
    },
    modebar: {
      bgcolor: "rgba(0,0,0,0)",
      color: colours()["modebar.color"],
      activecolor: colours()["modebar.activecolor"],
    },
  });
  const draw = async () => {
    const figures = JSON.parse(document.getElementById("harness-figures").textContent);
    const options = {
      responsive: true,
      displaylogo: false,
      displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    for (const div of divs) {
      const figure = figures[Number(div.dataset.figure)];
      try {
        await Plotly.newPlot(div, figure.data, layoutOf(figure), options);
        div.dataset.drawn = "yes";
      } catch (error) {
        div.textContent = "This figure could not be drawn: " + error;
        console.error(error);
      }
    }
    page.dataset.figures = "done";
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const div of divs.filter((div) => div.dataset.drawn)) Plotly.relayout(div, colours());
  });

  /* Numbers are sorted as numbers, others as text; empty cells are last in both directions. */
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sort = (header) => {
    const row = header.parentElement;
    const index = [...row.children].indexOf(header);
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const cell of row.children) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = row.closest("table").tBodies[0];
    const key = (line) => line.children[index].dataset.order;
    const lines = [...body.rows];
    const filled = lines.filter((line) => key(line) !== "");
    filled.sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b)));
    body.append(...filled, ...lines.filter((line) => key(line) === ""));
  };
  for (const button of document.querySelectorAll("table.sortable th button")) {
    button.addEventListener("click", () => sort(button.parentElement));
  }

  /* Browsers refuse the clipboard to some pages (file://): select the text instead. */
  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => copy(button));
  }

  /* For printing, open all details and let figures shrink to the paper: an SVG scales only with
     a viewBox, and Plotly writes none. */
  const drawings = () => divs.flatMap((div) => [...div.querySelectorAll(".main-svg")]);
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
    for (const svg of drawings()) {
      const [width, height] = [svg.getAttribute("width"), svg.getAttribute("height")];
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.parentElement.style.setProperty("--shape", `${width} / ${height}`);
    }
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    for (const svg of drawings()) svg.removeAttribute("viewBox");
  });

  draw();
})();
