"use strict";
// Tables sort by their cells' data-order: numbers as numbers, what is unknown last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => sortBy(table, heads, head, column));
  });
}

function sortBy(table, heads, head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[column]) }));
  rows.sort((a, b) => compare(a.key, b.key, down ? -1 : 1));
  body.append(...rows.map((item) => item.row));
}

function keyOf(cell) {
  const text = cell.dataset.order;
  if (text === "" || text === "nan") return null;
  const value = Number(text);
  return Number.isNaN(value) ? text : value;
}

function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b));
}

// What is folded away on a screen belongs on paper.
const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...folded()];
  opened.forEach((item) => { item.open = true; });
});
window.addEventListener("afterprint", () => opened.forEach((item) => { item.open = false; }));
