/** Files that come with the page as scripts, compressed and in base64: a page in a folder may load scripts only. */

declare global {
  interface Window {
    packed?: Record<string, string>;
  }
}

/** The bytes of `<name>.js`, which dev/tools/playground.py has packed. */
export async function unpack(name: string): Promise<Uint8Array<ArrayBuffer>> {
  await new Promise<void>((loaded, failed) => {
    const script = document.createElement("script");
    script.src = `${name}.js`;
    script.onload = () => loaded();
    script.onerror = () => failed(new Error(`The file ${name}.js is not beside this page. Get the whole folder again.`));
    document.head.append(script);
  });
  const text = window.packed![name];
  delete window.packed![name]; // it is large
  const packed = await fetch(`data:application/gzip;base64,${text}`);
  return new Uint8Array(await new Response(packed.body!.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/** Numbers of 16 bits as numbers of 32, without loss. */
export function float32(half: Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(half.length);
  for (let i = 0; i < half.length; i++) {
    const sign = (half[i] & 0x8000) << 16;
    const exponent = (half[i] >> 10) & 31;
    const fraction = half[i] & 1023;
    if (exponent) bits[i] = sign | ((exponent + 112) << 23) | (fraction << 13);
    else if (fraction) {
      const zeros = Math.clz32(fraction) - 21; // how far its first one is from where a normal number has it
      bits[i] = sign | ((113 - zeros) << 23) | (((fraction << zeros) & 1023) << 13);
    } else bits[i] = sign;
  }
  return new Float32Array(bits.buffer);
}
