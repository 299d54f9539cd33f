// What stands beside the answers: which parties are up, what the last answers cost, who learns what.

import { inBytes, inCount, inSeconds, make, the } from "./making.js";

/** Show what the door says of a model; `null`: the door does not answer. */
export function showBeside(model) {
  showParties(model);
  showCost(model?.last ?? null);
  if (model?.about) showLearners(model.about);
}

function showParties(model) {
  if (model === null) {
    replace("parties", null, () => [make("p", { class: "soft" }, "The door does not answer.")]);
    return;
  }
  const several = model.deployments.length > 1;
  const told = model.deployments.map(({ texts, ...deployment }) => deployment);
  replace("parties", told, () => told.flatMap((deployment) => [
    ...(several ? [make("h3", {}, deployment.cluster)] : []),
    ...(deployment.problem && !deployment.parties.some((one) => one.problem)
      ? [make("p", { class: "soft" }, deployment.problem)] : []),
    make("ul", { class: "parties" }, ...deployment.parties.map(party)),
  ]));
}

function party({ rank, address, up, problem }) {
  return make("li", {},
    make("span", { class: `state ${up ? "up" : "down"}` }, up ? "up" : "down"),
    make("b", {}, `Party ${rank}`),
    make("small", {}, up || !problem ? address : problem));
}

function showCost(last) {
  the("cost").hidden = last === null;
  if (last === null) return;
  the("cost-seconds").textContent = inSeconds(last.seconds);
  the("cost-about").textContent = last.about;
  const figures = (row) => [inBytes(row.sent_bytes), inCount(row.messages), inSeconds(row.seconds)]
    .map((text) => make("td", { class: "n" }, text));
  replace("layers-body", last.table.rows, () => last.table.rows.map((row) => {
    const block = row.block.replaceAll("_", "-");
    return make("tr", {},
      make("th", { scope: "row" }, row.layer === null ? "" : `layer ${row.layer}, `, make("span", {}, block)), ...figures(row));
  }));
  replace("layers-foot", last.table.mean_party, () => [make("th", { scope: "row" }, "one party"), ...figures(last.table.mean_party)]);
}

function showLearners({ learns, learners, learned_notes }) {
  the("who").hidden = false;
  replace("learners-head", learns, () => ["", ...learns].map((what) => make("th", { scope: "col", role: "columnheader" }, what)));
  replace("learners-body", learners, () => learners.map((one) => make("tr", { role: "row" },
    make("th", { scope: "row", role: "rowheader" }, one.who),
    ...one.learns.map((told, place) => make("td", {
      role: "cell", "data-what": learns[place],
      class: told === "yes" ? undefined : told.startsWith("nothing") ? "nothing" : "known",
    }, told)))));
  replace("learned-notes", learned_notes, () => learned_notes.map((note) => make("p", {}, note)));
}

const shown = new Map();

/** Children of an element, made of `told` if that has changed: who reads them is not disturbed by the same again. */
function replace(id, told, children) {
  const text = JSON.stringify(told);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  the(id).replaceChildren(...children());
}
