/** The ten likeliest tokens after the one that is looked at, with the changes and without them. */

import type { App, Scene } from "./app";
import { h, percent, tableBehind } from "./dom";
import { largest, logitsAt, softmax } from "./measures";

const SHOWN = 10;

export function next(root: HTMLElement, app: App): (scene: Scene) => void {
  const title = h("h2", {}, "What comes next?");
  const list = h("ol", { class: "bars" });
  const hint = h("p", { class: "note" });
  root.append(title, list, hint);
  const table = tableBehind(root, "the next token");
  return ({ tokens, position, run, intact, state }) => {
    const after = tokens[position].label;
    title.textContent = `What comes after “${after}”?`;
    const now = softmax(logitsAt(run, position));
    const before = run === intact ? now : softmax(logitsAt(intact, position));
    const best = largest(now, SHOWN);
    const actual = tokens[position + 1]?.id;
    list.replaceChildren(
      ...best.map((id) =>
        h("li", {},
          h("span", { class: "word" }, app.vocabulary.label(id), id === actual ? h("span", { class: "came" }, " ✓ came") : null),
          h("span", { class: "bar", style: `--now: ${now[id]}; --before: ${before[id]}` }),
          h("span", { class: "share" }, percent(now[id]))),
      ), // prettier-ignore
    );
    list.classList.toggle("both", run !== intact);
    const ask = state.token === null ? "Click a token to see what was expected after it." : "";
    hint.textContent = run === intact ? ask : "Thick bars: with the changes. Thin bars: without.";
    table(() => ({
      head: ["token", "probability", ...(run === intact ? [] : ["without changes"])],
      rows: best.map((id) => [
        app.vocabulary.label(id), percent(now[id]), ...(run === intact ? [] : [percent(before[id])]),
      ]),
    })); // prettier-ignore
  };
}
