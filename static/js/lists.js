"use strict";
// Every list works without this file.

// The bar of the selected rows says how many there are. The style sheet shows it while there are any.
document.querySelectorAll(".selection-bar").forEach((bar) => {
  const form = bar.closest("form");
  const rows = [...form.querySelectorAll(".row-select")];
  const page = form.querySelector(".select-page");
  const all = bar.querySelector(".select-all");
  const count = bar.querySelector(".selection-count");
  const status = bar.querySelector("[role=status]");
  const clear = bar.querySelector("[data-clear]");
  let last = null;
  let isRange = false;

  function update() {
    const selected = rows.filter((row) => row.checked).length;
    const text = all.checked ? "All" : String(selected);
    page.checked = selected === rows.length;
    page.indeterminate = selected > 0 && !page.checked;
    count.textContent = status.textContent = selected ? `${text} selected` : "";
  }

  function select(chosen, checked) {
    chosen.forEach((row) => { row.checked = checked; });
    if (!checked) all.checked = false;
    update();
  }

  [page, count, clear].forEach((element) => { element.hidden = false; });
  page.addEventListener("change", () => select(rows, page.checked));
  all.addEventListener("change", () => { if (all.checked) select(rows, true); else update(); });
  clear.addEventListener("click", () => {
    select(rows, false);
    page.focus();
  });
  // With Shift, all rows between this one and the one before.
  rows.forEach((row, number) => {
    row.addEventListener("click", (event) => { isRange = event.shiftKey; });
    row.addEventListener("change", () => {
      const from = isRange && last !== null ? last : number;
      select(rows.slice(Math.min(from, number), Math.max(from, number) + 1), row.checked);
      last = number;
    });
  });
  window.addEventListener("pageshow", update);
});
