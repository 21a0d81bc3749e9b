/** What dev/tools/playground.py packs: the tokenizer, and what the notebooks found out about the two models. */

import type { Draw } from "./twin";

export type ModelName = "storybook" | "twin";

export interface Findings {
  classes: string[][]; // (layer, head): notebook 02's name for each head
  scores: Record<string, number[][]>; // the scores behind the names, (layer, head)
  head_mean: number[]; // mean z, (layer, head, d_head) in one row, for mean ablation
  attn_mean: number[]; // mean of what a layer's attention writes, (layer, d_model)
  mlp_mean: number[];
  directions: Record<string, number[]>; // notebook 09's, (d_model,)
}

export interface Course {
  tokenizer: any; // tokenizer.json and tokenizer_config.json, as the library reads them
  tokenizer_config: any;
  layout: Record<string, [number, number]>; // where each weight begins among all, and how many numbers it has
  twin: { draws: Draw[]; constants: Record<string, number> };
  kinds: string[];
  models: Record<ModelName, Findings>;
  groups: Record<string, { counted: number[]; among: number[] }>; // words by which notebook 09 measures steering
  steer_depth: number;
  pair: [string, string];
}
