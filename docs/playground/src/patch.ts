/** Activation patching: the residual stream of a second text, at chosen places or at each in turn (notebook 06). */

import { type App, type Scene, isChanged } from "./app";
import { courseLink, h, percent, say, signed, tableBehind } from "./dom";
import { type Drawing, Grid, type Head, type Place, depthName } from "./grid";
import { logitsAt, softmax } from "./measures";
import type { Run } from "./model";
import type { State } from "./state";
import { type Pair, Sweep, difference, isIdle, isMeasurable, pairOf, shareOfWay } from "./sweep";

export function patch(root: HTMLElement, app: App): (scene: Scene) => void {
  const { layers } = app.models;
  const depths = [...Array(layers + 1).keys()];
  const input = h("textarea", {
    id: "other", rows: 2, spellcheck: "false", input: () => app.set({ other: input.value }),
  }); // prettier-ignore
  const note = h("p", { class: "note texts", role: "status" });
  const answers = h("p", { class: "answers" });
  const way = h("div", { class: "way" });
  root.append(...explanation(), h("label", { for: "other" }, "Second text"), input, note, answers, way);
  const mapping = new Mapping(root, app);
  const grid = new Grid(root, "Cells to patch, by depth and position", layers, (place) =>
    app.set({ cells: toggled(app.state, place) }),
  );
  root.append(...key());
  const table = tableBehind(root, "shares of the way");
  app.onState(({ other }) => {
    if (input.value !== other) input.value = other;
  });

  return (scene) => {
    const pair = pairOf(scene);
    say(note, pair ? relation(scene, pair, app) : "Type a second text to take the residual stream from.");
    answers.replaceChildren(...(pair ? answersOf(scene, pair, app) : []));
    way.replaceChildren(...(pair ? wayOf(scene, pair, app) : []));
    const shares = mapping.draw(scene, pair, (place) => grid.paint(place));
    grid.draw(drawing(scene, pair, shares, layers));
    table(() => ({
      head: ["token", "text", "second text", ...depths.map((depth) => depthName(depth, layers))],
      rows: scene.tokens.map(({ label }, position) => [
        position, label, scene.other?.tokens[position]?.label ?? "",
        ...depths.map((depth) => decimal(shares({ depth, position }))),
      ]),
    })); // prettier-ignore
  };
}

function explanation(): HTMLElement[] {
  return [
    h("p", {}, "Which part of the model's inner state brings the answer? Write a second text that is answered " +
      "differently, and click a cell. The model then reads your text, but at this depth and position its residual " +
      "stream is replaced by that of the second text. If the answer moves and the texts agree in all other words, what makes the difference stood there: see ",
      courseLink("notebooks/06_causal_tests.html", "notebook 06"), "."),
  ]; // prettier-ignore
}

/** What the colours mean, and which cells are 0 for certain. */
function key(): HTMLElement[] {
  return [
    h("p", { class: "key" }, "share of the way: ", h("span", { class: "ramp both" }), "−100 to 100 %"),
    h("p", { class: "note" }, "The map patches one cell at a time and changes nothing else. Where that cannot matter no run is needed, and the share is 0: " +
      "before the first token that differs, before layer 0 where both tokens are the same, and after the last layer " +
      "everywhere but at the last token."),
  ]; // prettier-ignore
}

/** The patched cells after one more was pressed. */
function toggled({ cells }: State, { depth, position }: Place): string[] {
  const cell = `${depth}.${position}`;
  return cells.includes(cell) ? cells.filter((each) => each !== cell) : [...cells, cell];
}

