// The dashboard, and the page of one job.

import { ask, get, watch } from "./api.js";
import { ago, bar, bytes, digest, el, number, row, state, table } from "./parts.js";

const STATES = ["queued", "running", "paused", "done", "skipped", "failed", "cancelled", "superseded"];
const ENDED = STATES.slice(3);

export async function showJobs(box, { signal, say, again }) {
  const cards = el("div", { class: "cards" });
  const list = el("div");
  const filter = { state: "", q: "", before: null };
  let shown = [];

  const choose = el(
    "select",
    { "aria-label": "State", onchange: () => { filter.state = choose.value; load(); } },
    el("option", { value: "" }, "all states"),
    STATES.map((name) => el("option", { value: name }, name)),
  );
  const find = el("input", { type: "search", placeholder: "Repository, digest or id", "aria-label": "Find",
    onchange: () => { filter.q = find.value; load(); } });
  const pause = el("button", { onclick: async () => {
    await act(say, "POST", pause.dataset.paused === "yes" ? "/resume" : "/pause");
    await count();
  } });

  async function count() {
    const stats = await get("/stats");
    const n = (name) => stats.jobs[name] ?? 0;
    const card = (value, label) => el("div", { class: "card" }, el("b", {}, String(value)), el("span", {}, label));
    cards.replaceChildren(
      card(n("running"), "running"),
      card(n("queued"), stats.oldest_queued_at ? `queued, the oldest ${ago(stats.oldest_queued_at)}` : "queued"),
      card(n("done"), "done"),
      card(n("failed"), "failed"),
      card(n("skipped"), "skipped"),
      card(bytes(stats.layers.saved_bytes), `of layers not read again, ${stats.layers.uses} times`),
      card(stats.workers.length, stats.workers.length === 1 ? "process works" : "processes work"),
    );
    pause.dataset.paused = stats.paused ? "yes" : "no";
    pause.textContent = stats.paused ? "Begin jobs again" : "Begin no more jobs";
  }

  async function load(before = null) {
    const page = await get("/jobs", { state: filter.state, q: filter.q, before, limit: 50 });
    shown = before ? [...shown, ...page.jobs] : page.jobs;
    draw(page.next);
  }

  function draw(next) {
    list.replaceChildren(
      table(["Job", "State", "", "Repository", "Tags", "Changed", "Reason"], shown.map(line), "no jobs yet"),
      el("div", { class: "tools" }, next ? el("button", { onclick: () => load(next) }, "More") : null),
    );
  }

  function line(job) {
    const cells = row(
      el("a", { href: `#/jobs/${encodeURIComponent(job.id)}`, class: "mono" }, job.id.slice(0, 10)),
      state(job.state),
      job.state === "running" ? bar(job.done_bytes, job.comp_size, "read") : "",
      job.repository,
      job.tags.join(", "),
      ago(job.updated_at),
      job.reason,
    );
    cells.dataset.job = job.id;
    return cells;
  }

  function changed(job) {
    const at = shown.findIndex((one) => one.id === job.id);
    const fits = (!filter.state || job.state === filter.state) && (!filter.q || job.repository.includes(filter.q));
    if (at >= 0) {
      shown[at] = job;
      list.querySelector(`[data-job="${CSS.escape(job.id)}"]`)?.replaceWith(line(job));
    } else if (fits) {
      shown.unshift(job);
      const body = list.querySelector("tbody");
      if (body) body.prepend(line(job));
      else draw(null);
    }
  }

  box.append(el("h1", {}, "Jobs"), cards, el("div", { class: "tools" }, choose, find, pause), list);
  await Promise.all([count(), load()]);
  watch("/watch", changed, signal).catch(again);
  every(signal, 3000, count);
}

export async function showJob(box, { signal, say }, id) {
  const path = `/jobs/${encodeURIComponent(id)}`;
  const title = el("h1"), facts = el("dl", { class: "facts" }), buttons = el("div", { class: "tools" });
  const tags = el("div"), layers = el("div"), log = el("div", { class: "log mono", tabindex: 0 });

  async function load() {
    const detail = await get(path);
    const { job } = detail;
    title.replaceChildren(`${job.registry}/${job.repository} `, state(job.state));
    facts.replaceChildren(
      ...Object.entries({
        Source: el("code", {}, job.source_digest),
        Rule: `${job.rule}, mode ${job.recipe.mode}, from ${job.origin}`,
        Reason: job.reason || "–",
        Attempt: `${job.attempt}${job.not_before && job.state === "queued" ? ", later" : ""}`,
        Worker: job.worker ?? "–",
        Begun: ago(job.started_at),
        Ended: ago(job.finished_at),
      }).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
    );
    const can = ENDED.includes(job.state) ? ["retry"] : job.state === "paused" ? ["resume", "cancel"] : ["pause", "cancel"];
    buttons.replaceChildren(
      ...can.map((name) => el("button", { onclick: async () => { await act(say, "POST", `${path}/${name}`); await load(); } }, name)),
    );
    tags.replaceChildren(
      table(["Source tag", "Tag", "State", "Digest"], detail.targets.map((one) => row(one.source_tag, one.tag, state(one.state), digest(one.digest)))),
    );
    layers.replaceChildren(
      table(
        ["Layer", "State", "", "Size", "Became", "Reason"],
        detail.layers.map((one) =>
          row(digest(one.layer), state(one.state), one.reused ? "reused" : bar(one.done_bytes, one.comp_size, "read"),
            number(bytes(one.comp_size)), became(one.report), one.reason)),
      ),
    );
    const lines = await get(`${path}/log`);
    log.replaceChildren(...lines.map((one) => el("div", {}, `${new Date(one.at * 1000).toISOString().slice(0, 19)} ${one.level}: ${one.message}`)));
  }

  box.append(title, buttons, facts, el("h2", {}, "Tags"), tags, el("h2", {}, "Layers"), layers, el("h2", {}, "Log"), log);
  await load();
  watch(`${path}/watch`, load, signal).catch((error) => say(error.message));
}

function became(report) {
  if (!report) return "";
  const parts = report.index_size ? [`index ${bytes(report.index_size)}`] : [];
  return [...parts, ...report.outputs.map((one) => `${one.format} ${bytes(one.size)}`)].join(", ");
}

export async function act(say, method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    say(error.message);
    return null;
  }
}

function every(signal, milliseconds, work) {
  const timer = setInterval(() => work().catch(() => {}), milliseconds);
  signal.addEventListener("abort", () => clearInterval(timer));
}
