/** The view of attention heads: a map of them, and what the chosen one reads in the present text. */

import type { App, Scene } from "./app";
import { lines, readings } from "./arcs";
import { partName } from "./changes";
import { h, tableBehind, type Table } from "./dom";
import { allHeads, chosenHead, headMap, headName, inWords, kindOf, silencedBy, type Head } from "./headmap";
import { patternOf } from "./model";
import { matrix } from "./pattern";
import type { State } from "./state";

export function heads(root: HTMLElement, app: App): (scene: Scene) => void {
  const drawMap = headMap(root, app);
  const drawCard = card(root, app);
  const drawLines = lines(root, app);
  const title = h("h2", {});
  root.append(title, h("p", { class: "note" },
    "Each row is a token that reads, and each column a token that is read: the stronger the blue, the more " +
    "attention. A row sums to 1. Grey: what comes later, which no head can read.")); // prettier-ignore
  const drawPattern = matrix(root, (query) =>
    app.set({ token: app.scene && query === app.scene.tokens.length - 1 ? null : query }));
  const rowTable = tableBehind(root, "what the chosen head reads at the token that is looked at");
  const headsTable = tableBehind(root, "the three tokens that each head reads most there");
  const show = (state: State) => {
    const head = chosenHead(app, state);
    drawMap(state);
    drawCard(state, head);
    title.textContent = `Attention of ${headName(head)}${silencedBy(state, head) ? " (output off)" : ""}`;
  };
  app.onState(show);
  return (scene) => {
    const head = chosenHead(app, scene.state);
    const labels = scene.tokens.map(({ label }) => label);
    const shares = patternOf(scene.run, app.models.heads, head.layer, head.head);
    drawLines(scene, head);
    drawPattern({ name: headName(head), labels, shares, position: scene.position });
    rowTable(() => rowOf(scene, app, head));
    headsTable(() => mostRead(scene, app));
  };
}

/** The chosen head in words, with a button that switches it off and on. */
function card(root: HTMLElement, app: App): (state: State, head: Head) => void {
  const name = h("strong", {});
  const toggle = h("button", { type: "button", click: () => switchOver(app) });
  const scores = h("p", { class: "note scores" });
  root.append(h("div", { class: "controls chosen" }, name, toggle), scores);
  return (state, head) => {
    const silencing = silencedBy(state, head);
    name.textContent = `${headName(head)}: ${inWords(kindOf(app, state.model, head))}`;
    toggle.textContent = `Switch ${partName(silencing ?? headName(head))} ${silencing ? "on" : "off"}`;
    const measured = Object.entries(app.models.findings(state.model).scores).map(
      ([score, values]) => `${inWords(score)} ${values[head.layer][head.head].toFixed(2)}`,
    );
    scores.textContent = `Its attention as notebook 02 measures it (on passages; induction and duplicates on repeated tokens): ${measured.join(", ")}.`;
  };
}

/** Switch the chosen head off, or on again what keeps it off. */
function switchOver(app: App) {
  const head = chosenHead(app, app.state);
  const silencing = silencedBy(app.state, head);
  const { off } = app.state;
  app.set({ off: silencing ? off.filter((part) => part !== silencing) : [...off, headName(head)] });
}

function rowOf(scene: Scene, app: App, head: Head): Table {
  const read = readings(scene, app, [head], scene.position, false, 0);
  return {
    head: ["place", "token", "attention"],
    rows: read.map(({ key, share }) => [key, scene.tokens[key].label, share.toFixed(3)]),
  };
}

function mostRead(scene: Scene, app: App): Table {
  return {
    head: ["head", "class", "first", "second", "third"],
    rows: allHeads(app).map((head) => [
      headName(head), inWords(kindOf(app, scene.state.model, head)),
      ...readings(scene, app, [head], scene.position, false, 0).slice(0, 3)
        .map(({ key, share }) => `${scene.tokens[key].label} ${share.toFixed(2)}`),
    ]),
  }; // prettier-ignore
}
