/** The text, its tokens coloured by their loss, and the model writing on. */

import type { App, Scene } from "./app";
import { h, reachable, signed, tableBehind, walkable } from "./dom";
import { drawn, largest, logitsAt, softmax } from "./measures";

const HIGHEST = 10; // nats, at which the colour is full; guessing among 8192 tokens costs 9

export function tokens(root: HTMLElement, app: App): (scene: Scene | null) => void {
  const input = h("textarea", { id: "text", rows: 3, spellcheck: "false", input: () => app.set({ text: input.value, token: null }) });
  const note = h("p", { class: "note", role: "status" });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Tokens of the text" });
  const average = h("p", { class: "note" });
  walkable(chips, () => 0);
  root.append(
    h("label", { for: "text" }, "Your text"), input, writing(app), note, h("h2", {}, "Tokens, and what each one costs"), chips,
    h("div", { class: "key", "aria-hidden": "true" },
      "loss: ", h("span", { class: "ramp" }), h("span", {}, `0 to ${HIGHEST} nats`)),
    average,
  ); // prettier-ignore
  const table = tableBehind(root, "tokens and losses");
  app.onState(({ text }) => {
    if (input.value !== text) input.value = text;
  });
  return (scene) => {
    if (!scene) {
      chips.replaceChildren();
      note.textContent = "Type a word, and the model reads it.";
      average.textContent = "";
      return;
    }
    const { tokens, position, cut } = scene;
    note.textContent = cut
      ? `The model reads ${app.models.context} tokens at most, so the first ${cut} of the text are left out.`
      : "";
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
  const mean = (key: "loss" | "before") => tokens.slice(1).reduce((sum, token) => sum + token[key]!, 0) / (tokens.length - 1);
  const said = `Mean loss ${mean("loss").toFixed(2)} nats per token`;
  return run === intact ? `${said}.` : `${said}; ${signed(mean("loss") - mean("before"))} by the changes.`;
}

/** Buttons with which the model writes on, token by token, so that each new one can be watched. */
function writing(app: App): HTMLElement {
  let going = false;
  const one = h("button", { type: "button", click: () => void step() }, "Write one token");
  const on = h("button", { type: "button", click: () => void toggle() }, "Write on");
  const shown = h("output", { for: "temperature" }, "0");
  const temperature = h("input", {
    id: "temperature", type: "range", min: 0, max: 2, step: 0.1, value: 0,
    input: () => (shown.textContent = Number(temperature.value).toFixed(1).replace(/^0\.0$/, "0")),
  }); // prettier-ignore

  const full = () => app.tokens(app.state.text).length >= app.models.context;

  async function step() {
    await app.settled();
    const { scene } = app;
    if (!scene || full()) return;
    const logits = logitsAt(scene.run, scene.tokens.length - 1);
    const heat = Number(temperature.value);
    app.append(heat ? drawn(softmax(logits, heat), Math.random()) : largest(logits, 1)[0]);
    await app.settled();
  }

  async function toggle() {
    going = !going;
    on.textContent = going ? "Stop" : "Write on";
    while (going && app.scene && !full()) {
      await step();
      await new Promise((resolve) => setTimeout(resolve, 60)); // slow enough to be watched
    }
    going = false;
    on.textContent = "Write on";
  }

  app.onState(({ text }) => {
    const stopped = !text || full();
    one.disabled = stopped;
    on.disabled = stopped && !going;
  });
  return h("div", { class: "writing" }, one, on, h("label", { for: "temperature" }, "temperature"), temperature, shown);
}
