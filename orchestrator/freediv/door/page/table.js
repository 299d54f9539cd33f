// Tables as text: CSV as RFC 4180 has it, with another separator where the first line has one; TSV files literally.

const SEPARATORS = ["\t", ",", ";"];

/** What stands between cells: whichever the first line, outside of quotes, has most of. "" if it has none of them. */
export function separatorOf(text) {
  const counts = new Map(SEPARATORS.map((one) => [one, 0]));
  let quoted = false;
  for (const character of text) {
    if (character === '"') quoted = !quoted;
    else if (!quoted && (character === "\n" || character === "\r")) break;
    else if (!quoted && counts.has(character)) counts.set(character, counts.get(character) + 1);
  }
  const most = Math.max(...counts.values());
  return most === 0 ? "" : SEPARATORS.find((one) => counts.get(one) === most);
}

/**
 * The records of a table, each a list of cells; blank lines are none. Where `literal`, quotes mean nothing.
 * Throws an Error that says in which line what is wrong.
 */
export function readTable(text, { literal = false } = {}) {
  if (text.startsWith("\ufeff")) text = text.slice(1);
  const separator = literal ? "\t" : separatorOf(text);
  const records = [];
  let record = [], at = 0, line = 1;
  const end = () => {
    if (record.length > 1 || record[0] !== "") records.push(record);
    record = [];
  };
  while (at < text.length) {
    let cell;
    if (!literal && text[at] === '"') {
      const begun = line;
      cell = "";
      for (at += 1; ; ) {
        const close = text.indexOf('"', at);
        if (close < 0) throw new Error(`line ${begun}: a quote is not closed`);
        cell += text.slice(at, close);
        at = close + 1;
        if (text[at] !== '"') break;
        cell += '"';
        at += 1;
      }
      line += cell.split("\n").length - 1;
      if (at < text.length && text[at] !== separator && text[at] !== "\n" && text[at] !== "\r")
        throw new Error(`line ${line}: something follows a closing quote; is a quote within a cell not doubled?`);
    } else {
      let stop = at;
      while (stop < text.length && text[stop] !== separator && text[stop] !== "\n" && text[stop] !== "\r") stop += 1;
      cell = text.slice(at, stop);
      at = stop;
    }
    record.push(cell);
    if (at >= text.length) break;
    if (text[at] === separator) {
      at += 1;
      if (at < text.length) continue;
      record.push("");
      break;
    }
    if (text[at] === "\r" && text[at + 1] === "\n") at += 1;
    at += 1;
    line += 1;
    end();
  }
  if (record.length) end();
  return records;
}

/** A cell that no spreadsheet takes for a formula; numbers stay numbers. */
export function safeCell(value) {
  if (typeof value === "number") return String(value);
  const text = String(value ?? "");
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

/** Records as CSV, with the mark by which spreadsheets know UTF-8. */
export function writeTable(records) {
  const quoted = (text) => (/[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return `\ufeff${records.map((cells) => cells.map((cell) => quoted(safeCell(cell))).join(",")).join("\r\n")}\r\n`;
}

/** The text of a file, UTF-8 unless it begins as UTF-16. Throws an Error that says what it is not. */
export async function textOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const utf16 = { 0xfffe: "utf-16le", 0xfeff: "utf-16be" }[(bytes[0] << 8) | bytes[1]];
  try {
    const text = new TextDecoder(utf16 ?? "utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // said below
  }
  throw new Error("it is not UTF-8 text; save it as UTF-8");
}
