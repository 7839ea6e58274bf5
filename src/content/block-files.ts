import { write } from 'node:fs';
import { getSystemErrorName, promisify } from 'node:util';
import { limits } from '../model/limits.js';
import { alignmentBytes } from '../util/aligned-memory.js';
import { checksOf } from './disk-index.js';

const { checkBytes } = limits;
const writeAsync = promisify(write);

/** How blocks get from memory into files of the disk cache. */
export interface BlockFiles {
  /** Memory that `write` likes best, with any bytes in it. */
  memory(bytes: number): Buffer;
  /**
   * Writes `bytes` at `offset` of an open file, and answers the CRC32 of each `limits.checkBytes` of them. File and bytes must stay
   * until then. Rejects with the system's error, `code` included.
   */
  write(file: number, offset: number, bytes: Buffer): Promise<Uint32Array>;
}

/** As Node can do it. */
export const plainBlockFiles: BlockFiles = {
  memory: (bytes) => Buffer.allocUnsafeSlow(bytes),
  async write(file, offset, bytes) {
    const checks = Uint32Array.from(checksOf(bytes));
    for (let done = 0; done < bytes.length; )
      done += (await writeAsync(file, bytes, done, bytes.length - done, offset + done)).bytesWritten;
    return checks;
  },
};

/** What the addon does for it: native/block-write.h. */
export interface NativeBlockWriter {
  alignedStart(memory: Buffer): number;
  writeBlocks(
    file: number,
    offset: number,
    bytes: Buffer,
    checkBytes: number,
    checks: Uint32Array,
    direct: boolean,
  ): Promise<number>;
}

/**
 * In one call to a thread, and past the page cache, which costs a tenth of the processor time: the kernel keeps these bytes as pages of
 * the mounted file anyhow. But what a slow disk cannot take at once, the page cache can.
 */
export class NativeBlockFiles implements BlockFiles {
  readonly #native: NativeBlockWriter;
  /** Direct writes since the last that was as fast as it should be. */
  #slowOnes = 0;
  /** To be written by way of the page cache before the disk is tried again. */
  #cachedBytes = 0;

  constructor(native: NativeBlockWriter) {
    this.#native = native;
  }

  memory(bytes: number): Buffer {
    // `alignedStart` answers less than the alignment.
    const whole = Buffer.allocUnsafeSlow(bytes + alignmentBytes);
    const start = this.#native.alignedStart(whole);
    return whole.subarray(start, start + bytes);
  }

  async write(file: number, offset: number, bytes: Buffer): Promise<Uint32Array> {
    const checks = new Uint32Array(Math.ceil(bytes.length / checkBytes));
    const isDirect = this.#cachedBytes <= 0;
    if (!isDirect) this.#cachedBytes -= bytes.length;
    const took = await this.#native.writeBlocks(file, offset, bytes, checkBytes, checks, isDirect);
    if (took < 0) throw systemError(took);
    if (isDirect) this.#learn(((took / 1000) * 2 ** 20) / bytes.length);
    return checks;
  }

  /** A busy machine makes many writes slow, but not one after the other. */
  #learn(milliseconds: number): void {
    this.#slowOnes = milliseconds > limits.cacheDirectMsMax ? this.#slowOnes + 1 : 0;
    if (this.#slowOnes < limits.cacheDirectSlowMax) return;
    this.#slowOnes = 0;
    this.#cachedBytes = limits.cacheBufferedBytes;
  }
}

function systemError(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`writing to the disk cache failed: ${code}`), { code, errno });
}