/** In what the texts differ, as far as it matters for patching. */
function relation({ state, tokens, other }: Scene, { ids, others, parting, shared }: Pair, app: App): string {
  const { context } = app.models;
  const isCut = app.vocabulary.encode(state.other).length > context;
  const cut = isCut ? `The last ${context} tokens of the second text are used. ` : "";
  if (parting === ids.length && parting === others.length)
    return `${cut}Both texts are the same, so patching alone changes nothing.`;
  const name = (list: { label: string }[]) => (list[parting] ? `“${list[parting].label}”` : "the end");
  const names = `${name(tokens)} here, ${name(other!.tokens)} in the second text`;
  const lengths =
    ids.length === others.length
      ? ""
      : ` They have ${ids.length} and ${others.length} tokens: only the first ${shared} can be patched` +
        (parting < shared ? ", and some get the stream of another word." : ".");
  return `${cut}The texts part at position ${parting}: ${names}.${lengths}`;
}

function answersOf({ intact }: Scene, { source, answer, rival }: Pair, { vocabulary }: App): (Node | string)[] {
  const chance = (run: Run, id: number) => percent(softmax(logitsAt(run, run.length - 1))[id]);
  return [
    "After your text: ", h("code", {}, vocabulary.label(answer)), ` ${chance(intact, answer)}. `,
    "After the second text: ", h("code", {}, vocabulary.label(rival)), ` ${chance(source, rival)}.`,
  ]; // prettier-ignore
}

/** The logit differences of both texts and of the changed run, as a line with a mark on it and in words. */
function wayOf({ state, run }: Scene, pair: Pair, { vocabulary }: App): (Node | string)[] {
  const [answer, rival] = [pair.answer, pair.rival].map((id) => `“${vocabulary.label(id)}”`);
  if (!isMeasurable(pair))
    return [
      h("p", {}, `Both texts have the same answer, ${answer}, so there is no difference to measure. `,
        "Choose two texts with different next words."),
    ]; // prettier-ignore
  const share = shareOfWay(run, pair);
  const at = Math.max(0, Math.min(1, (share + 0.5) / 2)); // the line goes from -50 % to 150 %
  const onlyCells = !state.off.length && !state.steer;
  const what = onlyCells ? "Patched" : "With all changes";
  const changed = isChanged(state) ? `${what}: ${signed(difference(run, pair))}, ` : "Nothing is patched yet: ";
  return [
    h("div", { class: "track", "aria-hidden": "true", style: `--at: ${at}` },
      h("span", {}, "your text"), h("span", {}, "second text"), h("i")),
    h("p", {}, `Logit of ${answer} less that of ${rival}: ${signed(pair.start)} after your text, `,
      `${signed(pair.end)} after the second. `, h("strong", {}, `${changed}${whole(share)} of the way.`)),
  ]; // prettier-ignore
}

/** The share of the way at a place, as far as it is known and to be shown. */
type Shares = (place: Place) => number | null;

/** The button that patches every cell in turn, and how far that is. */
class Mapping {
  private sweep: Sweep;
  private going: { about: string } | null = null; // the sweep that goes on; another one of the same pair is another one
  private button = h("button", { type: "button", click: () => this.app.set({ map: !this.app.state.map }) });
  private bar = h("progress", { "aria-label": "Cells patched so far" });
  private count = h("span"); // changes too often to be read out
  private status = h("span", { role: "status" });

  constructor(root: HTMLElement, private app: App) {
    this.sweep = new Sweep(app.models);
    const progress = h("p", { class: "note" }, this.bar, this.count, this.status);
    root.append(h("div", { class: "mapping" }, this.button, progress));
    app.onState((state) => {
      if (this.going && this.going.about !== about(state)) this.stop();
    });
  }

  /** Begin a sweep, go on with it or leave it alone. painted: called when one more share is known. */
  draw({ state }: Scene, pair: Pair | null, painted: (place: Place) => void): Shares {
    const possible = pair !== null && isMeasurable(pair);
    this.button.disabled = !possible;
    if (!possible || !state.map) {
      this.say("Patch every cell");
      return () => null;
    }
    if (!this.going) void this.go(state, pair, painted);
    const shares = this.sweep.shares(pair);
    return ({ depth, position }) => {
      const share = position < pair.shared ? shares[depth * pair.shared + position] : NaN;
      return Number.isNaN(share) ? null : share;
    };
  }

