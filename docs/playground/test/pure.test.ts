/** What needs no browser: state and address, measures, weights, labels. `npm test` */

import assert from "node:assert/strict";
import { test } from "node:test";
import { float32 } from "../src/files";
import { drawn, largest, logProbability, losses, mean, softmax } from "../src/measures";
import { initial, parsed, written } from "../src/state";
import { Vocabulary } from "../src/text";
import { Mersenne, twinWeights } from "../src/twin";

const start = initial(["one text", "another"]);

test("an address gives back the state that it was written for", () => {
  const state = {
    ...start, text: "a & b = 50 % # ünï 😂\n", model: "twin", view: "break", token: 3, head: "L4H3", by: "zero",
    off: ["L4H3", "attn2", "mlp0"], cells: ["6.5", "0.12"], map: true, steer: "random:past tense", dose: -1.5,
    story: "sink", step: 3,
  } as typeof start; // prettier-ignore
  assert.deepEqual(parsed(written(state, start), start), state);
  assert.deepEqual(parsed("", start), start);
  assert.equal(written(start, start), "");
  assert.equal(parsed("text=", start).text, "");
});

test("what makes no sense in an address is left out", () => {
  const hash = "view=nothing&off=L9H9,L1H2,L1H2,attn7,&cells=7.1,1.2,x&token=-1&head=H3&dose=99&step=-2&model=gpt";
  const expected = { ...start, off: ["L1H2"], cells: ["1.2"], dose: 4 };
  assert.deepEqual(parsed(hash, start), expected);
  assert.equal(parsed("dose=-99", start).dose, -4);
});

test("softmax, log-probability, loss and the largest, by hand", () => {
  const logits = Float32Array.from([0, Math.log(3), 0]);
  const close = (one: ArrayLike<number>, other: number[]) =>
    other.forEach((value, i) => assert.ok(Math.abs(one[i] - value) < 1e-6, `${one[i]} is not ${value}`));
  close(softmax(logits), [0.2, 0.6, 0.2]);
  close(softmax(logits, 0.5), [1 / 11, 9 / 11, 1 / 11]);
  close(softmax(Float32Array.from([1000, 1000])), [0.5, 0.5]);
  close([logProbability(logits, 1)], [Math.log(0.6)]);
  assert.deepEqual(largest([1, 5, 3, 5, 2], 3), [1, 3, 2]);
  assert.deepEqual(largest([1], 3), [0]);
  const run = { length: 2, logits: Float32Array.from([...logits, 9, 9, 9]), patterns: logits, streams: logits };
  const [first, second] = losses(run, [0, 2]);
  assert.equal(first, null);
  close([second!], [-Math.log(0.2)]);
  close([mean([null, 1, 2])], [1.5]);
});

test("tokens are drawn in proportion to their probability", () => {
  const p = Float32Array.from([0.25, 0.5, 0.25]);
  assert.deepEqual([0, 0.24, 0.26, 0.74, 0.76, 0.999].map((chance) => drawn(p, chance)), [0, 0, 1, 1, 2, 2]);
  assert.equal(drawn(Float32Array.from([0.3, 0.6]), 0.99), 1);
});

test("numbers of 16 bits are widened without loss", () => {
  const bits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i).filter((each) => ((each >> 10) & 31) !== 31);
  const wide = float32(bits);
  bits.forEach((each, i) => {
    const [sign, exponent, fraction] = [each >> 15 ? -1 : 1, (each >> 10) & 31, each & 1023];
    const value = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    assert.equal(wide[i], sign * value);
  });
});

test("the generator is the Mersenne twister, and its normal numbers are PyTorch's", () => {
  const published = new Mersenne(5489); // the first numbers of mt19937 with its standard seed, and the 10000th of C++11
  assert.deepEqual([published.next(), published.next()], [3499211612, 581869302]);
  published.skip(9997);
  assert.equal(published.next(), 4123659995);
  const normal = new Float32Array(16);
  new Mersenne(0).normal(normal, 1); // torch.manual_seed(0); torch.randn(16)
  [-1.1258398, -1.1523602, -0.25057858, -0.4338788].forEach((value, i) =>
    assert.ok(Math.abs(normal[i] - value) < 1e-6, `${normal[i]}`),
  );
});

test("a plan skips what is overwritten later and fills what is constant", () => {
  const layout: Record<string, [number, number]> = { a: [0, 16], b: [16, 2] };
  const weights = twinWeights([[null, 16, 1], ["a", 16, 0.5]], { b: 1 }, layout, 18);
  const expected = new Float32Array(16);
  const generator = new Mersenne(0);
  generator.skip(16);
  generator.normal(expected, 0.5);
  assert.deepEqual([...weights], [...expected, 1, 1]);
});

test("labels show spaces, line breaks and pieces of a character", () => {
  const vocab = { Ġa: 0, Ċ: 1, "ðŁĺ": 2, "Ĥ": 3, b: 4, "ð": 6, "Ł": 7, "ĺ": 8 };
  const tokenizer = {
    model: { type: "BPE", vocab, merges: [] },
    added_tokens: [{ id: 5, content: "<|end|>", special: true }],
    pre_tokenizer: null, decoder: null, normalizer: null, post_processor: null,
  }; // prettier-ignore
  const vocabulary = new Vocabulary({ tokenizer, tokenizer_config: {} } as any);
  assert.deepEqual(vocabulary.labels([0, 1, 2, 3, 4, 5, 2, 4, 2]), ["·a", "↵", "😂[1/2]", "😂[2/2]", "b", "<|end|>", "�", "b", "�"]);
  assert.deepEqual(vocabulary.labels([6, 7, 8, 3]), ["😂[1/4]", "😂[2/4]", "😂[3/4]", "😂[4/4]"]);
  assert.equal(vocabulary.decode([0, 2, 3]), " a😂");
});
