// Asks for an API key when sipcast wants one, keeps it for this tab, and sends it with every request of the page.
"use strict";

(() => {
  const STORE = "sipcast.key";
  const plain = window.fetch.bind(window);
  let key = "";
  let asking = null;
  try {
    key = sessionStorage.getItem(STORE) ?? "";
  } catch {
    // Kept in memory alone.
  }

  function keep(value) {
    key = value;
    try {
      sessionStorage.setItem(STORE, value);
    } catch {
      // Kept in memory alone.
    }
  }

  /** Shows the question; gives whether a key was entered. One question at a time. */
  function ask() {
    asking ??= new Promise((done) => {
      const dialog = document.createElement("dialog");
      const form = document.createElement("form");
      const label = document.createElement("label");
      const input = document.createElement("input");
      const enter = document.createElement("button");
      label.textContent = key ? "This API key is not known. API key " : "API key ";
      Object.assign(input, { id: "apiKey", type: "password", required: true, autocomplete: "off" });
      enter.textContent = "Use";
      label.append(input);
      form.append(label, enter);
      dialog.append(form);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        keep(input.value.trim());
        dialog.close();
      });
      dialog.addEventListener("close", () => {
        const entered = input.value.trim() !== "";
        dialog.remove();
        asking = null;
        done(entered);
      });
      document.body.append(dialog);
      dialog.showModal();
    });
    return asking;
  }

  window.fetch = async (resource, options = {}) => {
    const own = typeof resource === "string" && resource.startsWith("/") && !resource.startsWith("//");
    if (!own) return plain(resource, options);
    for (;;) {
      const used = key;
      const headers = new Headers(options.headers);
      // A key that no header can hold is as good as a wrong one.
      if (/^[\x21-\x7e]+$/.test(used)) headers.set("X-API-Key", used);
      const response = await plain(resource, { ...options, headers });
      if (response.status !== 401) return response;
      // Another request may have got a key in the meantime.
      if (used === key && !(await ask())) return response;
    }
  };
})();
