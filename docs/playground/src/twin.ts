/**
 * The untrained twin's weights, drawn as PyTorch draws them on a processor. They would be 13 MB to send, and follow from
 * a seed.
 */

/** A step of the plan: the weight that it fills, or null when it is overwritten later; how many numbers; their deviation. */
export type Draw = [string | null, number, number];

/** PyTorch's generator, the Mersenne twister of Matsumoto and Nishimura (1998). */
export class Mersenne {
  private state = new Uint32Array(624);
  private at = 624;

  constructor(seed: number) {
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const last = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, last) + i;
    }
  }

  private renew() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const joined = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  /** A whole number from 0 to 2³² - 1. */
  next(): number {
    if (this.at === 624) this.renew();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  skip(count: number) {
    while (count) {
      if (this.at === 624) this.renew();
      const step = Math.min(count, 624 - this.at);
      this.at += step;
      count -= step;
    }
  }

  /** Normal numbers in groups of 16, by Box and Muller: eight radii and eight angles make 16 numbers. */
  normal(into: Float32Array, deviation: number) {
    for (let start = 0; start < into.length; start += 16) {
      for (let i = 0; i < 16; i++) into[start + i] = (this.next() & 0xffffff) / 0x1000000;
      for (let i = start; i < start + 8; i++) {
        const radius = Math.sqrt(-2 * Math.log(1 - into[i])) * deviation;
        const angle = 2 * Math.PI * into[i + 8];
        into[i] = radius * Math.cos(angle);
        into[i + 8] = radius * Math.sin(angle);
      }
    }
  }
}

/** All weights of the twin in one array. layout: where each begins, and how many numbers it has. */
export function twinWeights(
  draws: Draw[],
  constants: Record<string, number>,
  layout: Record<string, [number, number]>,
  size: number,
): Float32Array<ArrayBuffer> {
  const weights = new Float32Array(size);
  const generator = new Mersenne(0);
  for (const [name, value] of Object.entries(constants)) {
    const [start, count] = layout[name];
    weights.fill(value, start, start + count);
  }
  for (const [name, count, deviation] of draws) {
    if (name === null) generator.skip(count);
    else generator.normal(weights.subarray(layout[name][0], layout[name][0] + count), deviation);
  }
  return weights;
}
