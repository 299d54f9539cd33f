// Images to ask about: read in this page to be shown, and sent as they are. Their names stay here.

import { count, make, the } from "./making.js";

const SHOWN = 60;
const SIDE = 96;

export class Pictures {
  files = [];
  #previews = new Map(); // canvases by file

  /** Take these in place of those before. Ends when what is shown of them is drawn. */
  async choose(files) {
    this.files = [...files];
    this.#previews = new Map();
    const chosen = this.files;
    for (const file of chosen.slice(0, SHOWN)) {
      const drawn = await preview(file);
      if (this.files !== chosen) return; // others were chosen meanwhile
      if (drawn) this.#previews.set(file, drawn);
    }
    this.#show();
  }

  takeAway() {
    this.files = [];
    this.#previews = new Map();
    this.#show();
  }

  /** A row for each, to be asked; of more bytes than `limit` the door reads none. */
  rows(limit) {
    return this.files.map((file, place) => {
      const row = { number: place + 1, texts: [file.name], file, state: "waiting", bytes: file.size, picture: () => this.#copy(file) };
      if (!file.size) Object.assign(row, { state: "refused", why: "there is nothing in it" });
      else if (file.size > limit) Object.assign(row, { state: "refused", why: `has more than ${count(limit)} bytes` });
      return row;
    });
  }

  #show() {
    const more = this.files.length - SHOWN;
    the("previews").replaceChildren(
      ...this.files.slice(0, SHOWN).map((file) => make("li", {},
        this.#copy(file) ?? make("span", { class: "soft" }, "no preview"), make("small", { dir: "auto" }, file.name))),
      ...(more > 0 ? [make("li", { class: "soft" }, `and ${count(more)} more`)] : []));
  }

  /** A canvas with the same in it, or null. */
  #copy(file) {
    const drawn = this.#previews.get(file);
    if (!drawn) return null;
    const { width, height } = drawn, copy = make("canvas", { width, height, role: "img", "aria-label": file.name });
    copy.getContext("2d").drawImage(drawn, 0, 0);
    return copy;
  }
}

/** A small canvas with an image in it, the right way up; null where the browser cannot read it. */
async function preview(file) {
  try {
    const image = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
    const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
    const drawn = make("canvas", { width, height });
    drawn.getContext("2d").drawImage(image, 0, 0, width, height);
    image.close();
    return drawn;
  } catch {
    return null;
  }
}
