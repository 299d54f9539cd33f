// Asking for many rows: few requests at a time, what fails again later, and nothing twice that was answered.

import { Trouble } from "./door.js";

const AT_ONCE = 4;
const LONGEST_WAIT_S = 30;

export class Asking {
  /**
   * rows: each with `texts`, and from then on a `state`: waiting, asked, answered (and `answer`), refused (and `why`).
   * ask(rows, signal): answers, in their order. up(signal): whether the parties are.
   * size, bytes: the most texts, and about the most bytes, of a request.
   * onRows(rows): these have changed. onSay(words, trouble): for people.
   */
  constructor({ rows, ask, up, size, bytes, onRows, onSay }) {
    Object.assign(this, { ask, up, size, bytes, onRows, onSay });
    this.left = rows.filter((row) => row.state === "waiting");
    this.stopped = new AbortController();
    this.pause = null;
    this.asked = 0;
    this.waiting = [];
    this.trouble = undefined;
    this.failures = 0;
    this.told = "";
  }

  stop() {
    this.stopped.abort();
  }

  /** Ends when every row is answered or refused, when stopped, or with a Trouble that waiting does not help. */
  async run() {
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, () => this.#work()));
    } catch (error) {
      throw this.trouble ?? error; // not that the others were stopped by it
    } finally {
      this.stop();
    }
  }

  async #work() {
    for (;;) {
      while (this.pause) await this.pause;
      const rows = this.#take();
      if (!rows.length) {
        if (!this.asked) return;
        await this.#changed(); // what another has asked may come back
        continue;
      }
      this.asked += 1;
      try {
        await this.#one(rows);
      } finally {
        this.asked -= 1;
        this.#wake();
      }
    }
  }

  async #one(rows) {
    this.#set(rows, "asked");
    try {
      this.#keep(rows, await this.ask(rows, this.stopped.signal));
      this.failures = 0;
      if (this.told) this.#say("Answers come again: going on.", false);
    } catch (error) {
      if (error instanceof Trouble) this.#keep(rows, error.answers);
      const open = rows.filter((row) => row.state === "asked");
      if (error.kind === "row") {
        Object.assign(rows[error.row], { state: "refused", why: error.message });
        this.onRows([rows[error.row]]);
        open.splice(open.indexOf(rows[error.row]), 1);
      }
      this.left.unshift(...open);
      this.#set(open, "waiting");
      if (error.kind === "wait" || error.kind === "down") this.pause ??= this.#wait(error);
      else if (error.kind !== "row") {
        if (error instanceof Trouble) this.trouble ??= error;
        this.stop();
        throw error;
      }
    }
  }

  /** Until it may be asked again. */
  async #wait(trouble) {
    this.failures += 1;
    try {
      if (trouble.kind === "wait") {
        const seconds = trouble.seconds * (1 + 0.2 * Math.random());
        this.#say(`${sentence(trouble.message)} Asking again in ${Math.ceil(seconds)} s.`, true);
        await this.#sleep(seconds);
        return;
      }
      this.#say(
        `${sentence(trouble.message)} What was answered is kept; asking goes on when the parties are back.`, true);
      await this.#sleep(Math.min(LONGEST_WAIT_S, 2 ** (this.failures - 1)));
      while (!(await this.up(this.stopped.signal))) await this.#sleep(1);
    } finally {
      this.pause = null;
    }
  }

  #take() {
    const rows = [];
    let bytes = 0;
    while (rows.length < this.size && this.left.length) {
      bytes += this.left[0].bytes;
      if (rows.length && bytes > this.bytes) break;
      rows.push(this.left.shift());
    }
    return rows;
  }

  #keep(rows, answers) {
    const answered = rows.filter((row, place) => answers[place]);
    rows.forEach((row, place) => answers[place] && Object.assign(row, { state: "answered", answer: answers[place] }));
    if (answered.length) this.onRows(answered);
  }

  #set(rows, state) {
    for (const row of rows) row.state = state;
    this.onRows(rows);
  }

  #say(words, trouble) {
    if (words !== this.told) this.onSay(words, trouble);
    this.told = trouble ? words : "";
  }

  #changed() {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  #wake() {
    for (const resolve of this.waiting) resolve();
    this.waiting = [];
  }

  #sleep(seconds) {
    const { signal } = this.stopped;
    return new Promise((resolve, reject) => {
      const ended = () => reject(new DOMException("stopped", "AbortError"));
      if (signal.aborted) return ended();
      const timer = setTimeout(() => (signal.removeEventListener("abort", stop), resolve()), 1000 * seconds);
      const stop = () => (clearTimeout(timer), ended());
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}

/** An error's words as a sentence. */
export function sentence(words) {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
}
