// What the pages gain from a script; without it they work all the same: "/" goes to the search, and a page with a span
// up to now brings its content up to date without losing the place (without a script it is loaded again).
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const search = document.getElementById("search");
  if (search === null) return;
  event.preventDefault();
  search.focus();
  search.select();
});

const seconds = Number(document.body.dataset.live);

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
  return field.selectedIndex !== Math.max(0, Array.from(field.options).findIndex((option) => option.defaultSelected));
}

function busy(content) {
  const typed = Array.from(content.querySelectorAll("input, select")).some(changed);
  return document.hidden || typed || content.contains(document.activeElement?.closest("form"));
}

function place(content) {
  // Where the reader is: what is open, how far tables are scrolled, what has the focus.
  const focused = content.contains(document.activeElement) ? document.activeElement : null;
  const all = (selector) => Array.from(content.querySelectorAll(selector));
  return {
    open: all("details").map((one) => one.open),
    scrolled: all(".scroll").map((one) => one.scrollLeft),
    focused: focused === null ? -1 : all("a, button, summary, [tabindex]").indexOf(focused),
  };
}

function takePlace(content, before) {
  content.querySelectorAll("details").forEach((one, number) => { one.open = before.open[number] ?? one.open; });
  content.querySelectorAll(".scroll").forEach((one, number) => { one.scrollLeft = before.scrolled[number] ?? 0; });
  content.querySelectorAll("a, button, summary, [tabindex]")[before.focused]?.focus({ preventScroll: true });
}

async function refresh() {
  const content = document.getElementById("content");
  if (content === null || busy(content)) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const found = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = found.getElementById("content");
    if (next === null || busy(content)) return;
    if (found.body.dataset.live === undefined) clearInterval(timer); // nothing more to wait for
    const before = place(content);
    content.replaceWith(next);
    takePlace(next, before);
    const [foot, nextFoot] = [document.querySelector("footer"), found.querySelector("footer")];
    if (foot !== null && nextFoot !== null) foot.replaceWith(nextFoot);
  } catch {
    // The ruler is away for a moment; the page says of when it is.
  }
}

const timer = seconds > 0 ? setInterval(refresh, seconds * 1000) : undefined;
