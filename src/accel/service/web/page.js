// Which page is shown: the part after # says.

import { Unauthorized, get, setToken } from "./api.js";
import { showJob, showJobs } from "./jobs.js";
import { showDeliveries, showProtection, showRules } from "./others.js";
import { el } from "./parts.js";

const main = document.getElementById("main");
const notice = document.getElementById("notice");
let current = new AbortController();

export function say(text) {
  notice.textContent = text;
  if (text) setTimeout(() => { if (notice.textContent === text) notice.textContent = ""; }, 6000);
}

const PAGES = [
  [/^#\/jobs\/([^/]+)$/, showJob],
  [/^#\/rules$/, showRules],
  [/^#\/deliveries$/, showDeliveries],
  [/^#\/protection$/, showProtection],
  [/^(?:#\/?)?$/, showJobs],
];

async function show() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const where = location.hash;
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.getAttribute("href") === (where || "#/"));
  }
  const [pattern, page] = PAGES.find(([one]) => one.test(where)) ?? PAGES.at(-1);
  const box = el("div");
  main.replaceChildren(box);
  try {
    await page(box, { signal, say, again: show }, ...(pattern.exec(where) ?? []).slice(1).map(decodeURIComponent));
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Unauthorized) logIn();
    else box.replaceChildren(el("p", { class: "failed" }, error.message), el("button", { onclick: show }, "Try again"));
  }
}

function logIn() {
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const wrong = el("p", { class: "failed", role: "alert" });
  const form = el(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        setToken(input.value);
        try {
          await get("/stats");
          show();
        } catch (error) {
          wrong.textContent = error instanceof Unauthorized ? "This token is not valid." : error.message;
        }
      },
    },
    el("h1", {}, "Who is there?"),
    el("p", {}, el("label", { for: "token" }, "A token of the service's configuration")),
    el("div", { class: "tools" }, input, el("button", { class: "main" }, "Go on")),
    wrong,
  );
  main.replaceChildren(form);
  input.focus();
}

addEventListener("hashchange", show);
show();
