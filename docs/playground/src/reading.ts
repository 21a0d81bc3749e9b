/** The text that the model reads, and the model writing on. */

import type { App, Scene } from "./app";
import { h } from "./dom";
import { drawn, largest, logitsAt, softmax } from "./measures";

export function reading(root: HTMLElement, app: App): (scene: Scene | null) => void {
  const input = h("textarea", { id: "text", rows: 2, spellcheck: "false", input: () => app.set({ text: input.value, token: null }) });
  const note = h("p", { class: "note", role: "status" });
  root.append(h("label", { for: "text" }, "Your text"), input, writing(app), note);
  app.onState(({ text }) => {
    if (input.value !== text.replaceAll(/\r\n?/g, "\n")) input.value = text; // a text area has no \r
  });
  return (scene) => {
    const { context } = app.models;
    if (!scene) note.textContent = "Type a word, and the model reads it.";
    else note.textContent = scene.cut ? `The model reads ${context} tokens: the first ${scene.cut} are left out.` : "";
  };
}

/** Buttons with which the model writes on, token by token, so that each new one can be watched. */
function writing(app: App): HTMLElement {
  let turn: Promise<unknown> = Promise.resolve(); // until what was asked for is written
  let going: object | null = null; // writing on; whoever begins again is another one
  let own = false; // whether it is the model that changes the text
  let before = app.state.text;
  const one = h("button", { type: "button", click: () => void step() }, "Write one token");
  const on = h("button", { type: "button", click: () => (going ? stop() : void goOn()) }, "Write on");
  const shown = h("output", { for: "temperature" }, "0");
  const temperature = h("input", {
    id: "temperature", type: "range", min: 0, max: 2, step: 0.1, value: 0,
    input: () => (shown.textContent = Number(temperature.value).toFixed(1).replace(/^0\.0$/, "0")),
  }); // prettier-ignore

  const full = () => app.tokens(app.state).length >= app.models.context;
  const step = (wanted = () => true) => (turn = turn.then(() => write(wanted))); // two clicks write two tokens

  async function write(wanted: () => boolean) {
    await app.settled();
    const { scene } = app;
    if (!scene || full() || !wanted()) return;
    const logits = logitsAt(scene.run, scene.tokens.length - 1);
    const heat = Number(temperature.value);
    own = true;
    app.append(heat ? drawn(softmax(logits, heat), Math.random()) : largest(logits, 1)[0]);
    own = false;
    await app.settled();
  }

  async function goOn() {
    const mine = (going = {});
    on.textContent = "Stop";
    while (going === mine) {
      await step(() => going === mine);
      await new Promise((resolve) => setTimeout(resolve, 60)); // slow enough to be watched
    }
  }

  function stop() {
    going = null;
    on.textContent = "Write on";
  }

  app.onState(({ text }) => {
    const ended = !text || full();
    if (going && (ended || (text !== before && !own))) stop(); // the reader types, or has opened another text
    before = text;
    if (ended && [one, on].includes(document.activeElement as HTMLButtonElement)) document.getElementById("text")!.focus();
    one.disabled = on.disabled = ended;
  });
  const heat = h("span", {}, h("label", { for: "temperature" }, "temperature"), temperature, shown);
  return h("div", { class: "writing" }, one, on, heat);
}
