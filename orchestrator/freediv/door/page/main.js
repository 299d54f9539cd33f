// The page: what is asked, of which model, and how far it is.

import { Asking, sentence } from "./asking.js";
import { showBeside } from "./beside.js";
import { Door, Trouble } from "./door.js";
import { count, counted, make, the } from "./making.js";
import { Pictures } from "./pictures.js";
import { Results, captionOf } from "./results.js";
import { readTable, textOf } from "./table.js";

const LOOK_S = 5;
const LARGEST_FILE = 50_000_000;
const PREFERRED = ["sentence", "text"];
const ENVELOPE = 1000; // bytes of a request beside its texts

const door = new Door();
const results = new Results();
const pictures = new Pictures();
const TABLES = the("file").accept;
const WORDS_OF_FILES = {
  "file-label": [the("file-label").textContent, "Images: PNG or JPEG"],
  "file-hint": [the("file-hint").textContent, "Choose files, or drop them here. They are sent as they are, without their names."],
};
const NOUNS = { one: ["text", "image"], many: ["texts", "images"], some: ["a text", "an image"] };
let status = null;
let reads = "texts";
let records = null; // of the file that was chosen
let rows = [];
let asking = null;
let asked = null; // of which model, and how
let began = 0, doneBefore = 0;

// --- what is behind the door ---

const model = () => status?.models.find((one) => one.name === the("model").value) ?? status?.models[0] ?? null;
const readsImages = () => reads === "images";
const noun = () => (readsImages() ? "image" : "text");
const isPairs = () => Boolean(model()?.about?.pairs);

async function look(signal) {
  status = await door.status(signal);
  showModels();
  showBeside(model());
  return status;
}

async function lookAgain() {
  try {
    if (!document.hidden && (door.token || !the("token"))) await look();
  } catch (error) {
    if (error.token) showToken(error);
    else showBeside(null);
  }
  setTimeout(lookAgain, 1000 * LOOK_S);
}

function showModels() {
  const select = the("model"), chosen = select.value;
  const names = status.models.map((one) => one.name);
  if (names.join("\n") !== [...select.options].map((one) => one.value).join("\n")) {
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    if (names.includes(chosen)) select.value = chosen;
    the("model-field").hidden = names.length < 2;
  }
  showAbout();
}

function showAbout() {
  const found = model(), about = found.about;
  if (about) reads = about.reads;
  the("about").textContent = about
    ? `${found.name} answers ${about.kind_in_words}; you are given ${about.given}. It reads ${whatItReads(about)}.`
    : `${found.name} cannot be asked now: ${found.deployments.map((one) => one.problem).filter(Boolean).join("; ") || "its parties do not answer"}.`;
  the("texts-label").textContent = isPairs() ? "Pairs, one a line, with a tab or | between the two texts" : "Texts, one a line";
  the("second-field").hidden = !isPairs();
  the("first-label").textContent = isPairs() ? "Column of the first texts" : "Column of the texts";
  showKind();
}

function whatItReads({ max_input_length: longest, pairs, image_size: size }) {
  return size ? `images, which are brought to ${size.width} by ${size.height} pixels`
    : `up to ${longest} word pieces of ${pairs ? "a pair of texts" : "a text"}`;
}

/** Have the form, and what it says, be for what the model reads. */
function showKind() {
  const images = readsImages();
  for (const [id, [text, image]] of Object.entries(WORDS_OF_FILES)) the(id).textContent = images ? image : text;
  for (const [kind, [text, image]] of Object.entries(NOUNS))
    for (const one of document.querySelectorAll(`[data-${kind}]`)) one.textContent = images ? image : text;
  Object.assign(the("file"), { multiple: images, accept: images ? "image/png,image/jpeg" : TABLES });
  the("text-field").hidden = images || records !== null;
  the("table").hidden = images || records === null;
  the("pictures").hidden = !images || !pictures.files.length;
  the("truncate-field").hidden = images;
}

function showToken(error) {
  say(error ? sentence(error.message) : "", Boolean(error));
  the("token").focus();
}

// --- files ---

async function choose(files) {
  if (!files.length) return;
  if (!readsImages()) return chooseTable(files[0]);
  say("");
  the("pictures-name").textContent = counted(files.length, "image");
  await pictures.choose(files);
  showKind();
}

