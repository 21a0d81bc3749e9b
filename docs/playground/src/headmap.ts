/** The heads of the model by name, and a map of them coloured by their classes in notebook 02. */

import type { App } from "./app";
import type { ModelName } from "./course";
import { h, reachable, walkable } from "./dom";
import type { Part, State } from "./state";

export interface Head {
  layer: number;
  head: number;
}

export function headName({ layer, head }: Head): Part {
  return `L${layer}H${head}`;
}

export function headOf(name: Part): Head {
  return { layer: Number(name[1]), head: Number(name[3]) };
}

/** All heads, layer by layer. */
export function allHeads({ models }: App): Head[] {
  return Array.from({ length: models.layers * models.heads }, (_, i) => ({
    layer: Math.floor(i / models.heads), head: i % models.heads,
  })); // prettier-ignore
}

export function kindOf(app: App, model: ModelName, { layer, head }: Head): string {
  return app.models.findings(model).classes[layer][head];
}

export function inWords(kind: string): string {
  return kind.replaceAll("_", " ");
}

/** The head that is chosen. Until a reader chooses one, it is storybook's strongest induction head. */
export function chosenHead(app: App, { head }: State): Head {
  if (head) return headOf(head);
  const { induction } = app.models.findings("storybook").scores;
  const score = (each: Head) => induction[each.layer][each.head];
  return allHeads(app).reduce((best, each) => (score(each) > score(best) ? each : best));
}

/** The part that is switched off and silences a head: the head itself, or the whole attention of its layer. */
export function silencedBy({ off }: State, head: Head): Part | null {
  return off.find((part) => part === headName(head) || part === `attn${head.layer}`) ?? null;
}

/** Two letters for a class, since colour alone would not tell classes apart. Most heads are diffuse: a dot. */
function sign(kind: string): string {
  return kind === "diffuse" ? "·" : kind.slice(0, 2);
}

/** Layers from above to below and heads from left to right. Returns what draws a state. */
export function headMap(root: HTMLElement, app: App): (state: State) => void {
  const { heads } = app.models;
  const buttons = allHeads(app).map((head) =>
    h("button", { type: "button", "data-walk": true, click: () => app.set({ head: headName(head) }) }));
  const grid = h("div", { class: "headmap", role: "group", "aria-label": "Heads, a row for each layer" });
  grid.append(corner(), ...Array.from({ length: heads }, (_, i) => axis(`H${i}`)));
  buttons.forEach((button, i) => {
    if (i % heads === 0) grid.append(axis(`L${i / heads}`));
    grid.append(button);
  });
  walkable(grid, () => heads);
  root.append(h("div", { class: "mapped" }, grid, legend(app)));
  return (state) => {
    const chosen = headName(chosenHead(app, state));
    allHeads(app).forEach((head, i) => {
      const kind = kindOf(app, state.model, head);
      const off = silencedBy(state, head) !== null;
      const said = `${headName(head)}, ${inWords(kind)}${off ? ", off" : ""}`;
      const button = buttons[i];
      Object.assign(button.dataset, { kind, off, sign: sign(kind) });
      button.title = said;
      button.setAttribute("aria-label", said);
      button.setAttribute("aria-pressed", String(headName(head) === chosen));
    });
    const pressed = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");
    if (!grid.contains(document.activeElement)) reachable(grid, pressed);
  };
}

function corner(): HTMLElement {
  return h("span", { "aria-hidden": "true" });
}

function axis(label: string): HTMLElement {
  return h("span", { class: "axis", "aria-hidden": "true" }, label);
}

function legend(app: App): HTMLElement {
  const entry = (swatch: HTMLElement, name: string) => h("li", {}, swatch, name);
  return h("ul", { class: "kinds", "aria-label": "Classes of heads" },
    ...app.models.course.kinds.map((kind) =>
      entry(h("span", { class: "swatch", "data-kind": kind, "aria-hidden": "true" }, sign(kind)), inWords(kind))),
    entry(h("span", { class: "swatch", "data-off": "true", "aria-hidden": "true" }), "switched off"),
  ); // prettier-ignore
}
