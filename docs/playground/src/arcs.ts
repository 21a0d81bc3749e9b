/** Lines above the text, from the token that is looked at to those that heads read there. */

import type { App, Scene } from "./app";
import { h } from "./dom";
import { allHeads, headName, kindOf, type Head } from "./headmap";
import { patternOf } from "./model";

const FAINTEST = 0.02; // attention below which a chosen head's line would not be seen
const LEAST = 0.2; // of all heads, only lines of so much attention are drawn
const LISTED = 5;
const APART = 3; // pixels between lines of several heads between the same two tokens

/** What a head reads from a key at a query. */
export interface Reading {
  head: Head;
  query: number;
  key: number;
  share: number;
}

interface Choice {
  all: boolean; // lines of all heads, or of the chosen one
  readers: boolean; // who reads the token, or what is read there
}

/** Where a chip stands among the others, in pixels. */
interface Box {
  middle: number;
  top: number;
  bottom: number;
  width: number;
}

/** Attention of heads at a token or, with `readers`, to it: all of `least` or more, the largest first. */
export function readings(
  { run }: Scene, app: App, heads: Head[], token: number, readers: boolean, least: number,
): Reading[] {
  const found: Reading[] = [];
  for (const head of heads) {
    const pattern = patternOf(run, app.models.heads, head.layer, head.head);
    for (let other = readers ? token : 0; other < (readers ? run.length : token + 1); other++) {
      const [query, key] = readers ? [other, token] : [token, other];
      const share = pattern[query * run.length + key];
      if (share >= least) found.push({ head, query, key, share });
    }
  }
  return found.sort((a, b) => b.share - a.share);
}

/** The controls of the lines in `root`, and the lines above the text. Returns what draws a scene and a chosen head. */
export function lines(root: HTMLElement, app: App): (scene: Scene, head: Head) => void {
  const choice: Choice = { all: false, readers: false };
  const chips = document.querySelector<HTMLElement>("#tokens .chips")!;
  const overlay = svg("svg", { class: "arcs", "aria-hidden": "true" });
  const own = h("span", {});
  const list = h("p", { class: "note readings" });
  let latest: { scene: Scene; head: Head } | null = null;
  let hovered: number | null = null;

  function draw() {
    if (!latest || app.state.view !== "heads") return;
    const { scene, head } = latest;
    const token = hovered ?? scene.position;
    const found = readings(
      scene, app, choice.all ? allHeads(app) : [head], token, choice.readers, choice.all ? LEAST : FAINTEST,
    ); // prettier-ignore
    own.textContent = headName(head);
    list.textContent = inSentence(scene, token, found, choice, headName(head));
    chips.append(overlay); // the chips are drawn anew with every scene
    const boxes = [...chips.querySelectorAll<HTMLElement>("button")].map(boxOf);
    if (boxes.length !== scene.tokens.length) return; // of a text that is no longer there
    const paths = curves(found, boxes, parseFloat(getComputedStyle(chips).rowGap));
    overlay.replaceChildren(...found.map(({ head, share }, i) =>
      svg("path", {
        d: paths[i], "data-kind": kindOf(app, scene.state.model, head), opacity: 0.25 + 0.75 * share,
        "stroke-width": 1 + (choice.all ? 2 : 4) * share,
      }))); // prettier-ignore
  }

  function choose(change: Partial<Choice>) {
    Object.assign(choice, change);
    draw();
  }

  root.append(
    h("div", { class: "controls lines" },
      radios("Lines of:", "lines-of", [own, "all heads"], (i) => choose({ all: i === 1 })),
      radios("show:", "lines-show", ["what the token reads", "who reads it"], (i) => choose({ readers: i === 1 }))),
    list,
  ); // prettier-ignore
  app.onHover((position) => {
    hovered = position;
    draw();
  });
  app.onState(({ view }) => {
    chips.classList.toggle("roomy", view === "heads");
    if (view !== "heads") overlay.remove();
  });
  new ResizeObserver(draw).observe(chips);
  return (scene, head) => {
    latest = { scene, head };
    hovered = null; // the chip under the pointer is another one now
    draw();
  };
}

function radios(legend: string, name: string, labels: (string | Node)[], change: (index: number) => void): HTMLElement {
  return h("fieldset", {}, h("legend", {}, legend),
    ...labels.map((label, i) =>
      h("label", {}, h("input", { type: "radio", name, checked: i === 0, change: () => change(i) }), " ", label)),
  ); // prettier-ignore
}

/** The largest readings in words. */
function inSentence(scene: Scene, token: number, found: Reading[], { all, readers }: Choice, name: string): string {
  const quoted = (index: number) => `“${scene.tokens[index].label}”`;
  const named = found.slice(0, LISTED).map(({ head, query, key, share }) => {
    const by = all ? ` (${headName(head)})` : "";
    return `${quoted(readers ? query : key)} ${share.toFixed(2)}${by}`;
  });
  const said = named.join(", ") || "nothing";
  const who = all ? `heads (${LEAST} or more)` : name;
  const here = quoted(token);
  return readers ? `${here} is read by ${who} at ${said}` : `At ${here}, ${who} ${all ? "read" : "reads"} ${said}`;
}

function boxOf(chip: HTMLElement): Box {
  const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = chip;
  return { middle: offsetLeft + offsetWidth / 2, top: offsetTop, bottom: offsetTop + offsetHeight, width: offsetWidth };
}

/** A path for each reading. Lines of several heads between the same tokens are spread, so that each can be seen. */
function curves(found: Reading[], boxes: Box[], room: number): string[] {
  const count = new Map<string, number>();
  const ranks = found.map(({ query, key }) => {
    const pair = `${query} ${key}`;
    count.set(pair, (count.get(pair) ?? 0) + 1);
    return count.get(pair)! - 0.5;
  });
  return found.map(({ query, key }, i) => {
    const total = count.get(`${query} ${key}`)!;
    return curve(boxes[query], boxes[key], room, ranks[i] / total - 0.5, total);
  });
}

/**
 * From the query's upper edge to the key's: an arc within a line of chips, to the lower edge of one in a line above.
 * room: between lines of chips. place: of this among `total` lines between the same two, from -0.5 to 0.5.
 */
function curve(query: Box, key: Box, room: number, place: number, total: number): string {
  const at = ({ middle, width }: Box) => middle + place * Math.min(width - 12, APART * total);
  const higher = place * Math.min(room, APART * total);
  const [from, to] = [at(query), at(key)];
  if (query === key) {
    const lift = query.top - room;
    return `M${from - 4},${query.top}C${from - 10},${lift} ${from + 10},${lift} ${from + 4},${query.top}`;
  }
  if (query.top === key.top) {
    const lift = query.top - Math.min(room, 8 + 0.06 * Math.abs(from - to)) - 4 - higher;
    return `M${from},${query.top}C${from},${lift} ${to},${lift} ${to},${key.top}`;
  }
  const bend = Math.max(room, 0.4 * (query.top - key.bottom));
  const [low, high] = [query.top - bend - higher, key.bottom + bend - higher];
  return `M${from},${query.top}C${from},${low} ${to},${high} ${to},${key.bottom}`;
}

function svg(tag: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
