"use strict";
// Every page works without this file.

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const search = document.getElementById("global-search");
  const control = event.ctrlKey || event.metaKey;
  const help = document.querySelector("a.help-link");
  if (help && event.key === "?" && !typing && !document.querySelector("dialog[open]")) showHelp(help.href);
  const slash = event.key === "/" && !typing && !control && !event.altKey;
  const controlK = event.key.toLowerCase() === "k" && control && !event.altKey && !event.shiftKey;
  if (search && (slash || controlK)) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});

// The page of help in a dialog; the page itself if that fails.
async function showHelp(url) {
  const response = await fetch(url).catch(() => null);
  const page = new DOMParser().parseFromString(response?.ok ? await response.text() : "", "text/html");
  const help = page.getElementById("help");
  if (!help) {
    location.assign(url);
    return;
  }
  const dialog = document.createElement("dialog");
  const close = document.createElement("button");
  close.className = "button button-quiet";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  help.append(close);
  dialog.setAttribute("aria-labelledby", "shortcuts");
  dialog.append(document.adoptNode(help));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});

// Screen readers announce the admin's select2 fields by their value alone, and empty ones not at all.
function labelSelects() {
  document.querySelectorAll(".select2-selection__rendered").forEach((value) => {
    const label = document.querySelector(`label[for="${value.id.slice("select2-".length, -"-container".length)}"]`);
    if (!label) return;
    label.id = label.id || `${value.id}-label`;
    ["role", "aria-readonly"].forEach((name) => value.removeAttribute(name));
    value.closest("[role=combobox]").setAttribute("aria-labelledby", `${label.id} ${value.id}`);
  });
}
// On a short page, jQuery creates them in a task after the load event.
window.addEventListener("load", () => setTimeout(labelSelects));

// A second click doesn't send a form again: the first response, which may show a secret, would be lost.
document.querySelectorAll("form[data-once]").forEach((form) => {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
});
window.addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-once]").forEach((form) => delete form.dataset.sent);
});

// Shows “Unsaved changes” next to the button of a form that was edited.
document.querySelectorAll("form .submit-row, form [data-unsaved]").forEach((place) => {
  const hint = place.matches("[data-unsaved]") ? place : place.appendChild(document.createElement("span"));
  hint.className = "unsaved";
  hint.setAttribute("role", "status");
  place.closest("form").addEventListener("input", () => { hint.textContent = "Unsaved changes"; });
});

// Changes the theme without reloading the page.
const SCHEMES = { auto: "light dark", light: "light", dark: "dark" };
document.querySelectorAll("form.theme").forEach((form) => {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = form.elements.theme;
    const names = Object.keys(SCHEMES);
    fetch(form.action, { method: "POST", body: new FormData(form, button), redirect: "manual", keepalive: true });
    form.dataset.theme = button.value;
    document.querySelector('meta[name="color-scheme"]').content = SCHEMES[button.value];
    button.value = names[(names.indexOf(button.value) + 1) % names.length];
  });
});

// Copies the element before the button.
document.querySelectorAll("button.copy").forEach((button) => {
  const text = button.parentElement.previousElementSibling;
  const status = button.nextElementSibling;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      status.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(text);
      status.textContent = "Press Ctrl+C to copy.";
    }
    button.dispatchEvent(new Event("copied", { bubbles: true }));
    setTimeout(() => { status.textContent = ""; }, 3000);
  });
});
