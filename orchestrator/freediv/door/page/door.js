// What the door is asked, and what it says in place of an answer.

/** Why there is no answer: `kind` is what to do about it. */
export class Trouble extends Error {
  /** kind: "row" (one text cannot be read), "wait" (so many seconds), "down" (until parties are back), "ends". */
  constructor(kind, words, { seconds = 0, row = -1, answers = [], token = false } = {}) {
    super(words);
    Object.assign(this, { kind, seconds, row, answers, token });
  }
}

export class Door {
  /** `token` is shown with every request, and held nowhere else. */
  token = "";

  async status(signal) {
    return (await this.#fetch("status", { signal })).json();
  }

  /** Answers to texts (lists of one or two), in their order; throws a Trouble. */
  async answers(model, inputs, truncate, signal) {
    return this.#ask(model, JSON.stringify({ inputs, truncate }), "application/json", signal);
  }

  /** The answer to an image, in a list; what is sent of its file is what is in it. Throws a Trouble. */
  async answerTo(model, file, signal) {
    return this.#ask(model, file, "application/octet-stream", signal);
  }

  async #ask(model, body, type, signal) {
    const path = `models/${encodeURIComponent(model)}/answers`;
    const response = await this.#fetch(path, { method: "POST", body, signal, headers: { "content-type": type } });
    return (await response.json()).answers;
  }

  async #fetch(path, options) {
    const headers = { ...options.headers };
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    let response, said;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
      if (response.ok) return response;
      said = await response.json().catch(() => ({}));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble("down", "the door does not answer");
    }
    throw troubleOf(response, said);
  }
}

function troubleOf(response, said) {
  const words = String(said.error ?? `the door answers with status ${response.status}`);
  const answers = Array.isArray(said.answers) ? said.answers : [];
  const after = Number(response.headers.get("retry-after"));
  if (Number.isInteger(said.row)) return new Trouble("row", String(said.reason), { row: said.row });
  if (response.status === 401) return new Trouble("ends", "the door wants its token", { token: true });
  if (response.status === 429) return new Trouble(after > 0 ? "wait" : "ends", words, { seconds: after, answers });
  if ([424, 502, 503, 504].includes(response.status)) return new Trouble("down", words, { answers });
  return new Trouble("ends", words, { answers });
}
