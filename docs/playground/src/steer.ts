/** Push the residual stream in a direction, and see what the model would write, and at what cost. */

import type { App, Scene } from "./app";
import { averages } from "./tokens";
import { h, percent, say, signed } from "./dom";
import { drawn, logitsAt, softmax } from "./measures";
import { RANDOM, type Changes } from "./model";

const LENGTH = 30; // tokens that both models write
const HEAT = 0.8; // the temperature at which they do

/** What the words of each group are, as notebook 09 counts them. */
const COUNTS: Record<string, string> = {
  question: "of the full stops, commas, exclamation and question marks, question marks have",
  "past tense": "of some verbs in the past and the present tense, those in the past have",
  "first person": "of all words like my or his, those of the first person have",
  glad: "of some glad and some sorry words, the glad ones have",
  sea: "of some words of the sea and of the land, those of the sea have",
};

export function steer(root: HTMLElement, app: App): (scene: Scene) => void {
  const names = Object.keys(app.models.course.groups);
  const shown = h("output", { for: "dose" });
  const dose = h("input", {
    id: "dose", type: "range", min: -4, max: 4, step: 0.5, input: () => app.set({ dose: Number(dose.value) }),
  }); // prettier-ignore
  const random = h("input", { type: "checkbox", id: "random", change: () => choose(base(app.state.steer)) });
  const choose = (name: string | null) => app.set({ steer: name && (random.checked ? RANDOM : "") + name });
  const radios = [null, ...names].map((name) => {
    const input = h("input", { type: "radio", name: "direction", value: name ?? "", change: () => choose(name) });
    return { input, label: h("label", {}, input, name ?? "none") };
  });
  const share = h("p", { role: "status", class: "result" });
  const cost = h("p", { class: "result" });
  const samples = h("div", { class: "samples" });
  let written = ""; // what the samples are about
  const compared = async () => {
    const { scene } = app;
    if (!scene) return;
    written = about(scene);
    write.disabled = true;
    try {
      const wanted = () => app.scene !== null && written === about(app.scene);
      if (!(await compare(app, scene, samples, wanted))) samples.replaceChildren();
    } finally {
      write.disabled = false;
    }
  };
  const write = h("button", { type: "button", click: () => void compared() }, `Let both write ${LENGTH} tokens`);
  const after = `after layer ${app.models.course.steer_depth - 1}`;
  root.append(
    h("p", {}, `A direction is the mean stream of texts or tokens with a property less that of others without it (notebook 09). ` +
      `It is added to the stream at every token, ${after}. In the notebook, “glad” did no more than random directions do.`),
    h("fieldset", { class: "directions" }, h("legend", {}, "Direction:"), ...radios.map(({ label }) => label)),
    h("div", { class: "controls" }, h("label", { for: "dose" }, "Dose"), dose, shown,
      h("label", { for: "random", class: "plain" }, random, "a random direction of the same length instead (the control)")),
    h("h2", {}, "Does it do what it should?"), share,
    h("h2", {}, "What it costs"), cost,
    h("h2", {}, "What is written"), h("div", { class: "controls" }, write), samples,
  ); // prettier-ignore
  app.onState((state) => {
    const chosen = base(state.steer) ?? "";
    radios.forEach(({ input }) => (input.checked = input.value === chosen));
    random.checked = state.steer?.startsWith(RANDOM) ?? random.checked;
    dose.value = String(state.dose);
    say(shown, signed(state.dose, 1));
  });
  return (scene) => {
    say(share, shares(app, scene));
    if (written !== about(scene)) samples.replaceChildren();
    cost.textContent = scene.state.steer ? averages(scene) : "";
  };
}

/** The direction whose length a random one has, or the direction itself. */
function base(steer: string | null): string | null {
  return steer?.startsWith(RANDOM) ? steer.slice(RANDOM.length) : steer;
}

/** The share of the counted words among their group, next, with and without the direction. */
function shares(app: App, { state, tokens, position, run, intact }: Scene): string {
  const name = base(state.steer);
  const group = name && app.models.course.groups[name];
  if (!group) return "Choose a direction.";
  const share = (each: typeof run) => {
    const p = softmax(logitsAt(each, position));
    const sum = (ids: number[]) => ids.reduce((total, id) => total + p[id], 0);
    return percent(sum(group.counted) / sum(group.among));
  };
  return `Next after “${tokens[position].label}”: ${COUNTS[name]} ${share(intact)} without the changes and ${share(run)} with them.`;
}

/**
 * Let the model go on without the changes and with them. Both get the same chances, so that they differ by the changes
 * alone. Patched cells are left out, because they belong to one text. Returns whether it was wanted to the end.
 */
async function compare(app: App, scene: Scene, root: HTMLElement, wanted: () => boolean) {
  const chances = Array.from({ length: LENGTH }, Math.random);
  const texts = ["without", "with"].map((how) => {
    const text = h("span");
    return { text, row: h("p", {}, h("strong", {}, `${how}: `), text) };
  });
  root.replaceChildren(...texts.map(({ row }) => row));
  const { off, by, steer, dose, model } = scene.state;
  const changed: Changes = { off, by, steer, dose, cells: [], source: null };
  for (const [i, changes] of [null, changed].entries()) {
    const ids = scene.tokens.map(({ id }) => id);
    for (const chance of chances) {
      if (!wanted()) return false;
      const read = ids.slice(-app.models.context);
      const run = await app.models.run(model, read, changes);
      ids.push(drawn(softmax(logitsAt(run, read.length - 1), HEAT), chance));
      texts[i].text.textContent = app.vocabulary.decode(ids.slice(scene.tokens.length));
      await new Promise((resolve) => setTimeout(resolve)); // the page stays usable
    }
  }
  return true;
}

/** All of a scene that samples depend on. */
function about({ state: { text, ids, model, view, off, by, steer, dose } }: Scene): string {
  return JSON.stringify([text, ids, model, view, off, by, steer, dose]);
}
