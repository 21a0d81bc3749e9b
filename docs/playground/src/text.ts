/** Text to tokens and back to labels, as transformers and the course's `token_labels` do it. */

import { Tokenizer } from "@huggingface/tokenizers";
import type { Course } from "./course";

/** What byte each character of a byte-level vocabulary stands for (Radford et al. 2019). */
function bytesOfCharacters(): Map<string, number> {
  const bytes = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return bytes;
}

/** The text of bytes, or null when they are no whole characters. */
function decoded(bytes: number[]): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    return null;
  }
}

const PIECES = 4; // into how many tokens a character falls at most

export class Vocabulary {
  private tokenizer: Tokenizer;
  private bytes: number[][] = [];

  constructor(course: Course) {
    this.tokenizer = new Tokenizer(course.tokenizer, course.tokenizer_config);
    const byte = bytesOfCharacters();
    for (const [piece, id] of Object.entries<number>(course.tokenizer.model.vocab))
      this.bytes[id] = [...piece].map((character) => byte.get(character)!);
    for (const { id, content } of course.tokenizer.added_tokens) this.bytes[id] = [...new TextEncoder().encode(content)];
  }

  encode(text: string): number[] {
    return text ? this.tokenizer.encode(text, { add_special_tokens: false }).ids : [];
  }

  decode(ids: number[]): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(ids.flatMap((id) => this.bytes[id])));
  }

  /**
   * One readable string a token: "·" for a space that it begins with, "↵" for a line break. A character that takes
   * several tokens shows in each of them, with the number of the piece: 😂[1/2].
   */
  labels(ids: number[]): string[] {
    const labels: string[] = [];
    while (labels.length < ids.length) {
      const start = labels.length;
      let end = start + 1;
      const whole = () => decoded(ids.slice(start, end).flatMap((id) => this.bytes[id]));
      while (whole() === null && end < Math.min(start + PIECES, ids.length)) end++;
      const text = whole();
      if (text === null) labels.push(shown(this.decode([ids[start]])));
      else if (end === start + 1) labels.push(shown(text));
      else for (let i = start; i < end; i++) labels.push(`${shown(text)}[${i - start + 1}/${end - start}]`);
    }
    return labels;
  }

  label(id: number): string {
    return this.labels([id])[0];
  }
}

function shown(text: string): string {
  return (text.startsWith(" ") ? `·${text.slice(1)}` : text).replaceAll("\n", "↵");
}
