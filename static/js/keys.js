"use strict";
// Every page works without this file.

// Leaving the page without having copied the secret asks for confirmation.
const secret = document.querySelector("[data-secret]");
if (secret) {
  const value = secret.querySelector("[data-value]");
  const copy = secret.querySelector("[data-copy]");
  const copied = secret.querySelector("[data-copied]");
  let saved = false;
  copy.hidden = false;
  copy.focus();
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(value.textContent);
      saved = true;
      copied.textContent = "Copied.";
    } catch {
      secret.querySelector("[data-reveal]").open = true;
      getSelection().selectAllChildren(value);
      copied.textContent = "Press Ctrl+C to copy.";
    }
  });
  document.addEventListener("copy", () => {
    if (String(getSelection()).includes(value.textContent)) saved = true;
  });
  document.addEventListener("copied", () => { saved = true; });
  document.querySelector("[data-done]").addEventListener("click", () => { saved = true; });
  window.addEventListener("beforeunload", (event) => {
    if (!saved) event.preventDefault();
  });
}

// The permission picker.
const picker = document.querySelector("[data-picker]");
if (picker) {
  const prefix = picker.dataset.picker;
  const total = document.getElementById(`id_${prefix}-TOTAL_FORMS`);
  const add = document.querySelector("[data-add-row]");
  add.hidden = false;
  add.addEventListener("click", () => {
    const number = Number(total.value);
    const row = picker.tBodies[0].lastElementChild.cloneNode(true);
    const renumber = (text) => text.replace(/-\d+-/, `-${number}-`);
    row.querySelectorAll(".errorlist").forEach((list) => list.remove());
    row.querySelectorAll("input").forEach((input) => {
      input.name = renumber(input.name);
      input.id = renumber(input.id);
      if (input.type === "checkbox") input.checked = false; else input.value = "";
    });
    row.querySelectorAll("label").forEach((label) => { label.htmlFor = renumber(label.htmlFor); });
    picker.tBodies[0].append(row);
    total.value = number + 1;
    row.querySelector("input").focus();
  });
}
