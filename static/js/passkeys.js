"use strict";
// Passkeys need JavaScript, so their forms are hidden until we know that the browser supports them.
// data-passkey: "create" or "get"; data-options: the options as JSON, or data-options-url: where to fetch them.

const optionsFor = async (form) => {
  if (!form.dataset.optionsUrl) return JSON.parse(form.dataset.options).publicKey;
  const response = await fetch(form.dataset.optionsUrl, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error("Couldn't fetch the passkey options.");
  return (await response.json()).request_options.publicKey;
};

const ceremony = {
  async create(options) {
    options.authenticatorSelection = {
      ...options.authenticatorSelection,
      residentKey: "required",
      requireResidentKey: true,
      userVerification: "required",
    };
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  },
  async get(options) {
    return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  },
};

const run = async (form) => {
  const problem = form.querySelector("[data-passkey-error]");
  problem.hidden = true;
  try {
    const credential = await ceremony[form.dataset.passkey](await optionsFor(form));
    form.elements.credential.value = JSON.stringify(credential.toJSON());
    form.submit();
  } catch {
    problem.hidden = false;
  }
};

if (window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(form);
    });
  });
}
