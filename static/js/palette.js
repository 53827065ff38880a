"use strict";
// Suggestions below the search field on staff pages. Without this file, the field leads to a page of results.

const form = document.querySelector("form[data-suggest]");
const field = form.elements.q;
const list = form.querySelector(".suggestions");
const status = form.querySelector("[role=status]");
// A secret must not get into a URL.
const SECRET = /_[0-9A-Za-z]{20,}|^\S{60,}$/;
let active = -1;
let waiting = null;
let request = null;

Object.entries({
  role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list",
}).forEach(([name, value]) => field.setAttribute(name, value));
list.setAttribute("role", "listbox");
list.setAttribute("aria-label", "Suggestions");

const options = () => [...list.querySelectorAll("[role=option]")];

function close() {
  clearTimeout(waiting);
  request?.abort();
  list.hidden = true;
  choose(-1);
  field.setAttribute("aria-expanded", "false");
}

function choose(index) {
  active = index;
  options().forEach((option, number) => option.setAttribute("aria-selected", String(number === index)));
  const chosen = options()[index];
  if (chosen) {
    field.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  } else field.removeAttribute("aria-activedescendant");
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function show(suggestions) {
  list.replaceChildren();
  const groups = new Map();
  suggestions.forEach((suggestion, number) => {
    if (!groups.has(suggestion.group)) {
      const group = element("div", "suggestion-group", "");
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", suggestion.group);
      const title = element("div", "suggestion-title", suggestion.group);
      title.setAttribute("aria-hidden", "true");
      group.append(title);
      groups.set(suggestion.group, group);
      list.append(group);
    }
    const option = element("div", "suggestion", "");
    option.id = `suggestion-${number}`;
    option.dataset.url = suggestion.url;
    option.setAttribute("role", "option");
    option.append(element("span", "suggestion-label", suggestion.label), element("span", "muted", suggestion.about));
    groups.get(suggestion.group).append(option);
  });
  const count = suggestions.length;
  status.textContent = count ? `${count} ${count === 1 ? "suggestion" : "suggestions"}` : "No suggestions";
  list.hidden = !count;
  field.setAttribute("aria-expanded", String(count > 0));
  choose(-1);
}

async function ask() {
  request?.abort();
  request = new AbortController();
  const text = field.value.trim();
  if (!text) { close(); return; }
  const token = document.querySelector("input[name=csrfmiddlewaretoken]");
  try {
    const response = await fetch(form.dataset.suggest, {
      method: "POST",
      body: new URLSearchParams({ q: text, csrfmiddlewaretoken: token ? token.value : "" }),
      signal: request.signal,
    });
    if (response.ok && !response.redirected && document.activeElement === field) {
      show((await response.json()).suggestions);
    }
  } catch {
    // Another letter was typed, or the network failed: the page of results still works.
  }
}

field.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(ask, 120);
});

field.addEventListener("keydown", (event) => {
  const count = options().length;
  if (event.key === "Escape" && !list.hidden) {
    event.preventDefault();
    close();
  } else if (list.hidden) {
    if (event.key === "ArrowDown") ask();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    choose(active < 0 && step < 0 ? count - 1 : (active + step + count) % count);
  } else if (event.key === "Enter" && active >= 0) {
    event.preventDefault();
    window.location.assign(options()[active].dataset.url);
  }
});

form.addEventListener("submit", (event) => {
  if (SECRET.test(field.value)) {
    event.preventDefault();
    ask();
  }
});
list.addEventListener("mousedown", (event) => event.preventDefault());
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) window.location.assign(option.dataset.url);
});
field.addEventListener("blur", close);
