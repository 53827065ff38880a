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

// A field and the list below it. choose(option): what a click and Enter do.
function comboBox(field, list, choose) {
  let active = null;
  Object.entries({
    role: "combobox", autocomplete: "off",
    "aria-controls": list.id, "aria-expanded": "true", "aria-autocomplete": "list",
  }).forEach(([name, value]) => field.setAttribute(name, value));
  list.setAttribute("role", "listbox");
  const found = () => [...list.querySelectorAll("[role=option]")].filter((option) => !option.parentElement.hidden);

  // options: elements of the list, each in an item of its own.
  function adopt(options) {
    options.forEach((option, number) => {
      option.id = `${list.id}-${number}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.parentElement.setAttribute("role", "none");
      option.addEventListener("mousedown", (event) => event.preventDefault());
      option.addEventListener("click", (event) => choose(option, event));
    });
  }

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

  field.addEventListener("keydown", (event) => {
    const rows = found();
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && rows.length) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const from = active ? rows.indexOf(active) : (step > 0 ? -1 : 0);
      mark(rows[(from + step + rows.length) % rows.length]);
    } else if (event.key === "Enter" && (active || !field.name)) {
      // A field that isn't sent with the form doesn't send it, either.
      event.preventDefault();
      active?.click();
    }
  });
  return { adopt, found, mark };
}

// options: all there are.
function typeAhead(field, list, options, choose) {
  const { adopt, found, mark } = comboBox(field, list, choose);
  adopt(options);

  function narrow(text) {
    const words = fold(text).split(/\s+/);
    options.forEach((option) => {
      option.parentElement.hidden = !words.every((word) => fold(option.textContent).includes(word));
    });
    mark(text.trim() && found()[0]);
  }

  field.addEventListener("input", () => narrow(field.value));
  return narrow;
}

function created(tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

// A long menu of links gets a field above them. Every menu with a field starts there.
document.querySelectorAll("details.filter").forEach((menu, number) => {
  const list = menu.querySelector(".filter-choices");
  const links = list ? [...list.querySelectorAll("a")] : [];
  const isLong = links.length > LONG;
  const field = isLong ? created("input", "type-ahead-field") : menu.querySelector("input, select");
  let narrow = null;
  if (isLong) {
    list.id = `filter-${number}`;
    field.placeholder = "Type to filter";
    field.setAttribute("aria-label", `Filter ${menu.querySelector("summary").textContent.trim()}`);
    narrow = typeAhead(field, list, links, () => {});
    links.forEach((link) => { link.tabIndex = -1; });
    list.before(field);
  }
  function start() {
    if (!menu.open || !field) return;
    if (isLong) {
      field.value = "";
      narrow("");
    }
    field.focus();
  }
  menu.addEventListener("toggle", start);
  start(); // with the error it's open for
});

// A select: a field with a list below it takes its place, and sets it.
document.querySelectorAll(".selection-bar select").forEach((select, number) => {
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

// Fields with suggestions of the server.
document.querySelectorAll("input[data-suggest]").forEach((field) => {
  const list = created("ul", "suggested");
  let waiting = null;
  let request = null;
  list.id = `${field.id}-suggestions`;
  list.hidden = true;
  list.setAttribute("aria-label", "Suggestions");
  field.after(list);
  const { adopt, mark } = comboBox(field, list, (option) => {
    field.value = option.dataset.value;
    close();
  });

  function close() {
    clearTimeout(waiting);
    request?.abort();
    mark(null);
    [...list.children].forEach((item) => { item.hidden = true; }); // from the arrow keys, too
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
  }

  function show(suggestions) {
    mark(null);
    list.replaceChildren(...suggestions.map(({ value, label, about }) => {
      const item = document.createElement("li");
      const option = created("div", "suggestion");
      const [name, more] = [created("span", ""), created("span", "muted")];
      option.dataset.value = value;
      name.textContent = label;
      more.textContent = about;
      option.append(name, more);
      item.append(option);
      return item;
    }));
    adopt([...list.querySelectorAll(".suggestion")]);
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
  }

  async function ask() {
    const q = field.value.trim();
    const token = document.querySelector("input[name=csrfmiddlewaretoken]");
    request?.abort();
    request = new AbortController();
    if (!q || !token) return;
    try {
      const body = new URLSearchParams({ q, csrfmiddlewaretoken: token.value });
      const response = await fetch(field.dataset.suggest, { method: "POST", body, signal: request.signal });
      if (response.ok && !response.redirected && document.activeElement === field) {
        show((await response.json()).suggestions);
      }
    } catch {
      // Another letter was typed, or the network failed: the field still takes what is typed.
    }
  }

  close();
  field.addEventListener("input", () => {
    close();
    waiting = setTimeout(ask, 120);
  });
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
    }
  });
});
