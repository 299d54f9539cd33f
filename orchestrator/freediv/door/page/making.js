// Elements, of which all words are text: nothing that is shown is ever read as markup.

/** An element with attributes and children; strings among them become text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** The element of an id. */
export const the = (id) => document.getElementById(id);

/** A count as people read it. */
export const count = (number) => number.toLocaleString("en-US");

/** `1 text`, `2 texts`. */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

// As freediv's own tables have them (monitoring/units.py).

const threeFigures = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);

/** Bytes in decimal units and three significant figures. */
export function inBytes(bytes) {
  let value = bytes, unit = "B";
  for (const larger of ["kB", "MB", "GB", "TB"]) {
    if (value < 999.5) break;
    [value, unit] = [value / 1000, larger];
  }
  return unit === "B" ? `${value.toFixed(0)} B` : `${threeFigures(value)} ${unit}`;
}

/** Seconds. */
export function inSeconds(seconds) {
  if (seconds < 0.00995) return `${(1000 * seconds).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${(1000 * seconds).toFixed(0)} ms`;
  if (seconds < 59.95) return `${threeFigures(seconds)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** A count, or a mean of counts. */
export function inCount(number) {
  const digits = number < 100 && Math.abs(number - Math.round(number)) > 0.05 ? 1 : 0;
  return number.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
