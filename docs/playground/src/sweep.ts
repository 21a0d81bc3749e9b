/** Patch the stream of one text with that of another, one place at a time: `sweep_stream` of the course's library. */

import type { Scene } from "./app";
import type { ModelName } from "./course";
import type { Place } from "./grid";
import { largest, logitsAt } from "./measures";
import type { Models, Run } from "./model";

/** Two texts and what is measured between them. */
export interface Pair {
  model: ModelName;
  ids: number[];
  others: number[]; // of the second text
  parting: number; // the first position at which they differ
  shared: number; // how many positions both have
  intact: Run;
  source: Run; // of the second text
  answer: number; // the likeliest token after the text
  rival: number; // and after the second
  start: number; // the logit difference of answer and rival after the text
  end: number; // and after the second
}

/** The pair of a scene; null where there is no second text. */
export function pairOf({ state, tokens, intact, other }: Scene): Pair | null {
  if (!other) return null;
  const ids = tokens.map(({ id }) => id);
  const others = other.tokens.map(({ id }) => id);
  const shared = Math.min(ids.length, others.length);
  let parting = 0;
  while (parting < shared && ids[parting] === others[parting]) parting++;
  const [answer, rival] = [intact, other.run].map((run) => largest(logitsAt(run, run.length - 1), 1)[0]);
  const [start, end] = [intact, other.run].map((run) => difference(run, { answer, rival }));
  return { model: state.model, ids, others, parting, shared, intact, source: other.run, answer, rival, start, end };
}

/** The logit of the answer less that of its rival, after the last token. */
export function difference(run: Run, { answer, rival }: Pick<Pair, "answer" | "rival">): number {
  const logits = logitsAt(run, run.length - 1);
  return logits[answer] - logits[rival];
}

/** How far a run has come from the text's logit difference to the second text's: the normalised patching effect. */
export function shareOfWay(run: Run, pair: Pair): number {
  return (difference(run, pair) - pair.start) / (pair.end - pair.start);
}

/** Whether the texts have different answers, so that there is a way from one to the other. */
export function isMeasurable(pair: Pair): boolean {
  return pair.start !== pair.end;
}

/**
 * Whether patching here cannot change the answer. No token is seen by those before it, so up to the first difference
 * both streams are the same; so they are before layer 0 where the tokens are. After the last layer, only the stream of
 * the last token is read.
 */
export function isIdle({ depth, position }: Place, { ids, others, parting }: Pair, layers: number): boolean {
  if (depth === layers && position < ids.length - 1) return true;
  return position < parting || (depth === 0 && ids[position] === others[position]);
}

/** The place of a number in `Sweep.shares`. */
function placeOf(i: number, { shared }: Pair): Place {
  return { depth: Math.floor(i / shared), position: i % shared };
}

/** Sweeps through the places of pairs, one at a time, and remembers what it has found. */
export class Sweep {
  private found = new Map<string, Float32Array>();
  private turn = 0; // a sweep that finds another number here has been stopped

  constructor(private models: Models) {}

  /** The shares of the way by (depth, position), as far as they are known; NaN where they are not. */
  shares(pair: Pair): Float32Array {
    const key = JSON.stringify([pair.model, pair.ids, pair.others]);
    const shares = this.found.get(key) ?? this.beginning(pair);
    this.found.delete(key); // the last one asked for goes to the end
    this.found.set(key, shares);
    if (this.found.size > 4) this.found.delete(this.found.keys().next().value!);
    return shares;
  }

  /** Zeros where no run is needed, NaN everywhere else. */
  private beginning(pair: Pair): Float32Array {
    const { layers } = this.models;
    const share = (_: unknown, i: number) => (isIdle(placeOf(i, pair), pair, layers) ? 0 : NaN);
    return Float32Array.from({ length: (layers + 1) * pair.shared }, share);
  }

  stop() {
    this.turn++;
  }

  /** Find what is missing, and call `told` after each place. Other sweeps stop. */
  async go(pair: Pair, told: (place: Place) => void) {
    const turn = ++this.turn;
    const shares = this.shares(pair);
    for (let i = 0; i < shares.length; i++) {
      if (!Number.isNaN(shares[i])) continue;
      const place = placeOf(i, pair);
      const run = await this.models.run(pair.model, pair.ids, {
        off: [], by: "mean", cells: [place], source: pair.source, steer: null, dose: 0,
      }); // prettier-ignore
      shares[i] = shareOfWay(run, pair);
      await new Promise((resume) => setTimeout(resume)); // the page stays in use
      if (turn !== this.turn) return;
      told(place);
    }
  }
}
