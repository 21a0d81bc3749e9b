/** The state, the runs and the scene, with a model that is made up. `npm test` */

import assert from "node:assert/strict";
import { test } from "node:test";
import { App, type Scene } from "../src/app";
import type { Changes, Models, Run } from "../src/model";
import { Sweep, pairOf } from "../src/sweep";

Object.assign(globalThis, { window: globalThis, history: { replaceState() {} }, location: { pathname: "", search: "", href: "" } });

/** Two layers and three tokens, a, b and c. What follows a token is decided by it alone, and by every change. */
class Fake {
  layers = 2; heads = 1; context = 4;
  course = { pair: ["ab", "ac"] };
  asked: string[] = [];
  waiting: (() => void)[] = [];
  slow = false;

  async run(model: string, ids: number[], changes: Changes | null = null): Promise<Run> {
    this.asked.push(`${model} ${ids.join("")} ${changes ? changes.off.join() + changes.cells.map((c) => `${c.depth}.${c.position}`) : "-"}`);
    if (this.slow) await new Promise<void>((go) => this.waiting.push(go));
    const logits = new Float32Array(ids.length * 3);
    ids.forEach((id, i) => (logits[3 * i + id] = model === "twin" ? 1 : 5)); // each token expects itself
    for (const { depth, position } of changes?.cells ?? []) {
      const own = ids[ids.length - 1];
      logits[3 * (ids.length - 1) + own] -= 1 + depth + 10 * position;
    }
    if (changes?.off.length) logits[0] += 2;
    return { length: ids.length, logits, patterns: new Float32Array(), streams: Float32Array.from(ids) };
  }
}

function made() {
  const fake = new Fake();
  const vocabulary = {
    encode: (text: string) => [...text].map((c) => "abc".indexOf(c)), decode: (ids: number[]) => ids.map((id) => "abc"[id]).join("").replace("aa", "c"),
    labels: (ids: number[]) => ids.map((id) => "abc"[id]),
  }; // prettier-ignore
  const app = new App(fake as unknown as Models, vocabulary as any);
  const scenes: (Scene | null)[] = [];
  app.onScene((scene) => scenes.push(scene));
  return { fake, app, scenes };
}

const shown = (scene: Scene | null) => scene?.tokens.map(({ label }) => label).join("");

test("what was typed while the model was at work is left out, and the last of it is shown", async () => {
  const { fake, app, scenes } = made();
  fake.slow = true;
  for (const text of ["a", "ab", "abc"]) app.set({ text });
  while (app.scene?.state.text !== "abc") {
    await new Promise((resume) => setTimeout(resume));
    fake.waiting.splice(0).forEach((go) => go());
  }
  await app.settled();
  assert.deepEqual(scenes.map(shown), ["abc"]);
  assert.equal(fake.asked.length, 2); // the first and the last
});

test("a run is remembered until something is another: model, text, parts, cells or the second text", async () => {
  const { fake, app } = made();
  const changes = [
    { text: "ab" }, { model: "twin" }, { model: "storybook" }, { off: ["L0H0"] }, { off: [] }, { cells: ["1.0"] },
    { other: "bc" }, { other: "ac" }, { view: "heads" }, { token: 0 },
  ] as const; // prettier-ignore
  for (const change of changes) {
    app.set(change as any);
    await app.settled();
  }
  assert.deepEqual(fake.asked, [
    "storybook 01 -", "twin 01 -", "storybook 01 L0H0", "storybook 02 -", "storybook 01 1.0", "storybook 12 -", "storybook 01 1.0",
  ]); // prettier-ignore
});

test("a scene says what is cut, which token is looked at, and losses with and without the changes", async () => {
  const { app } = made();
  app.set({ text: "abcabc", token: 1, off: ["L0H0"] });
  await app.settled();
  const { cut, position, tokens, intact, run } = app.scene!;
  assert.deepEqual([cut, position, shown(app.scene)], [2, 1, "cabc"]);
  assert.notEqual(run, intact);
  assert.equal(tokens[0].loss, null);
  assert.ok(tokens[1].loss! < tokens[1].before!);
  app.set({ token: 99 });
  await app.settled();
  assert.equal(app.scene!.position, 3);
});

test("what the model writes stays the tokens that it has written", async () => {
  const { app } = made();
  app.set({ text: "a" });
  app.append(0);
  await app.settled();
  assert.deepEqual([app.state.text, shown(app.scene)], ["c", "aa"]);
  app.set({ text: "cb" });
  await app.settled();
  assert.equal(shown(app.scene), "cb");
});

test("a sweep asks for the places that can matter, and finds how far each goes", async () => {
  const { fake, app } = made();
  app.set({ text: "abb", other: "acc", view: "patch" });
  await app.settled();
  const pair = pairOf(app.scene!)!;
  assert.deepEqual([pair.parting, pair.shared, pair.answer, pair.rival, pair.start, pair.end], [1, 3, 1, 2, 5, -5]);
  const sweep = new Sweep(fake as unknown as Models);
  fake.asked = [];
  const told: string[] = [];
  await sweep.go(pair, ({ depth, position }) => told.push(`${depth}.${position}`));
  assert.deepEqual(told, ["0.1", "0.2", "1.1", "1.2", "2.2"]); // not before the texts part, and at the end only the last
  assert.deepEqual(fake.asked, told.map((cell) => `storybook 011 ${cell}`));
  const taken = (depth: number, position: number) => (1 + depth + 10 * position) / 10;
  const expected = [0, taken(0, 1), taken(0, 2), 0, taken(1, 1), taken(1, 2), 0, 0, taken(2, 2)];
  sweep.shares(pair).forEach((share, i) => assert.ok(Math.abs(share - expected[i]) < 1e-6, `${i}: ${share}`));
  await sweep.go(pair, () => assert.fail("all is known"));
});

test("a sweep that is stopped tells nothing more, and goes on where it was", async () => {
  const { fake, app } = made();
  app.set({ text: "abb", other: "acc", view: "patch" });
  await app.settled();
  const pair = pairOf(app.scene!)!;
  const sweep = new Sweep(fake as unknown as Models);
  const told: string[] = [];
  await sweep.go(pair, ({ depth, position }) => { told.push(`${depth}.${position}`); sweep.stop(); });
  assert.deepEqual(told, ["0.1"]);
  await sweep.go(pair, ({ depth, position }) => told.push(`${depth}.${position}`));
  assert.deepEqual(told.slice(-3), ["1.1", "1.2", "2.2"]);
});
