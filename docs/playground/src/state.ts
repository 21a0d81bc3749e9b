/** What a reader has chosen, and how it stands in the page's address. */

import type { ModelName } from "./course";

export const VIEWS = ["next", "heads", "depth", "break", "patch", "steer"] as const;
export type ViewName = (typeof VIEWS)[number];

/** A part of the model that can be switched off: a head L4H3, or all that a layer's attention (attn2) or MLP (mlp2) writes. */
export type Part = string;

export interface State {
  text: string;
  ids: number[] | null; // tokens that the model has written, where its text alone would give others
  model: ModelName;
  view: ViewName;
  token: number | null; // the token that is looked at; null: the last
  head: Part | null;
  off: Part[];
  by: "mean" | "zero";
  other: string; // the second text
  cells: string[]; // "depth.position", where the stream is taken from the second text
  map: boolean; // whether every cell is patched in turn
  steer: string | null; // the name of a direction
  dose: number;
  story: string | null;
  step: number; // from 1
}

export function initial(pair: [string, string]): State {
  return {
    text: pair[0], ids: null, model: "storybook", view: "next", token: null, head: null, off: [], by: "mean", other: pair[1],
    cells: [], map: false, steer: null, dose: 2, story: null, step: 1,
  }; // prettier-ignore
}

const PART = /^(L[0-5]H[0-7]|attn[0-5]|mlp[0-5])$/;
const HEAD = /^L[0-5]H[0-7]$/;
const CELL = /^[0-6]\.\d{1,3}$/;

function list(text: string | null, pattern: RegExp): string[] {
  return [...new Set((text ?? "").split(",").filter((each) => pattern.test(each)))];
}

function number(text: string | null, otherwise: number): number {
  const value = Number(text ?? "");
  return text === null || text === "" || !Number.isFinite(value) ? otherwise : value;
}

/** The state of an address's hash. What is missing or makes no sense there is as in `start`. */
export function parsed(hash: string, start: State): State {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const view = given.get("view") as ViewName;
  const head = given.get("head") ?? "";
  return {
    text: given.get("text") ?? start.text,
    ids: /^\d+(,\d+)*$/.test(given.get("ids") ?? "") ? given.get("ids")!.split(",").map(Number) : null,
    model: given.get("model") === "twin" ? "twin" : "storybook",
    view: VIEWS.includes(view) ? view : start.view,
    token: /^\d+$/.test(given.get("token") ?? "") ? Number(given.get("token")) : null,
    head: HEAD.test(head) ? head : null,
    off: list(given.get("off"), PART),
    by: given.get("by") === "zero" ? "zero" : "mean",
    other: given.get("other") ?? start.other,
    cells: list(given.get("cells"), CELL),
    map: given.get("map") === "1",
    steer: given.get("steer"),
    dose: Math.max(-4, Math.min(4, number(given.get("dose"), start.dose))),
    story: given.get("story"),
    step: Math.max(1, Math.round(number(given.get("step"), 1))),
  };
}

/** The hash that says what differs from `start`. */
export function written(state: State, start: State): string {
  const said = new URLSearchParams();
  for (const key of Object.keys(start) as (keyof State)[]) {
    const value = state[key];
    const same = JSON.stringify(value) === JSON.stringify(start[key]);
    if (same && !(key === "view" && state.story)) continue; // a story alone stands for the state that a step begins in
    said.set(key, Array.isArray(value) ? value.join(",") : value === true ? "1" : String(value));
  }
  return said.toString();
}
