"use strict";
(() => {
  const page = document.documentElement;
  const divs = [...document.querySelectorAll("[data-figure]")];
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("harness-figures");
  const trials = new Map(read("harness-data").trials.map((trial) => [trial.number, trial]));

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
  const heightOf = (figure, div) => {
    const { height, showlegend } = figure.layout;
    if (innerWidth >= 640 || showlegend === false) return height;
    return (div.closest("header") ? 220 : height) + 18 * figure.data.length;
  };
  const layoutOf = (figure, div) => ({
    ...figure.layout,
    height: heightOf(figure, div),
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

  /* Points carry the number of their trial (customdata). Hovering shows its configuration, which
     is on the page once and not in each figure. Plotly reads markup in texts, so it is escaped. */
  const escape = (text) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
  const short = (value) =>
    typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
  const settings = (number) => {
    const entries = Object.entries(trials.get(number)?.params ?? {});
    const lines = entries.slice(0, 12).map(([key, value]) => `${key} ${short(value)}`.slice(0, 60));
    return lines.map((line) => `<br>${escape(line)}`).join("");
  };
  const withSettings = (trace) =>
    Array.isArray(trace.customdata) && Array.isArray(trace.hovertext)
      ? {
          ...trace,
          hovertext: trace.hovertext.map((text, i) => text + settings(trace.customdata[i])),
        }
      : trace;

  const options = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const draw = async (div) => {
    if (div.dataset.drawn) return;
    div.dataset.drawn = "yes";
    const figure = figures[Number(div.dataset.figure)];
    try {
      await Plotly.newPlot(div, figure.data.map(withSettings), layoutOf(figure, div), options);
      div.on("plotly_click", ({ points }) => {
        const number = points[0].customdata;
        if (trials.has(number)) dispatchEvent(new CustomEvent("trial", { detail: number }));
      });
    } catch (error) {
      div.dataset.drawn = "no";
      div.textContent = "This figure could not be drawn: " + error;
      console.error(error);
    }
  };
  /* Figures in closed sections have no width; they are drawn when their section opens. */
  const isShown = (div) => !div.closest("details:not([open])");
  const drawShown = async () => {
    for (const div of divs.filter(isShown)) await draw(div);
    page.dataset.figures = "done";
  };
  document.addEventListener("toggle", drawShown, true);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const drawn = divs.filter((div) => div.dataset.drawn === "yes");
    for (const div of drawn) Plotly.relayout(div, colours());
  });

  /* A link to a folded section opens it. */
  const reveal = (hash) => {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
    const own = target.querySelector(":scope > details.fold");
    if (own) own.open = true;
  };
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", () => reveal(link.hash));
  }
  addEventListener("hashchange", () => reveal(location.hash));
  reveal(location.hash);

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
    for (const div of divs) draw(div);
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

  drawShown();
})();
