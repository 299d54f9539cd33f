// The table of answers: a page of rows at a time, whichever are wanted of them, and all of them as files.

import { count, counted, make, the } from "./making.js";
import { writeTable } from "./table.js";

const ROWS = 100;
const FILTERS = 12;
const SCORES = 3;
const WORDS = { waiting: "waiting", asked: "asked …", empty: "no text" };

export class Results {
  #rows = [];
  #columns = [];
  #labels = [];
  #filter = null;
  #page = 0;
  #shown = new Map();
  #due = false;

  constructor() {
    the("previous").addEventListener("click", () => this.#turn(-1));
    the("next").addEventListener("click", () => this.#turn(1));
    the("as-csv").addEventListener("click", () => save("answers.csv", "text/csv", this.csv()));
    the("as-json").addEventListener("click", () => save("answers.json", "application/json", this.json()));
  }

  /** Show rows whose texts came from columns of these names; `labels` are the model's. */
  show(rows, columns, labels, caption) {
    [this.#rows, this.#columns, this.#labels] = [rows, columns, labels];
    [this.#filter, this.#page] = [null, 0];
    the("answers-caption").textContent = caption;
    the("answers-head").replaceChildren(
      make("th", { scope: "col", class: "number" }, "Row"),
      ...columns.map((name) => make("th", { scope: "col", dir: "auto" }, name)),
      make("th", { scope: "col", class: "answer" }, "Answer"),
    );
    the("results").hidden = false;
    this.#render();
  }

  /** These have changed; shown at the next frame. */
  changed(rows) {
    for (const row of rows) if (this.#shown.has(row)) this.#shown.set(row, null);
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (this.#filter === null) this.#refresh();
      else this.#render();
    });
  }

  #turn(pages) {
    this.#page += pages;
    this.#render();
    the("results-heading").focus();
  }

  #wanted() {
    return this.#filter === null ? this.#rows : this.#rows.filter((row) => kinds(row).includes(this.#filter));
  }

  #render() {
    const rows = this.#wanted();
    const pages = Math.max(1, Math.ceil(rows.length / ROWS));
    this.#page = Math.min(Math.max(0, this.#page), pages - 1);
    const first = this.#page * ROWS;
    this.#shown = new Map(rows.slice(first, first + ROWS).map((row) => [row, null]));
    the("answers-body").replaceChildren();
    this.#refresh();
    the("pages").hidden = pages === 1;
    the("previous").disabled = this.#page === 0;
    the("next").disabled = this.#page === pages - 1;
    the("place").textContent = rows.length
      ? `${count(first + 1)} to ${count(Math.min(first + ROWS, rows.length))} of ${count(rows.length)}` : "no rows";
  }

  /** Make anew what changed of what is shown. */
  #refresh() {
    const body = the("answers-body");
    let place = 0;
    for (const [row, element] of this.#shown) {
      if (element === null) {
        const made = this.#element(row);
        if (body.children[place]) body.children[place].replaceWith(made);
        else body.append(made);
        this.#shown.set(row, made);
      }
      place += 1;
    }
    this.#renderFilters();
  }

