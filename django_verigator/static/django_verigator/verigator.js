// Comfort only: every page works without it, and the server enforces each wait by itself.
"use strict";

for (const button of document.querySelectorAll("button[data-wait]")) {
  const text = button.textContent;
  const ends = Date.now() + Number(button.dataset.wait) * 1000;
  const tick = () => {
    const left = Math.ceil((ends - Date.now()) / 1000);
    button.disabled = left > 0;
    // The number and its unit stay on one line, in every language.
    button.textContent = left > 0 ? button.dataset.waitText.replace(/%s ?/, `${left}\u00a0`) : text;
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
}

// A second click must not ask for a second text.
for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

// Back from the history cache: the forms may be used again.
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// What became of the message, until the page has nothing more to wait for, or two minutes are over.
const refresh = async (delivery, left) => {
  if (!document.hidden) {
    try {
      const response = await fetch(delivery.dataset.refresh);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const news = page.getElementById("vg-delivery");
      if (!news) return;
      if (news.textContent.trim() !== delivery.textContent.trim()) delivery.replaceChildren(...news.childNodes);
      if (!news.dataset.refresh) return;
    } catch {
      // The next time, perhaps.
    }
  }
  if (left > 1) setTimeout(refresh, 10_000, delivery, left - 1);
};
const delivery = document.querySelector("#vg-delivery[data-refresh]");
if (delivery) setTimeout(refresh, 10_000, delivery, 12);

for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
