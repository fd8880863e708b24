"use strict";

// Asks the sandbox once a second what arrived and what the app shows. All text goes in by textContent.

const EVERY = 1000;
const chosen = document.documentElement.dataset.number;
const address = "/_sandbox/phone" + (chosen ? `?to=${encodeURIComponent(chosen)}` : "");
const at = (id) => document.getElementById(id);
const [scroller, thread, devices, numbers, empty, state, form, problem] =
  ["scroller", "thread", "devices", "numbers", "empty", "state", "attach", "attach-error"].map(at);
const shown = { thread: null, devices: null, numbers: null };
let newest = "";

function made(shape, fields) {
  const item = at(shape).content.firstElementChild.cloneNode(true);
  set(item, fields);
  return item;
}

function set(item, fields) {
  for (const [name, text] of Object.entries(fields)) {
    const field = item.querySelector(`[data-field="${name}"]`);
    if (field.textContent !== text) field.textContent = text;
  }
}

// True once for each new state of a list, so that nothing is built again (and no focus lost) without need.
function changed(list, key) {
  const now = JSON.stringify(key);
  const differs = shown[list] !== now;
  shown[list] = now;
  return differs;
}

function when(sent) {
  return new Date(sent).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function messageItem(message) {
  const cut = message.text.indexOf(message.pin);
  const item = made("message-shape", {
    to: message.to,
    sent: when(message.sent),
    before: message.text.slice(0, cut),
    pin: message.pin,
    after: message.text.slice(cut + message.pin.length),
  });
  const copy = item.querySelector(".copy");
  copy.hidden = false;
  copy.dataset.pin = message.pin;
  copy.setAttribute("aria-label", `Copy PIN ${message.pin}`);
  return item;
}

function showThread(data) {
  const notices = data.devices.flatMap((device) =>
    device.notices.map((notice) => ({ ...notice, to: device.phone_number })));
  const items = [...data.messages, ...notices].sort((a, b) => (a.sent < b.sent ? -1 : a.sent > b.sent ? 1 : 0));
  if (!changed("thread", items)) return;
  const first = newest === "";
  thread.replaceChildren(...items.map((each) => {
    const item = each.pin ? messageItem(each)
      : made("notice-shape", { to: each.to, sent: when(each.sent), text: each.text });
    if (!first && each.sent > newest) item.classList.add("new");
    return item;
  }));
  newest = items.length ? items[items.length - 1].sent : newest || "0";
  scroller.hidden = items.length === 0;
  empty.hidden = items.length > 0;
  scroller.scrollTop = 0; // the newest: the scroller is reversed
}

function showDevices(data) {
  if (changed("devices", data.devices.map((each) => [each.phone_number, each.issuer, each.account]))) {
    devices.replaceChildren(...data.devices.map((each) => {
      const item = made("device-shape", {
        issuer: each.issuer,
        account: each.account === each.phone_number ? "" : each.account,
        number: each.phone_number,
      });
      for (const button of item.querySelectorAll("button")) button.hidden = false;
      item.querySelector(".detach").dataset.number = each.phone_number;
      item.querySelector(".detach").setAttribute("aria-label", `Detach the app from ${each.phone_number}`);
      return item;
    }));
  }
  data.devices.forEach((each, index) => {
    const item = devices.children[index];
    const left = String(Math.floor(each.seconds_left));
    set(item, { code: `${each.code.slice(0, 3)} ${each.code.slice(3)}`, left });
    item.querySelector(".copy").dataset.pin = each.code;
    item.querySelector(".rest").setAttribute("stroke-dasharray", `${left} ${each.period}`);
    item.querySelector(".ring").setAttribute("aria-label", `${left} seconds left`);
  });
}

function showNumbers(data) {
  if (!changed("numbers", data.numbers)) return;
  const link = (href, label, current) => {
    const item = document.createElement("a");
    item.href = href;
    item.textContent = label;
    if (current) item.setAttribute("aria-current", "page");
    return item;
  };
  numbers.replaceChildren(link("/", "All", !chosen), ...data.numbers.map((each) =>
    link(`/?to=${encodeURIComponent(each)}`, each, each === chosen)));
}

function showState(live) {
  const text = live ? "Live" : "Not running";
  state.dataset.live = live ? "yes" : "no";
  if (state.textContent !== text) state.textContent = text;
}

async function refresh() {
  try {
    const reply = await fetch(address, { cache: "no-store" });
    if (!reply.ok) throw new Error(reply.statusText);
    const data = await reply.json();
    showThread(data);
    showDevices(data);
    showNumbers(data);
    showState(true);
  } catch {
    showState(false);
  }
}

async function change(method, phoneNumber) {
  try {
    const reply = await fetch("/_sandbox/devices", {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ phone_number: phoneNumber }),
    });
    problem.textContent = reply.ok ? "" : "This is no phone number. Write it with its country prefix, like +372 5555 5555.";
    return reply.ok;
  } catch {
    problem.textContent = "The sandbox does not answer.";
    return false;
  } finally {
    await refresh();
  }
}

async function copyFrom(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.pin);
    button.textContent = "Copied";
  } catch {
    button.textContent = button.dataset.pin;
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.matches(".copy")) copyFrom(button);
  if (button?.matches(".detach")) change("DELETE", button.dataset.number);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await change("POST", form.elements.number.value)) form.reset();
});

form.hidden = false;
(async function watch() {
  if (!document.hidden) await refresh();
  setTimeout(watch, EVERY);
})();
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
