/** The logit lens: what the model would say if it stopped at a depth, for every depth and position (notebook 03). */

import type { App, Scene } from "./app";
import type { ModelName } from "./course";
import { courseLink, h, percent, tableBehind } from "./dom";
import { Grid, type Place, depthName } from "./grid";
import type { Guess, Models, Run } from "./model";

/** What the lens reads in a scene, in the order (depth, position). */
interface Reading {
  now: Guess[];
  before: Guess[]; // without changes; the same as now where there are none
}

export function depth(root: HTMLElement, app: App): (scene: Scene) => void {
  const { layers } = app.models;
  const depths = [...Array(layers + 1).keys()];
  root.append(...explanation());
  const grid = new Grid(root, "The logit lens by depth and position", layers, ({ position }) =>
    app.set({ token: position }),
  );
  const table = tableBehind(root, "the logit lens");
  const read = reader(app.models);

  return async (scene) => {
    await new Promise((resume) => setTimeout(resume)); // what is typed meanwhile goes first
    if (app.state !== scene.state) return;
    const { run, intact, state, tokens } = scene;
    const before = await read(state.model, intact);
    const now = run === intact ? before : await read(state.model, run, intact);
    if (app.scene !== scene) return;
    const shown = view({ now, before }, scene, app);
    grid.draw({
      heads: tokens.map(({ label }) => ({ label, other: "", title: label })),
      inView: scene.position, outlined: true, ...shown,
    }); // prettier-ignore
    table(() => ({
      head: ["token", "text", ...depths.map((depth) => depthName(depth, layers))],
      rows: tokens.map(({ label }, position) => [
        position, label, ...depths.map((depth) => shown.said(now[depth * tokens.length + position])),
      ]),
    })); // prettier-ignore
  };
}

function explanation(): HTMLElement[] {
  return [
    h("p", {}, "Every layer adds something to the residual stream. The logit lens reads this stream at each depth as " +
      "if it were the last one. A cell shows the token that the model would put first if it stopped there, and the " +
      "top row is what the model really says. Point at a cell to see its first five; click it to look at its token."),
    h("p", {}, "The early layers are not made to be read like that, and a word that the lens finds there need not be " +
      "one that the model makes use of: see ", courseLink("notebooks/03_residual_stream.html", "notebook 03"), "."),
    h("p", { class: "key" },
      h("span", {}, "probability:"), h("span", { class: "ramp blue" }), h("span", {}, "0 to 100 %."),
      h("span", {}, "Bold: as in the top row."), h("span", {}, "Orange corner: another token without the changes.")),
  ]; // prettier-ignore
}

/**
 * Reads runs with the lens. What was read is kept as long as the run is. like: a run that was read before; only where
 * the streams differ is there anything to read anew, and below the first change they do not.
 */
function reader(models: Models): (model: ModelName, run: Run, like?: Run) => Promise<Guess[]> {
  const known = new WeakMap<Run, Promise<Guess[]>>();
  const at = ({ streams }: Run, place: number) => streams.subarray(place * models.width, (place + 1) * models.width);

  async function again(model: ModelName, run: Run, like: Run): Promise<Guess[]> {
    const guesses = [...(await known.get(like)!)];
    const moved = [...guesses.keys()].filter((place) => at(run, place).some((value, i) => value !== at(like, place)[i]));
    const streams = new Float32Array(moved.length * models.width);
    moved.forEach((place, i) => streams.set(at(run, place), i * models.width));
    const read = moved.length ? await models.lens(model, streams) : [];
    moved.forEach((place, i) => (guesses[place] = read[i]));
    return guesses;
  }

  return (model, run, like) => {
    const reading = known.get(run) ?? (like ? again(model, run, like) : models.lens(model, run.streams));
    known.set(run, reading);
    return reading;
  };
}

/** What the cells of the grid hold, and what the box says about one. */
function view({ now, before }: Reading, { tokens, position }: Scene, { models, vocabulary }: App) {
  const at = (guesses: Guess[], { depth, position }: Place) => guesses[depth * tokens.length + position];
  const said = ({ ids, probabilities }: Guess) => `${vocabulary.label(ids[0])} ${percent(probabilities[0])}`;

  function cell(place: Place) {
    const guess = at(now, place);
    const [id] = guess.ids;
    const settled = id === at(now, { ...place, depth: models.layers }).ids[0];
    const moved = id !== at(before, place).ids[0];
    return {
      text: vocabulary.label(id),
      name: moved ? `${said(guess)}, without the changes ${said(at(before, place))}` : said(guess),
      share: guess.probabilities[0],
      kind: `${settled ? "settled" : ""} ${moved ? "moved" : ""}`,
    };
  }

  function describe(pointed: Place | null) {
    const place = pointed ?? { depth: models.layers, position };
    const where = `${depthName(place.depth, models.layers)}, position ${place.position}`;
    const lists = now === before ? [five(at(now, place))] : [
      h("div", {}, h("p", {}, "with the changes"), five(at(now, place))),
      h("div", {}, h("p", {}, "without them"), five(at(before, place))),
    ]; // prettier-ignore
    return [
      h("p", {}, `After “${tokens[place.position].label}” (${where}):`),
      h("div", { class: "lists" }, ...lists),
    ];
  }

  const five = ({ ids, probabilities }: Guess) =>
    h("ol", {},
      ...ids.map((id, i) =>
        h("li", { style: `--share: ${probabilities[i]}` },
          h("span", { class: "word" }, vocabulary.label(id)), h("span", {}, percent(probabilities[i])))),
    ); // prettier-ignore

  return { cell, describe, said };
}