  private stop() {
    this.going = null;
    this.sweep.stop();
  }

  private async go(state: State, pair: Pair, painted: (place: Place) => void) {
    const mine = (this.going = { about: about(state) });
    const shares = this.sweep.shares(pair);
    const left = shares.filter(Number.isNaN).length;
    const begun = performance.now();
    let runs = 0;
    const tell = () => {
      const seconds = Math.ceil(((performance.now() - begun) / 1000 / runs) * (left - runs));
      const more = runs ? `, about ${seconds} s more` : "";
      this.say("Stop", `${shares.length - left + runs} of ${shares.length} cells${more}`, "", runs / left);
    };
    if (left) tell();
    try {
      await this.sweep.go(pair, (place) => {
        runs++;
        painted(place);
        tell();
      });
    } catch (problem) {
      if (this.going === mine) this.going = null;
      throw problem;
    }
    if (this.going !== mine) return; // it was stopped
    this.going = null;
    this.say("Hide the map", "", `All ${shares.length} cells are patched.`);
  }

  private say(label: string, count = "", status = "", done: number | null = null) {
    this.button.textContent = label;
    this.bar.hidden = done === null;
    this.bar.value = done ?? 0;
    this.count.textContent = count;
    if (this.status.textContent !== status) this.status.textContent = status;
  }
}

/** All of a state that a sweep depends on. */
function about({ view, map, text, ids, other, model }: State): string {
  return JSON.stringify([view, map, text, ids, other, model]);
}

/** The grid of a scene: what its cells hold, and what its box says. */
function drawing(scene: Scene, pair: Pair | null, shares: Shares, layers: number): Drawing {
  const { state, tokens, other, position } = scene;
  const second = (at: number) => other?.tokens[at]?.label ?? "";
  const differs = (at: number) => !pair || pair.ids[at] !== pair.others[at];
  const heads: Head[] = tokens.map(({ label }, at) => {
    const below = pair && differs(at) ? second(at) || "—" : "";
    return { label, other: below, title: below ? `${label}; in the second text: ${below}` : label };
  });
  const closed = (place: Place) => !pair || place.position >= pair.shared;
  const pressed = ({ depth, position }: Place) => state.cells.includes(`${depth}.${position}`);

  function cell(place: Place) {
    if (closed(place)) return { text: "", name: "nothing to take", share: 0, kind: "closed", closed: true };
    const share = shares(place);
    const known = share !== null;
    return {
      text: `${pressed(place) ? "✓ " : ""}${known ? whole(share) : ""}`.trim(),
      name: known ? whole(share) : "not measured",
      share: share ?? 0,
      pressed: pressed(place),
    };
  }

  function describe(place: Place | null) {
    if (!place) return [h("p", {}, "Point at a cell, or go to it with Tab and the arrow keys.")];
    const { label } = tokens[place.position];
    const where = h("p", {}, `${depthName(place.depth, layers)}, at “${label}” (position ${place.position})`);
    if (closed(place)) return [where, h("p", {}, "The second text has no token here.")];
    const share = shares(place);
    const click = pressed(place) ? "It is patched: click to undo." : "Click to patch it.";
    const taken = `From the second text's “${second(place.position)}”. ${click}`;
    const idle = isIdle(place, pair!, layers) ? " No run was needed." : "";
    const effect = share === null ? "" : `Patched alone: ${decimal(share)} of the way.${idle}`;
    return [where, h("p", {}, taken), h("p", {}, effect)];
  }

  const inView = pair ? Math.min(pair.parting, tokens.length - 1) : position;
  return { heads, inView, outlined: false, cell, describe };
}

/** A share as a whole percentage. */
function whole(share: number): string {
  const percentage = Math.round(100 * share);
  return `${percentage < 0 ? "−" : ""}${Math.abs(percentage)} %`;
}

/** A share with three decimals; nothing where it is not known. */
function decimal(share: number | null): string {
  return share === null ? "" : signed(share, 3).replace("+", "");
}
