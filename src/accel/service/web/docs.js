// The API's own description (OpenAPI), for people.

import { el, row, table } from "./parts.js";

const main = document.getElementById("main");
const api = await (await fetch("openapi.json")).json();

const name = (schema) => schema?.$ref?.split("/").pop();
const link = (of) => el("a", { href: `#${of}` }, of);

function kind(schema = {}) {
  if (schema.$ref) return link(name(schema));
  if (schema.anyOf) return el("span", {}, schema.anyOf.flatMap((one, i) => (i ? [" or ", kind(one)] : [kind(one)])));
  if (schema.type === "array") return el("span", {}, "list of ", kind(schema.items));
  if (schema.enum) return schema.enum.join(", ");
  return schema.const ?? schema.type ?? "anything";
}

function operation(path, method, said) {
  const parameters = (said.parameters ?? []).map((one) => row(one.name, one.in, kind(one.schema), one.required ? "needed" : ""));
  const body = said.requestBody?.content?.["application/json"]?.schema;
  const answers = Object.entries(said.responses).map(([status, one]) =>
    row(status, one.description, kind(Object.values(one.content ?? {})[0]?.schema)));
  return el(
    "details",
    { "data-operation": `${method} ${path}` },
    el("summary", {}, el("b", {}, method.toUpperCase()), el("code", {}, path), ` – ${said.summary ?? ""}`),
    el("p", {}, said.description ?? ""),
    parameters.length ? table(["Parameter", "In", "Kind", ""], parameters) : null,
    body ? el("p", {}, "Body: ", kind(body)) : null,
    table(["Answer", "", "Kind"], answers),
  );
}

function schema(of, said) {
  const needed = new Set(said.required ?? []);
  const rows = Object.entries(said.properties ?? {}).map(([key, one]) =>
    row(el("code", {}, key), kind(one), needed.has(key) ? "needed" : "", one.description ?? ""));
  return el("section", { id: of }, el("h2", {}, of), el("p", { class: "soft" }, said.description ?? ""), table(["Field", "Kind", "", ""], rows));
}

const byTag = new Map();
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, said] of Object.entries(methods)) {
    const tag = said.tags?.[0] ?? "other";
    if (!byTag.has(tag)) byTag.set(tag, []);
    byTag.get(tag).push(operation(path, method, said));
  }
}
main.append(
  el("h1", {}, `${api.info.title} ${api.info.version}`),
  el("p", { class: "soft" }, "Send a token of the configuration with each request: Authorization: Bearer …"),
  ...[...byTag].flatMap(([tag, operations]) => [el("h2", {}, tag), ...operations]),
  el("h1", {}, "Values"),
  ...Object.entries(api.components.schemas).map(([of, said]) => schema(of, said)),
);
