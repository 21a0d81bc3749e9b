/** The list of what is changed in the model at present, each with a button that takes it back. */

import { type App, isChanged } from "./app";
import { h, signed } from "./dom";
import { RANDOM } from "./model";
import type { State } from "./state";

/** A part's name in words. */
export function partName(part: string): string {
  const layer = /^(attn|mlp)(\d)$/.exec(part);
  return layer ? `${layer[1] === "attn" ? "attention" : "MLP"} of layer ${layer[2]}` : part;
}

export function changes(root: HTMLElement, app: App) {
  let shown = ""; // what is listed: it is read out, and so made anew only where it is another list
  app.onState((state) => {
    const { off, cells, other, steer, dose, model } = state;
    const listed = JSON.stringify([model, off, cells.length, other !== "", steer, dose]);
    if (listed === shown) return;
    shown = listed;
    const focused = root.contains(document.activeElement);
    const undo = (label: string, change: Partial<State>) =>
      h("li", {}, label, h("button", { type: "button", "aria-label": `Undo: ${label}`, click: () => app.set(change) }, "×"));
    const items = off.map((part) =>
      undo(`${partName(part)} off`, { off: off.filter((each) => each !== part) }),
    );
    if (cells.length && other) {
      const count = cells.length === 1 ? "1 cell" : `${cells.length} cells`;
      items.push(undo(`${count} from the second text`, { cells: [] }));
    }
    const [random, direction] = steer?.startsWith(RANDOM)
      ? [", a random direction as long as", steer.slice(RANDOM.length)] : [":", steer]; // prettier-ignore
    if (steer) items.push(undo(`steered${random} ${direction}, dose ${signed(dose, 1)}`, { steer: null }));
    const changed = isChanged(state);
    root.classList.toggle("changed", changed);
    const all = h("button", { type: "button", click: () => app.set({ off: [], cells: [], steer: null, map: false }) }, "Undo all");
    all.hidden = !changed;
    root.replaceChildren(
      h("strong", {}, changed ? "Changed:" : `Nothing is changed in ${model === "twin" ? "the untrained twin" : "the model"}.`), h("ul", {}, ...items), all,
    ); // prettier-ignore
    if (focused) (changed ? all : document.getElementById("text")!).focus(); // the button that was pressed is gone
  });
}