async function chooseTable(file) {
  say("");
  try {
    if (file.size > LARGEST_FILE) throw new Error(`it has more than ${LARGEST_FILE / 1e6} MB; give a part of it`);
    const text = await textOf(file);
    records = /\.txt$/i.test(file.name)
      ? linesOf(text).map((line) => [line]) : readTable(text, { literal: /\.tsv$/i.test(file.name) });
    if (!records.length) throw new Error("there is nothing in it");
    the("named").checked = !/\.txt$/i.test(file.name);
    the("table-name").textContent = file.name;
    showTable(true);
    showKind();
  } catch (error) {
    takeAway();
    say(`${file.name}: ${error.message}.`, true);
  }
}

function takeAway() {
  records = null;
  pictures.takeAway();
  the("file").value = "";
  showKind();
}

function namesOfColumns() {
  const width = records.reduce((most, record) => Math.max(most, record.length), 0);
  const named = the("named").checked ? records[0] : [];
  return Array.from({ length: width }, (_, place) => named[place]?.trim() || `column ${place + 1}`);
}

function showTable(anew) {
  const names = namesOfColumns();
  const likely = names.findIndex((name) => PREFERRED.includes(name.toLowerCase()));
  [the("first"), the("second")].forEach((select, place) => {
    const chosen = anew ? Math.max(0, likely) + place : Number(select.value);
    select.replaceChildren(...names.map((name, column) => make("option", { value: column }, name)));
    select.value = String(Math.min(chosen, names.length - 1));
  });
  showExample();
}

function showExample() {
  const texts = ofTable();
  const first = texts.find((parts) => parts.some((part) => part.trim()));
  the("example").textContent =
    `${counted(texts.length, "row")}${first ? `, the first: ${first.join(" | ").slice(0, 200)}` : ""}`;
}

const columnsChosen = () => (isPairs() ? ["first", "second"] : ["first"]).map((id) => Number(the(id).value));

const ofTable = () => (the("named").checked ? records.slice(1) : records)
  .map((record) => columnsChosen().map((column) => record[column] ?? ""));

// --- texts ---

const linesOf = (text) => text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/).map((line) => line.trim()).filter(Boolean);

