/** What direct reads and writes want of addresses, offsets and lengths, on any disk. */
export const alignmentBytes = 4096;

/** As much of it as is used here: Node's types have none. */
declare const WebAssembly: {
  readonly Memory: new (options: {
    initial: number;
    maximum: number;
    shared: boolean;
  }) => { readonly buffer: ArrayBuffer };
};

const wasmPageBytes = 65_536;
const aligned = new WeakSet<ArrayBufferLike>();

/**
 * Memory that begins a page, zeros at first: files can be read and written past the page cache with it. `shared`: threads are
 * given it without a copy. Only memory of WebAssembly is known to begin a page; where there is none, it is any other memory.
 */
export function alignedMemory(length: number, shared = false): Buffer {
  const pages = Math.ceil(length / wasmPageBytes);
  try {
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
    aligned.add(buffer);
    return Buffer.from(buffer, 0, length);
  } catch {
    return Buffer.allocUnsafeSlow(length);
  }
}

export const isAligned = (bytes: Uint8Array): boolean =>
  bytes.byteOffset % alignmentBytes === 0 && aligned.has(bytes.buffer);
