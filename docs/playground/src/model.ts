/** storybook and its untrained twin, as an ONNX graph whose inputs are changes and whose outputs are all that is shown. */

import * as ort from "onnxruntime-web/wasm";
import type { Course, Findings, ModelName } from "./course";
import { float32, unpack } from "./files";
import { Mersenne, twinWeights } from "./twin";

/** What a run gave. All arrays hold their numbers in the order of the shape that stands beside them. */
export interface Run {
  length: number;
  logits: Float32Array; // (position, vocabulary)
  patterns: Float32Array; // (layer, head, query, key)
  streams: Float32Array; // (depth, position, d_model); depth 0 is before layer 0
}

/** What a run does otherwise than the model alone. */
export interface Changes {
  off: string[]; // as in State
  by: "mean" | "zero";
  cells: { depth: number; position: number }[];
  source: Run | null; // where patched cells come from
  steer: string | null;
  dose: number;
}

/** The five likeliest tokens at a place of the stream, read by the final norm and the unembedding. */
export interface Guess {
  ids: number[];
  probabilities: number[];
}

interface Sessions {
  graph: ort.InferenceSession;
  lens: ort.InferenceSession;
}

/** A direction's name with this in front means a random direction of the same length. */
export const RANDOM = "random:";

const GUESSES = 5; // as the graph of the lens gives them