  #element(row) {
    return make(
      "tr", {},
      make("th", { scope: "row", class: "number" }, count(row.number)),
      ...this.#columns.map((_, part) => make("td", { class: "text", dir: "auto" }, row.picture?.(), ...textOf(row, part))),
      this.#answer(row),
    );
  }

  #answer(row) {
    if (row.state === "refused") return make("td", { class: "refused" }, `not asked: ${row.why}`);
    if (row.state !== "answered") return make("td", { class: row.state === "empty" ? "nothing" : "waiting" }, WORDS[row.state]);
    const { answer, answered, scores, entry } = row.answer;
    if (!answered) return make("td", { class: "nothing" }, answer);
    const cell = make("td", {});
    const named = namesOf(row.answer);
    if (named.length && !entry.spans)
      cell.append(...named.flatMap((name, place) => [...(place ? [make("br")] : []), this.#label(name)]));
    else cell.append(make("span", { dir: "auto" }, answer));
    if (scores)
      cell.append(make("span", { class: "scores" }, ...(scores.length < 3 ? [percent(scores[0].score)]
        : scores.slice(0, SCORES).map((one) => make("bdi", {}, `${one.label} ${percent(one.score)}`)))));
    return cell;
  }

  #label(name) {
    return make("bdi", { class: `label s${this.#labels.indexOf(name) % 6}` }, name);
  }

  #renderFilters() {
    const counts = new Map();
    for (const row of this.#rows) for (const kind of kinds(row)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const found = [...counts].sort((one, other) => other[1] - one[1]).slice(0, FILTERS);
    const wanted = [[null, this.#rows.length], ...found];
    const group = the("filters");
    wanted.forEach(([kind, number], place) => {
      const button = group.children[place] ?? group.appendChild(this.#filterButton());
      if (button.kind !== kind || button.children.length === 0) {
        button.kind = kind;
        button.replaceChildren(make("bdi", {}, kind === null ? "all" : kind.slice(1)), " ", make("span"));
      }
      button.lastChild.textContent = count(number);
      button.setAttribute("aria-pressed", String(this.#filter === kind));
    });
    while (group.children.length > wanted.length) group.lastChild.remove();
  }

  #filterButton() {
    const button = make("button", { type: "button" });
    button.addEventListener("click", () => {
      [this.#filter, this.#page] = [button.kind, 0];
      this.#render();
    });
    return button;
  }

  /** As `freediv infer --json` has it. */
  json() {
    const predictions = this.#rows.map((row) => {
      const given = row.file ? { image: row.texts[0] } : { text: row.texts.length === 1 ? row.texts[0] : row.texts };
      if (row.state === "answered") return { ...given, ...row.answer.entry };
      return { ...given, problem: row.state === "refused" ? row.why : WORDS[row.state].replace(" …", "") };
    });
    return `${JSON.stringify({ predictions }, null, 2)}\n`;
  }

  /** A row for each, with the score of every label, or the numbers of a vector, where there are such. */
  csv() {
    const answered = this.#rows.filter((row) => row.state === "answered");
    const scored = answered.some((row) => row.answer.scores) ? this.#labels : [];
    const numbers = Math.max(0, ...answered.map((row) => row.answer.entry.vector?.length ?? 0));
    const records = this.#rows.map((row) => {
      const { answer = "", scores, entry = {} } = row.answer ?? {};
      const told = row.state === "answered" ? answer : row.state === "refused" ? `not asked: ${row.why}` : WORDS[row.state];
      const byLabel = new Map((scores ?? []).map((one) => [one.label, one.score]));
      return [
        row.number, ...this.#columns.map((_, part) => row.texts[part] ?? ""),
        typeof entry.score === "number" ? entry.score : told,
        ...scored.map((label) => byLabel.get(label) ?? ""),
        ...Array.from({ length: numbers }, (_, place) => entry.vector?.[place] ?? ""),
      ];
    });
    const numbered = Array.from({ length: numbers }, (_, place) => place + 1);
    return writeTable([["Row", ...this.#columns, "Answer", ...scored, ...numbered], ...records]);
  }
}

/** The names of labels in an answer. */
function namesOf({ answer, answered, entry }) {
  if (!answered) return [];
  if (entry.spans) return [...new Set(entry.spans.map((span) => span.label))];
  if (Array.isArray(entry.labels)) return entry.labels.length ? entry.labels : [answer];
  return "label" in entry ? [entry.label] : [];
}

/** What a row counts as; a first character keeps labels apart from states of the same name. */
function kinds(row) {
  if (row.state !== "answered") return [row.state === "asked" ? "!waiting" : row.state === "refused" ? "!not asked" : `!${WORDS[row.state]}`];
  if (!row.answer.answered) return [`!${row.answer.answer}`];
  const names = namesOf(row.answer);
  return names.length ? names.map((name) => `=${name}`) : ["!answered"];
}

/** A row's text, with its spans marked. Their places count characters, of which some take two of JavaScript's. */
function textOf(row, part) {
  const text = row.texts[part] ?? "";
  const spans = (row.answer?.entry.spans ?? []).filter((span) => span.text === part);
  if (!spans.length) return [text];
  const characters = [...text];
  const pieces = [];
  let at = 0;
  for (const span of spans) {
    pieces.push(characters.slice(at, span.start).join(""));
    pieces.push(make("mark", {}, characters.slice(span.start, span.end).join(""), make("small", {}, span.label)));
    at = span.end;
  }
  return [...pieces, characters.slice(at).join("")];
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** What a table of answers is called. */
export const captionOf = (model, rows) => `${counted(rows, "row")}, answered by ${model}`;
