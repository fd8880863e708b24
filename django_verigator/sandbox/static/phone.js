"use strict";

// Refreshes the page once a second. All text is inserted with textContent, so that none of it becomes markup.

const REFRESH_MS = 1000;
const selected = document.documentElement.dataset.number;
const phoneUrl = "/_sandbox/phone" + (selected ? `?to=${encodeURIComponent(selected)}` : "");
const byId = (id) => document.getElementById(id);
const [scroller, thread, devices, numbers, empty, state, form, attachError] =
  ["scroller", "thread", "devices", "numbers", "empty", "state", "attach", "attach-error"].map(byId);
const LABELS = { whatsapp: "WhatsApp", viber: "Viber", rcs: "RCS", call: "Voice call" };
const rendered = { thread: null, devices: null, numbers: null };
let newest = "";

function cloneTemplate(template, fields) {
  const item = byId(template).content.firstElementChild.cloneNode(true);
  setFields(item, fields);
  return item;
}

function setFields(item, fields) {
  for (const [name, text] of Object.entries(fields)) {
    const field = item.querySelector(`[data-field="${name}"]`);
    if (field.textContent !== text) field.textContent = text;
  }
}

// Returns whether a list must be rendered again; rendering it without need would lose the focus.
function hasChanged(list, key) {
  const now = JSON.stringify(key);
  const changed = rendered[list] !== now;
  rendered[list] = now;
  return changed;
}

function formatTime(sent) {
  return new Date(sent).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function messageItem(message) {
  const start = message.text.indexOf(message.pin);
  const item = cloneTemplate("message-template", {
    to: message.to,
    sent: formatTime(message.sent),
    label: LABELS[message.channel] ?? "",
    before: message.text.slice(0, start),
    pin: message.pin,
    after: message.text.slice(start + message.pin.length),
  });
  item.dataset.channel = message.channel;
  const copy = item.querySelector(".copy");
  copy.hidden = !message.pin;
  copy.dataset.pin = message.pin;
  copy.setAttribute("aria-label", `Copy PIN ${message.pin}`);
  return item;
}

function showThread(data) {
  const notices = data.devices.flatMap((device) =>
    device.notices.map((notice) => ({ ...notice, to: device.phone_number })));
  const items = [...data.messages, ...notices].sort((a, b) => (a.sent < b.sent ? -1 : a.sent > b.sent ? 1 : 0));
  if (!hasChanged("thread", items)) return;
  const first = newest === "";
  thread.replaceChildren(...items.map((each) => {
    const item = each.channel ? messageItem(each)
      : cloneTemplate("notice-template", { to: each.to, sent: formatTime(each.sent), text: each.text });
    if (!first && each.sent > newest) item.classList.add("new");
    return item;
  }));
  newest = items.length ? items[items.length - 1].sent : newest || "0";
  scroller.hidden = items.length === 0;
  empty.hidden = items.length > 0;
  scroller.scrollTop = 0; // shows the newest message, since the order is reversed
}

function showDevices(data) {
  if (hasChanged("devices", data.devices.map((each) => [each.phone_number, each.issuer, each.account]))) {
    devices.replaceChildren(...data.devices.map((each) => {
      const item = cloneTemplate("device-template", {
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
    setFields(item, { code: `${each.code.slice(0, 3)} ${each.code.slice(3)}`, left });
    item.querySelector(".copy").dataset.pin = each.code;
    item.querySelector(".remaining").setAttribute("stroke-dasharray", `${left} ${each.period}`);
    item.querySelector(".ring").setAttribute("aria-label", `${left} seconds left`);
  });
}

function showNumbers(data) {
  if (!hasChanged("numbers", data.numbers)) return;
  const link = (href, label, current) => {
    const item = document.createElement("a");
    item.href = href;
    item.textContent = label;
    if (current) item.setAttribute("aria-current", "page");
    return item;
  };
  numbers.replaceChildren(link("/", "All", !selected), ...data.numbers.map((each) =>
    link(`/?to=${encodeURIComponent(each)}`, each, each === selected)));
}

function showState(live) {
  const text = live ? "Live" : "Not running";
  state.dataset.live = live ? "yes" : "no";
  if (state.textContent !== text) state.textContent = text;
}

async function refresh() {
  try {
    const response = await fetch(phoneUrl, { cache: "no-store" });
    if (!response.ok) throw new Error(response.statusText);
    const data = await response.json();
    showThread(data);
    showDevices(data);
    showNumbers(data);
    showState(true);
  } catch {
    showState(false);
  }
}

async function changeDevice(method, phoneNumber) {
  try {
    const response = await fetch("/_sandbox/devices", {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ phone_number: phoneNumber }),
    });
    attachError.textContent = response.ok ? "" : "This is no phone number. Write it with its country prefix, like +372 5555 5555.";
    return response.ok;
  } catch {
    attachError.textContent = "The sandbox does not answer.";
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
  if (button?.matches(".detach")) changeDevice("DELETE", button.dataset.number);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await changeDevice("POST", form.elements.number.value)) form.reset();
});

form.hidden = false;
(async function watch() {
  if (!document.hidden) await refresh();
  setTimeout(watch, REFRESH_MS);
})();
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
