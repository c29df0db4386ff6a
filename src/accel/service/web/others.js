// Rules, deliveries, protection.

import { get } from "./api.js";
import { act } from "./jobs.js";
import { ago, el, number, row, state, table } from "./parts.js";

export async function showRules(box, { say }) {
  const list = el("div"), answer = el("div");

  async function load() {
    const rules = await get("/rules");
    list.replaceChildren(
      table(["Rule", "", "From", "Mode", "About", ""], rules.map(({ rule, origin }) => row(
        rule.name,
        state(rule.enabled ? "on" : "off"),
        origin,
        rule.mode,
        about(rule),
        el("button", { onclick: async () => {
          await act(say, "PUT", `/rules/${encodeURIComponent(rule.name)}`, { ...rule, enabled: !rule.enabled });
          await load();
        } }, rule.enabled ? "Disable" : "Enable"),
      )), "no rules"),
    );
  }

  const image = el("input", { type: "text", id: "image", placeholder: "registry.example.com/team/app:1.0", required: true });
  const form = el("form", { class: "tools", onsubmit: async (event) => {
    event.preventDefault();
    const said = await act(say, "POST", "/rules/explain", { image: image.value });
    if (said) answer.replaceChildren(...explained(said));
  } }, el("label", { for: "image" }, "What would happen to"), image, el("button", { class: "main" }, "Explain"));
  box.append(el("h1", {}, "Rules"), list, el("h2", {}, "Explain"), form, answer);
  await load();
}

function explained({ rules, warnings }) {
  const rows = rules.map((one) => row(one.rule, state(one.matches ? "yes" : "no"),
    one.reason || one.problem || `${one.recipe.mode} as ${one.tags.join(", ")}`));
  return [table(["Rule", "Covers it", ""], rows, "no rules"), ...warnings.map((text) => el("p", { class: "paused" }, text))];
}

function about(rule) {
  const words = [];
  for (const name of ["registry", "namespace", "repository", "tag", "pusher"]) {
    if (rule[name].include.length) words.push(`${name} ${rule[name].include.join(", ")}`);
    if (rule[name].exclude.length) words.push(`not ${name} ${rule[name].exclude.join(", ")}`);
  }
  return words.join("; ") || "everything";
}

export async function showDeliveries(box, { say }) {
  const list = el("div");
  let shown = [];

  async function load(before = null) {
    const page = await get("/deliveries", { before });
    shown = before ? [...shown, ...page.deliveries] : page.deliveries;
    list.replaceChildren(
      table(["To", "Event", "Tag", "State", "Tries", "Made", "Last answer", ""], shown.map((one) => row(
        one.endpoint, one.type, one.tag, state(one.state), number(String(one.attempts)), ago(one.created_at),
        String(one.last_status ?? one.last_error ?? ""),
        el("button", { onclick: async () => { await act(say, "POST", `/deliveries/${one.id}/redeliver`); await load(); } }, "Send again"),
      )), "no events went out yet"),
      el("div", { class: "tools" }, page.next ? el("button", { onclick: () => load(page.next) }, "More") : null),
    );
  }

  box.append(el("h1", {}, "Deliveries"), list);
  await load();
}

export async function showProtection(box) {
  const found = await get("/protection/dependencies");
  box.append(
    el("h1", {}, "Protection"),
    el("p", { class: "soft" }, "Accelerated images that need their source, and whether it is there."),
    table(["Repository", "Tag", "Needs", "State", "Checked", "Problem"], found.map((one) => row(
      one.repository, one.tag, one.source_tag, state(one.state), ago(one.checked_at), one.problem,
    )), "no image needs its source"),
  );
}
