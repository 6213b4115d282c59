// Tables that sort: a click on a heading, or Enter or Space with the focus on it, sorts by it and then turns the order.
// The page says everything without this script.
"use strict";

function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x === y ? 0 : x - y;
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const direction = heads[column].getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", direction);
  const rows = [...table.tBodies[0].rows].sort((first, second) => {
    const [a, b] = [key(first, column), key(second, column)];
    if (a === "" || b === "") return (a === "") - (b === ""); // what has no value stands last in both directions
    return direction === "ascending" ? compare(a, b) : compare(b, a);
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sorts")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
  });
}
