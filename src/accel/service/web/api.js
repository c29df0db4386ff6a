// The service's API, with the token that was typed in; it stays in this tab.

const KEY = "accel-token";

export class Unauthorized extends Error {}

export const setToken = (token) => sessionStorage.setItem(KEY, token);

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}`, ...more } : more;
}

async function checked(answer) {
  if (answer.status === 401) throw new Unauthorized("a token is needed");
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error?.message ?? `the service answered with ${answer.status}`);
}

export async function ask(method, path, body) {
  const more = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await checked(
    await fetch(`api/v1${path}`, { method, headers: headers(more), body: body === undefined ? undefined : JSON.stringify(body) }),
  );
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, query = {}) => {
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value != null));
  return ask("GET", given.size ? `${path}?${given}` : path);
};

// Calls `on` with every job that changes, until `signal` is aborted; comes back after a pause if the stream ends.
export async function watch(path, on, signal) {
  while (!signal.aborted) {
    try {
      const answer = await checked(await fetch(`api/v1${path}`, { headers: headers(), signal }));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
          if (data.length) on(JSON.parse(data.join("\n")));
        }
      }
    } catch (error) {
      if (error instanceof Unauthorized) throw error;
      if (signal.aborted) return;
    }
    await new Promise((resume) => setTimeout(resume, 2000));
  }
}
