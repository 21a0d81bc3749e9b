/** The tokens of the text, coloured by their loss. */

import type { App, Scene } from "./app";
import { h, reachable, signed, tableBehind, walkable } from "./dom";
import { mean } from "./measures";

const HIGHEST = 10; // nats, at which the colour is full; guessing among 8192 tokens costs 9

export function tokens(root: HTMLElement, app: App): (scene: Scene | null) => void {
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Tokens of the text" });
  const average = h("p", { class: "note" });
  walkable(chips, () => 0);
  root.append(
    h("h2", {}, "Tokens, and what each one costs"), chips,
    h("div", { class: "key", "aria-hidden": "true" },
      "loss: ", h("span", { class: "ramp" }), h("span", {}, `0 to ${HIGHEST} nats`)),
    average,
  ); // prettier-ignore
  const table = tableBehind(root, "tokens and losses");
  return (scene) => {
    if (!scene) {
      chips.replaceChildren();
      average.textContent = "";
      return;
    }
    const { tokens, position } = scene;
    const focused = [...chips.children].indexOf(document.activeElement as Element);
    chips.replaceChildren(
      ...tokens.map(({ label, loss }, i) =>
        h("button", {
          "data-walk": true, type: "button", "aria-pressed": String(i === position),
          style: `--share: ${Math.min(1, (loss ?? 0) / HIGHEST)}`,
          "aria-label": `${label}, ${loss === null ? "no loss" : `loss ${loss.toFixed(2)}`}`,
          title: loss === null ? "The first token: nothing predicts it" : `loss ${loss.toFixed(2)} nats`,
          click: () => app.set({ token: i === tokens.length - 1 ? null : i }),
          pointerenter: () => app.hover(i), focus: () => app.hover(i),
          pointerleave: () => app.hover(null), blur: () => app.hover(null),
        }, label)), // prettier-ignore
    );
    reachable(chips, focused < 0 ? position : focused);
    if (focused >= 0) (chips.children[Math.min(focused, tokens.length - 1)] as HTMLElement).focus();
    average.textContent = averages(scene);
    table(() => ({
      head: ["token", "text", "loss (nats)", ...(scene.run === scene.intact ? [] : ["without changes"])],
      rows: tokens.map(({ label, loss, before }, i) => [
        i, label, loss?.toFixed(2) ?? "", ...(scene.run === scene.intact ? [] : [before?.toFixed(2) ?? ""]),
      ]),
    })); // prettier-ignore
  };
}

/** The mean loss in words, and by how much changes move it. */
export function averages({ tokens, run, intact }: Scene): string {
  if (tokens.length < 2) return "One token has no loss: nothing comes before it.";
  const [now, before] = [mean(tokens.map(({ loss }) => loss)), mean(tokens.map(({ before }) => before))];
  const said = `Mean loss ${now.toFixed(2)} nats per token`;
  return run === intact ? `${said}.` : `${said}, ${signed(now - before)} by the changes.`;
}