function ofField() {
  const lines = linesOf(the("texts").value);
  if (!isPairs()) return lines.map((line) => [line]);
  return lines.map((line) => {
    const at = line.includes("\t") ? line.indexOf("\t") : line.indexOf("|");
    return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
}

function rowsOf(texts) {
  const encoder = new TextEncoder(), { max_characters: most, payload_limit: limit } = status.limits;
  return texts.map((parts, place) => {
    const row = { number: place + 1, texts: parts, state: "waiting", bytes: encoder.encode(JSON.stringify(parts)).length + 1 };
    if (parts.every((part) => !part.trim())) row.state = "empty";
    else if (parts.some((part) => !part.trim())) Object.assign(row, { state: "refused", why: "one of the two texts is missing" });
    else if ([...parts.join("")].length > most || row.bytes > limit - ENVELOPE)
      Object.assign(row, { state: "refused", why: `has more than ${count(most)} characters` });
    return row;
  });
}

// --- asking ---

async function begin() {
  if (!status) {
    try {
      await look();
    } catch (error) {
      return error.token ? showToken(error) : say(`${sentence(error.message)} Try again when it does.`, true);
    }
  }
  const found = rowsToAsk();
  if (!found.length) return sayNothing();
  const { name, about } = model();
  if (!about) return say(`${the("about").textContent} Try again when its parties are back.`, true);
  if (about.output === "order" && found.length > about.max_batch)
    return say(`The parties tell the order of up to ${about.max_batch} texts at a time; these are ${count(found.length)}.`, true);
  rows = found;
  const size = readsImages() ? 1 : Math.min(status.limits.max_client_batch_size, about.max_batch);
  asked = { name, truncate: the("truncate").checked, size, noun: noun() };
  const columns = readsImages() ? ["Image"] : records ? columnsChosen().map((column) => namesOfColumns()[column]) : about.pairs ? ["First text", "Second text"] : ["Text"];
  results.show(rows, columns, about.labels, captionOf(name, rows.length));
  await go();
}

const rowsToAsk = () => (readsImages() ? pictures.rows(status.limits.image_limit) : rowsOf(records ? ofTable() : ofField()));

function sayNothing() {
  say(`There is nothing to ask yet: ${readsImages() ? "choose an image" : "type a text, or choose a table"}.`, true);
  the(readsImages() ? "file" : "texts").focus();
}

async function go() {
  const { name, truncate, size } = asked;
  asking = new Asking({
    rows, size,
    bytes: status.limits.payload_limit - ENVELOPE,
    ask: (some, signal) => (some[0].file ? door.answerTo(name, some[0].file, signal)
      : door.answers(name, some.map((row) => row.texts), truncate, signal)),
    up: async (signal) => {
      try {
        return Boolean((await look(signal)).models.find((one) => one.name === name)?.up);
      } catch (error) {
        if (!(error instanceof Trouble) || error.kind !== "down") throw error;
        showBeside(null);
        return false;
      }
    },
    onRows: (changed) => (results.changed(changed), showProgress()),
    onSay: say,
  });
  [began, doneBefore] = [performance.now(), done()];
  showRunning(true);
  say(`Asking ${counted(rows.filter((row) => row.state === "waiting").length, asked.noun)} …`);
  try {
    await asking.run();
    say(summary());
  } catch (error) {
    const kept = `${count(done())} of ${count(rows.length)} rows are done; the others can still be asked.`;
    if (error.name === "AbortError") say(`Stopped. ${kept}`);
    else if (error instanceof Trouble) say(`${sentence(error.message)} ${kept}`, true);
    else throw error;
    if (error.token) the("token")?.focus();
  } finally {
    asking = null;
    showRunning(false);
    look().catch(() => showBeside(null));
  }
}

const done = () => rows.filter((row) => row.state !== "waiting" && row.state !== "asked").length;

function summary() {
  const states = (state) => rows.filter((row) => row.state === state).length;
  const without = rows.filter((row) => row.state === "answered" && !row.answer.answered).length;
  const parts = [
    `${counted(states("answered"), asked.noun)} answered in ${Math.max(1, Math.round((performance.now() - began) / 1000))} s`,
    without && `${count(without)} without an answer: the model could be wrong about them`,
    states("refused") && `${count(states("refused"))} not asked: see there`,
    states("empty") && `${count(states("empty"))} without a text`,
  ];
  return `${parts.filter(Boolean).join("; ") || "its parties do not answer"}.`;
}

function showRunning(running) {
  const ofButtons = ["ask", "go-on", "stop"].includes(document.activeElement?.id);
  the("under-way").hidden = !running;
  the("stop").hidden = !running;
  the("ask").hidden = running;
  the("go-on").hidden = running || !rows.some((row) => row.state === "waiting");
  the("ask").classList.toggle("primary", the("go-on").hidden);
  if (ofButtons) the(running ? "stop" : the("go-on").hidden ? "ask" : "go-on").focus(); // where it was is hidden now
  showProgress();
}

let due = false;

function showProgress() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const now = done(), left = rows.length - now;
    the("progress").max = rows.length;
    the("progress").value = now;
    const seconds = (performance.now() - began) / 1000, pace = (now - doneBefore) / seconds;
    const rest = pace > 0 && seconds > 3 && left ? `, about ${Math.ceil(left / pace)} s left` : "";
    the("count").textContent = `${count(now)} of ${counted(rows.length, "row")} done${rest}`;
  });
}

function say(words, trouble = false) {
  the("said").classList.toggle("trouble", trouble);
  the("said").textContent = words;
}

// --- hands ---

the("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!asking) begin();
});
the("stop").addEventListener("click", () => asking?.stop());
the("go-on").addEventListener("click", go);
the("model").addEventListener("change", () => (showAbout(), showBeside(model()), records && showExample()));
the("file").addEventListener("change", () => choose(the("file").files));
for (const id of ["away", "pictures-away"]) the(id).addEventListener("click", () => (takeAway(), the("file").focus()));
the("named").addEventListener("change", () => showTable(false));
for (const id of ["first", "second"]) the(id).addEventListener("change", showExample);
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    the("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") choose(event.dataTransfer.files);
  });
if (the("token")) {
  const enter = () => {
    door.token = the("token").value.trim();
    say("");
    look().catch((error) => (error.token ? showToken(error) : say(sentence(error.message), true)));
  };
  the("enter").addEventListener("click", enter);
  the("token").addEventListener("change", enter);
  the("about").textContent = "Enter the token first.";
}
lookAgain();