export class Models {
  readonly layers: number;
  readonly heads: number;
  readonly width: number;
  readonly context: number;
  readonly vocabulary: number;
  private sessions: Partial<Record<ModelName, Promise<Sessions>>> = {};
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly course: Course,
    private weights: Float32Array<ArrayBuffer>,
    private graphs: { graph: Uint8Array; lens: Uint8Array },
  ) {
    const findings = course.models.storybook;
    this.layers = findings.classes.length;
    this.heads = findings.classes[0].length;
    this.width = findings.attn_mean.length / this.layers;
    this.context = course.layout["model.transformer.wpe.weight"][1] / this.width;
    this.vocabulary = course.layout["model.lm_head.weight"][1] / this.width;
  }

  static async load(course: Course): Promise<Models> {
    const [runtime, half, graph, lens] = await Promise.all(["runtime", "weights", "graph", "lens"].map(unpack));
    ort.env.wasm.numThreads = 1; // more need headers that a page in a folder cannot have
    ort.env.wasm.wasmBinary = runtime.buffer;
    return new Models(course, float32(new Uint16Array(half.buffer)), { graph, lens });
  }

  findings(name: ModelName): Findings {
    return this.course.models[name];
  }

  /** A model's sessions. The twin's weights are drawn when it is first asked for. */
  private of(name: ModelName): Promise<Sessions> {
    const made = (this.sessions[name] ??= (async () => {
      const { draws, constants } = this.course.twin;
      const weights =
        name === "storybook" ? this.weights : twinWeights(draws, constants, this.course.layout, this.weights.length);
      const externalData = [{ path: "weights", data: new Uint8Array(weights.buffer) }];
      const options = { executionProviders: ["wasm"], externalData };
      const graph = await ort.InferenceSession.create(this.graphs.graph, options);
      return { graph, lens: await ort.InferenceSession.create(this.graphs.lens, options) };
    })());
    made.catch(() => delete this.sessions[name]); // it may go well the next time
    return made;
  }

  /** The runtime does one thing at a time. */
  private async alone<T>(work: () => Promise<T>): Promise<T> {
    const before = this.queue;
    const mine = (async () => {
      await before.catch(() => {});
      return work();
    })();
    this.queue = mine;
    return mine;
  }

  /** Run a model on tokens, 1 to `context` of them. */
  async run(name: ModelName, ids: number[], changes: Changes | null = null): Promise<Run> {
    const { graph } = await this.of(name);
    const inputs = this.inputs(name, ids, changes);
    const { logits, patterns, streams } = await this.alone(() => graph.run(inputs));
    return {
      length: ids.length,
      logits: logits.data as Float32Array,
      patterns: patterns.data as Float32Array,
      streams: streams.data as Float32Array,
    };
  }

  private inputs(name: ModelName, ids: number[], changes: Changes | null): Record<string, ort.Tensor> {
    const { layers, heads, width } = this;
    const size = width / heads;
    const findings = this.findings(name);
    const n = ids.length;
    const scales = { head: ones(layers * heads), attn: ones(layers), mlp: ones(layers) };
    const means = {
      head: new Float32Array(layers * width), attn: new Float32Array(layers * width), mlp: new Float32Array(layers * width),
    }; // prettier-ignore
    const patched = new Uint8Array((layers + 1) * n);
    const patch = new Float32Array((layers + 1) * n * width);
    const steer = new Float32Array((layers + 1) * width);
    for (const part of changes?.off ?? []) {
      const { kind, index, length } = this.part(part, size);
      scales[kind][index] = 0;
      if (changes!.by === "mean") {
        const mean = findings[`${kind}_mean`].slice(index * length, (index + 1) * length);
        means[kind].set(mean, index * length);
      }
    }
    for (const { depth, position } of changes?.cells ?? []) {
      const source = changes!.source!;
      if (position >= Math.min(n, source.length)) continue;
      patched[depth * n + position] = 1;
      const start = (depth * source.length + position) * width;
      patch.set(source.streams.subarray(start, start + width), (depth * n + position) * width);
    }
    if (changes?.steer) {
      const vector = direction(findings, changes.steer).map((value) => value * changes.dose);
      steer.set(vector, this.course.steer_depth * width);
    }
    const float = (data: Float32Array, ...shape: number[]) => new ort.Tensor("float32", data, shape);
    return {
      ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, n]),
      head_scale: float(scales.head, layers, heads),
      head_mean: float(means.head, layers, heads, size),
      attn_scale: float(scales.attn, layers),
      attn_mean: float(means.attn, layers, width),
      mlp_scale: float(scales.mlp, layers),
      mlp_mean: float(means.mlp, layers, width),
      patched: new ort.Tensor("bool", patched, [layers + 1, n]),
      patch: float(patch, layers + 1, n, width),
      steer: float(steer, layers + 1, width),
    };
  }

  private part(part: string, size: number): { kind: "head" | "attn" | "mlp"; index: number; length: number } {
    const head = /^L(\d)H(\d)$/.exec(part);
    if (head) return { kind: "head", index: Number(head[1]) * this.heads + Number(head[2]), length: size };
    const kind = part.startsWith("attn") ? "attn" : "mlp";
    return { kind, index: Number(part.slice(kind.length)), length: this.width };
  }

  /** The logit lens at places of the stream, `(place, d_model)` in one row. */
  async lens(name: ModelName, streams: Float32Array): Promise<Guess[]> {
    const { lens } = await this.of(name);
    const places = streams.length / this.width;
    const given = { streams: new ort.Tensor("float32", streams, [places, this.width]) };
    const { probabilities, ids } = await this.alone(() => lens.run(given));
    const p = probabilities.data as Float32Array;
    const tokens = ids.data as BigInt64Array;
    return Array.from({ length: places }, (_, place) => ({
      ids: Array.from(tokens.subarray(place * GUESSES, (place + 1) * GUESSES), Number),
      probabilities: Array.from(p.subarray(place * GUESSES, (place + 1) * GUESSES)),
    }));
  }
}

/** One of notebook 09's directions, or a random one of its length, always the same; none for an unknown name. */
function direction({ directions }: Findings, name: string): Float32Array {
  const [base, random] = name.startsWith(RANDOM) ? [name.slice(RANDOM.length), true] : [name, false];
  const vector = Float32Array.from(directions[base] ?? []);
  if (!random) return vector;
  const drawn = new Float32Array(vector.length);
  new Mersenne(0).normal(drawn, 1);
  const length = (each: Float32Array) => Math.hypot(...each);
  return drawn.map((value) => (value * length(vector)) / length(drawn));
}

function ones(length: number): Float32Array<ArrayBuffer> {
  return new Float32Array(length).fill(1);
}

/** Where a pattern of one head begins in `Run.patterns`. */
export function patternOf(run: Run, heads: number, layer: number, head: number): Float32Array {
  const size = run.length * run.length;
  const start = (layer * heads + head) * size;
  return run.patterns.subarray(start, start + size);
}
