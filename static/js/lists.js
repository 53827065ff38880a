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

// Long menus of filters and long selects narrow as you type.
const LONG = 10;
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

// options: elements of the list, each in an item of its own; choose(option): what a click and Enter do.
function typeAhead(field, list, options, choose) {
  let active = null;
  Object.entries({
    role: "combobox", autocomplete: "off",
    "aria-controls": list.id, "aria-expanded": "true", "aria-autocomplete": "list",
  }).forEach(([name, value]) => field.setAttribute(name, value));
  list.setAttribute("role", "listbox");
  options.forEach((option, number) => {
    option.id = `${list.id}-${number}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.parentElement.setAttribute("role", "none");
    option.addEventListener("mousedown", (event) => event.preventDefault());
    option.addEventListener("click", (event) => choose(option, event));
  });
  const found = () => options.filter((option) => !option.parentElement.hidden);

  function mark(option) {
    active?.setAttribute("aria-selected", "false");
    active = option || null;
    if (!active) {
      field.removeAttribute("aria-activedescendant");
      return;
    }
    active.setAttribute("aria-selected", "true");
    field.setAttribute("aria-activedescendant", active.id);
    active.scrollIntoView({ block: "nearest" });
  }

  function narrow(text) {
    const words = fold(text).split(/\s+/);
    options.forEach((option) => {
      option.parentElement.hidden = !words.every((word) => fold(option.textContent).includes(word));
    });
    mark(text.trim() && found()[0]);
  }

  field.addEventListener("input", () => narrow(field.value));
  field.addEventListener("keydown", (event) => {
    const rows = found();
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && rows.length) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const from = active ? rows.indexOf(active) : (step > 0 ? -1 : 0);
      mark(rows[(from + step + rows.length) % rows.length]);
    } else if (event.key === "Enter" && active) {
      event.preventDefault();
      active.click();
    }
  });
  return narrow;
}

function created(tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

// A menu of links: the field stands above them.
document.querySelectorAll("details.filter").forEach((menu, number) => {
  const list = menu.querySelector("ul");
  const links = [...list.querySelectorAll("a")];
  if (links.length <= LONG) return;
  const field = created("input", "type-ahead-field");
  const panel = created("div", "type-ahead-panel");
  list.id = `filter-${number}`;
  field.placeholder = "Type to filter";
  field.setAttribute("aria-label", `Filter ${menu.querySelector("summary").textContent.trim()}`);
  const narrow = typeAhead(field, list, links, () => {});
  links.forEach((link) => { link.tabIndex = -1; });
  list.replaceWith(panel);
  panel.append(field, list);
  menu.addEventListener("toggle", () => {
    if (!menu.open) return;
    field.value = "";
    narrow("");
    field.focus();
  });
});

// A select: a field with a list below it takes its place, and sets it.
document.querySelectorAll(".filters select, .selection-bar select").forEach((select, number) => {
  if (select.options.length <= LONG) return;
  const box = created("div", "type-ahead");
  const field = created("input", "type-ahead-field");
  const list = created("ul", "type-ahead-list");
  list.id = `select-${number}-options`;
  const options = [...select.options].map((option) => {
    const item = document.createElement("li");
    const row = document.createElement("span");
    row.textContent = option.textContent;
    item.append(row);
    list.append(item);
    return row;
  });
  select.before(box);
  box.append(field, list);
  if (select.id) field.id = select.id;
  select.removeAttribute("id");
  select.hidden = true;

  const narrow = typeAhead(field, list, options, (row) => {
    select.selectedIndex = options.indexOf(row);
    close();
  });
  list.setAttribute("aria-label", field.labels[0]?.textContent.trim() || "Options");

  function open() {
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
  }

  function close() {
    narrow("");
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.value = select.selectedOptions[0].textContent.trim();
  }

  field.addEventListener("focus", () => field.select());
  field.addEventListener("click", open);
  field.addEventListener("input", open);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") open();
    if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
    }
  });
  close();
});
