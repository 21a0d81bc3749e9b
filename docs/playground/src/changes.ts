/** The list of what is changed in the model at present, each with a button that takes it back. */

import { type App, isChanged } from "./app";
import { h, signed } from "./dom";
import type { State } from "./state";

/** A part's name in words. */
export function partName(part: string): string {
  const layer = /^(attn|mlp)(\d)$/.exec(part);
  return layer ? `${layer[1] === "attn" ? "attention" : "MLP"} of layer ${layer[2]}` : part;
}

export function changes(root: HTMLElement, app: App) {
  app.onState((state) => {
    const undo = (label: string, change: Partial<State>) =>
      h("li", {}, label, h("button", { type: "button", "aria-label": `Undo: ${label}`, click: () => app.set(change) }, "×"));
    const items = state.off.map((part) =>
      undo(`${partName(part)} off`, { off: state.off.filter((each) => each !== part) }),
    );
    if (state.cells.length && state.other) {
      const count = state.cells.length === 1 ? "1 cell" : `${state.cells.length} cells`;
      items.push(undo(`${count} from the second text`, { cells: [] }));
    }
    if (state.steer) items.push(undo(`steered: ${state.steer.replace(":", ", as long as ")} ${signed(state.dose, 1)}`, { steer: null }));
    const changed = isChanged(state);
    root.classList.toggle("changed", changed);
    const all = h("button", { type: "button", click: () => app.set({ off: [], cells: [], steer: null, map: false }) }, "Undo all");
    all.hidden = !changed;
    root.replaceChildren(
      h("strong", {}, changed ? "Changed:" : "Nothing is changed in the model."), h("ul", {}, ...items), all,
    ); // prettier-ignore
  });
}
