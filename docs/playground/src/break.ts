/** Switch parts of the model off, and see what becomes of the loss and of the answer. */

import type { App, Scene } from "./app";
import { averages } from "./tokens";
import { h, percent, reachable, say, signed, tableBehind, walkable } from "./dom";
import { largest, logitsAt, softmax } from "./measures";

const INDUCTION = 0.25; // from which score on notebook 06 counts a head as an induction head
const FULL = 4; // nats that fill a bar

export function breaking(root: HTMLElement, app: App): (scene: Scene) => void {
  const { layers, heads } = app.models;
  const parts = Array.from({ length: layers }, (_, layer) => [
    ...Array.from({ length: heads }, (_, head) => `L${layer}H${head}`), `attn${layer}`, `mlp${layer}`,
  ]); // prettier-ignore
  const buttons = new Map(parts.flat().map((part) => [part, toggle(app, part)]));
  const grid = h("div", { class: "parts", role: "group", "aria-label": "Parts of the model" },
    ...parts.flatMap((row, layer) => [h("span", {}, `layer ${layer}`), ...row.map((part) => buttons.get(part)!)]),
  ); // prettier-ignore
  walkable(grid, () => heads + 2);
  reachable(grid);
  const answer = h("p", { role: "status", class: "result" });
  const loss = h("p", { class: "result" });
  const chart = h("div", { class: "rises", "aria-hidden": "true" });
  root.append(
    h("p", {}, "Click on parts to switch them off. What stands in the place of a part that is off is the same at every token, whatever the text."),
    ways(app), grid, sets(app),
    h("h2", {}, "What it does to the answer"), answer, h("h2", {}, "What it does to the loss"), loss,
    h("p", { class: "note" }, `A bar above a token: its loss rises. Below: it falls. A full bar is ${FULL} nats.`), chart,
  ); // prettier-ignore
  const table = tableBehind(root, "change in loss, token by token");
  app.onState(({ off }) => {
    for (const [part, button] of buttons) button.setAttribute("aria-pressed", String(off.includes(part)));
  });
  return (scene) => {
    const { tokens, run, intact } = scene;
    say(answer, run === intact ? "Nothing is changed yet." : answers(app, scene));
    loss.textContent = averages(scene);
    chart.replaceChildren(...tokens.slice(1).map(({ label, loss, before }) => rise(label, loss! - before!)));
    table(() => ({
      head: ["token", "text", "without changes", "with them", "rise (nats)"],
      rows: tokens.slice(1).map(({ label, loss, before }, i) => [
        i + 1, label, before!.toFixed(2), loss!.toFixed(2), signed(loss! - before!),
      ]),
    })); // prettier-ignore
  };
}

function toggle(app: App, part: string): HTMLButtonElement {
  const flip = () => {
    const { off } = app.state;
    app.set({ off: off.includes(part) ? off.filter((each) => each !== part) : [...off, part] });
  };
  const label = part.startsWith("attn") ? "attn" : part.startsWith("mlp") ? "MLP" : part.slice(2);
  const name = `${label} of layer ${/\d/.exec(part)} off`;
  return h("button", { type: "button", "data-walk": true, "data-part": part, "aria-label": name, click: flip }, label);
}

/** What stands in the place of a part that is off. */
function ways(app: App): HTMLElement {
  const choices = {
    mean: "its mean over 32 other passages",
    zero: "zeros, which often do more harm",
  } as const;
  const inputs = Object.entries(choices).map(([by, label]) => {
    const input = h("input", { type: "radio", name: "by", value: by, change: () => app.set({ by: by as "mean" | "zero" }) });
    return { input, label: h("label", {}, input, label) };
  });
  app.onState(({ by }) => inputs.forEach(({ input }) => (input.checked = input.value === by)));
  return h("fieldset", {}, h("legend", {}, "In its place:"), ...inputs.map(({ label }) => label));
}

/** Buttons for whole sets of heads, and for a control: as many other heads of the same layers. */
function sets(app: App): HTMLElement {
  const named = (test: (layer: number, head: number) => boolean) => {
    const { layers, heads } = app.models;
    const all = Array.from({ length: layers * heads }, (_, i) => [Math.floor(i / heads), i % heads]);
    return all.filter(([layer, head]) => test(layer, head)).map(([layer, head]) => `L${layer}H${head}`);
  };
  const induction = () => {
    const scores = app.models.findings(app.state.model).scores.induction;
    return named((layer, head) => scores[layer][head] > INDUCTION);
  };
  let tested: string[] = []; // whose control was drawn last, and what was drawn
  let drawn: string[] = [];
  const others = () => {
    const off = app.state.off.filter((part) => part.startsWith("L"));
    if (off.join() !== drawn.join()) tested = off;
    drawn = Array.from({ length: app.models.layers }, (_, layer) => {
      const wanted = tested.filter((part) => part.startsWith(`L${layer}`)).length;
      return shuffled(named((each) => each === layer).filter((part) => !tested.includes(part))).slice(0, wanted);
    }).flat();
    return [...app.state.off.filter((part) => !part.startsWith("L")), ...drawn];
  };
  const control = h("button", { type: "button", click: () => app.set({ off: others() }) }, "Control: as many other heads of the same layers");
  const find = h("button", { type: "button", click: () => app.set({ off: induction() }) }, `Induction heads (score above ${INDUCTION})`);
  app.onState(({ off, model }) => {
    const most = Math.max(...Array.from({ length: app.models.layers }, (_, layer) =>
      off.filter((part) => part.startsWith(`L${layer}`)).length)); // prettier-ignore
    control.disabled = most === 0 || 2 * most > app.models.heads; // there are not as many others
    find.disabled = model === "twin"; // it has none
  });
  return h("div", { class: "controls" }, find, control);
}

function shuffled(items: string[]): string[] {
  return items.map((item) => ({ item, at: Math.random() })).sort((a, b) => a.at - b.at).map(({ item }) => item);
}

/** How the likeliest next token has changed, in a sentence. */
function answers(app: App, { tokens, position, run, intact }: Scene): string {
  const before = softmax(logitsAt(intact, position));
  const now = softmax(logitsAt(run, position));
  const [was] = largest(before, 1);
  const [is] = largest(now, 1);
  const name = (id: number) => `“${app.vocabulary.label(id)}”`;
  const fell = `After “${tokens[position].label}”, ${name(was)} had ${percent(before[was])} and now has ${percent(now[was])}`;
  return was === is ? `${fell}. It is still the likeliest.` : `${fell}. The likeliest is now ${name(is)} with ${percent(now[is])}.`;
}

/** A token, with a bar above it when its loss rises and below it when it falls. FULL nats fill the bar. */
function rise(label: string, change: number): HTMLElement {
  const bar = (size: number) => h("i", { style: `--share: ${Math.min(1, Math.max(0, size) / FULL)}` });
  return h("span", { title: `${label}: ${signed(change)} nats` }, bar(change), h("b", {}, label), bar(-change));
}
