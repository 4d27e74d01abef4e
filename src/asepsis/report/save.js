// What is shown can be kept: tables as CSV, plots as SVG, made here without any network.
const FORMULA = /^ *[=+\-@]/;
const CONTROL = /[\x00-\x1f\x7f-\x9f]+/g;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?$/;
const FIGURE = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

function csvField(raw) {
  const text = raw.replace(CONTROL, " ");
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? "'" + text : text;
  return /[",]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

function csvOf(table) {
  const text = (cell) => [...cell.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join("; ");
  const order = (cell) => (FIGURE.test(cell.dataset.order ?? "") ? cell.dataset.order : "");
  const heads = [...table.tHead.rows[0].cells].map(text);
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  const exact = heads.map((_, i) => rows.some((row) => !["", text(row[i])].includes(order(row[i]))));
  const line = (pairs) => pairs.flatMap((pair, i) => (exact[i] ? pair : pair.slice(0, 1))).map(csvField).join(",");
  const lines = [line(heads.map((head) => [head, head + " [value]"]))];
  rows.forEach((row) => lines.push(line(row.map((cell) => [text(cell), order(cell)]))));
  return lines.join("\n") + "\n";
}

function svgOf(svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http:" + "//www.w3.org/2000/svg");
  copy.setAttribute("xmlns:xlink", "http:" + "//www.w3.org/1999/xlink");
  const colors = getComputedStyle(document.documentElement);
  const ink = getComputedStyle(svg).color;
  const paper = colors.getPropertyValue("--card").trim();
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  const ground = document.createElementNS("http:" + "//www.w3.org/2000/svg", "rect");
  for (const [name, value] of [["width", width], ["height", height], ["fill", paper]]) ground.setAttribute(name, value);
  copy.insertBefore(ground, copy.firstChild.nextSibling);
  return new XMLSerializer().serializeToString(copy)
    .replace(/var\((--[\w-]+)\)/g, (_, name) => colors.getPropertyValue(name).trim())
    .replaceAll("currentColor", ink);
}

function keep(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: type + ";charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function offer(after, label, title, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = label;
  button.setAttribute("aria-label", label + ": " + title);
  button.addEventListener("click", act);
  after.after(button);
}

document.querySelectorAll(".scroll > table").forEach((table, number) => {
  const name = (table.dataset.file || "table-" + (number + 1)) + ".csv";
  const title = table.parentElement.getAttribute("aria-label") || name;
  offer(table.parentElement, "Save as CSV", title, () => keep(csvOf(table), name, "text/csv"));
});
document.querySelectorAll(".plots > figure").forEach((figure, number) => {
  const svg = figure.querySelector("svg");
  if (!svg) return;
  const name = (figure.dataset.file || "figure-" + (number + 1)) + ".svg";
  offer(svg, "Save as SVG", figure.querySelector("figcaption").textContent, () => keep(svgOf(svg), name, "image/svg+xml"));
});
