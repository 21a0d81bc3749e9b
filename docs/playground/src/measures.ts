/** Numbers that are read off a run's logits. Pure functions. */

import type { Run } from "./model";

/** The logits after one token, `(vocabulary,)`. */
export function logitsAt(run: Run, position: number): Float32Array {
  const vocabulary = run.logits.length / run.length;
  return run.logits.subarray(position * vocabulary, (position + 1) * vocabulary);
}

/** Probabilities of logits divided by a temperature above 0. */
export function softmax(logits: Float32Array, temperature = 1): Float32Array {
  let highest = -Infinity;
  for (const logit of logits) if (logit > highest) highest = logit;
  const p = new Float32Array(logits.length);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += p[i] = Math.exp((logits[i] - highest) / temperature);
  for (let i = 0; i < p.length; i++) p[i] /= sum;
  return p;
}

/** The indices of the k largest numbers, largest first. */
export function largest(numbers: ArrayLike<number>, k: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < numbers.length; i++) {
    if (best.length === k && numbers[i] <= numbers[best[k - 1]]) continue;
    let at = best.length;
    while (at && numbers[best[at - 1]] < numbers[i]) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}

/** Loss of every token in nats, as the tokens before it predict it; null for the first, which nothing predicts. */
export function losses(run: Run, ids: number[]): (number | null)[] {
  return ids.map((id, position) => (position ? -logProbability(logitsAt(run, position - 1), id) : null));
}

export function logProbability(logits: Float32Array, id: number): number {
  let highest = -Infinity;
  for (const logit of logits) if (logit > highest) highest = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - highest);
  return logits[id] - highest - Math.log(sum);
}

/** Mean over what is not null; NaN when all is. */
export function mean(numbers: (number | null)[]): number {
  const known = numbers.filter((each) => each !== null);
  return known.reduce((sum, each) => sum + each, 0) / known.length;
}

/** An index drawn with these probabilities. chance: a number from 0 to 1, as of Math.random. */
export function drawn(probabilities: Float32Array, chance: number): number {
  let sum = 0;
  for (let i = 0; i < probabilities.length; i++) if ((sum += probabilities[i]) > chance) return i;
  return largest(probabilities, 1)[0]; // rounding has kept the sum below the chance
}
