import { write, writev } from 'node:fs';
import { getSystemErrorName, promisify } from 'node:util';
import { limits } from '../../model/limits.js';
import { alignmentBytes } from '../../util/aligned-memory.js';
import type { BlockWriter } from '../../util/block-writer.js';
import { checksOf } from './disk-index.js';
import { DiskPace } from './disk-pace.js';

const { checkBytes } = limits;
const writeAsync = promisify(write);
const writevAsync = promisify(writev);

/** Bytes and their place in a file. */
export interface FilePiece {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** How bytes get from memory into local files: blocks into those of the disk cache, and large writes into staged ones. */
export interface BlockFiles {
  /** Memory that `write` likes best, with any bytes in it. */
  memory(bytes: number): Buffer;
  /**
   * Writes pieces into an open file, and answers of each the CRC32 of every `limits.checkBytes`. File and bytes must stay
   * until then. Rejects with the system's error, `code` included; then nobody knows what was written.
   */
  write(file: number, pieces: readonly FilePiece[]): Promise<Uint32Array[]>;
  /**
   * Writes pieces one after another from `offset` on, and answers how many ms the disk took, as far as that is known. The same of
   * file, bytes and errors.
   */
  writeFollowing(file: number, offset: number, pieces: readonly Uint8Array[]): Promise<number>;
}

/** As Node can do it. */
export const plainBlockFiles: BlockFiles = {
  memory: (bytes) => Buffer.allocUnsafeSlow(bytes),
  async write(file, pieces) {
    const checks = pieces.map(({ bytes }) => Uint32Array.from(checksOf(bytes)));
    for (const { offset, bytes } of pieces) {
      for (let done = 0; done < bytes.length; )
        done += (await writeAsync(file, bytes, done, bytes.length - done, offset + done)).bytesWritten;
    }
    return checks;
  },
  async writeFollowing(file, offset, pieces) {
    const startMs = performance.now();
    let left = pieces;
    for (let at = offset; left.length > 0; ) {
      const { bytesWritten } = await writevAsync(file, left, at);
      at += bytesWritten;
      left = without(left, bytesWritten);
    }
    return performance.now() - startMs;
  },
};

/** What is left of the pieces after the first `bytes`. */
function without(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const left: Uint8Array[] = [];
  let skip = bytes;
  for (const piece of pieces) {
    if (skip < piece.length) left.push(piece.subarray(skip));
    skip = Math.max(0, skip - piece.length);
  }
  return left;
}

/**
 * In one call to a thread, and past the page cache, which costs a tenth of the processor time: the kernel keeps these bytes as pages of
 * the mounted file anyhow. But what a slow disk cannot take at once, the page cache can.
 */
export class NativeBlockFiles implements BlockFiles {
  readonly #native: BlockWriter;
  readonly #pace = new DiskPace(limits.cacheDirectBytesPerMsMin);

  constructor(native: BlockWriter) {
    this.#native = native;
  }

  memory(bytes: number): Buffer {
    // `alignedStart` answers less than the alignment.
    const whole = Buffer.allocUnsafeSlow(bytes + alignmentBytes);
    const start = this.#native.alignedStart(whole);
    return whole.subarray(start, start + bytes);
  }

  async write(file: number, pieces: readonly FilePiece[]): Promise<Uint32Array[]> {
    const offsets = pieces.map(({ offset }) => offset);
    const bytes = pieces.map((piece) => piece.bytes);
    let length = 0;
    let count = 0;
    for (const piece of bytes) {
      length += piece.length;
      count += checksIn(piece);
    }
    const checks = new Uint32Array(count);
    const isDirect = !this.#pace.isSlow(performance.now());
    const took = await this.#native.writeBlocks(file, offsets, bytes, checkBytes, checks, isDirect);
    if (took < 0) throw systemError('writing to the disk cache', took);
    if (isDirect) this.#pace.note(length, took / 1000, performance.now());
    let next = 0;
    return bytes.map((piece) => {
      const first = next;
      next += checksIn(piece);
      return checks.subarray(first, next);
    });
  }

  /** Timed by the thread that writes: a busy event loop hears of a fast disk late. */
  async writeFollowing(file: number, offset: number, pieces: readonly Uint8Array[]): Promise<number> {
    const took = await this.#native.writeFollowing(file, offset, pieces);
    if (took < 0) throw systemError('writing to a staged file', took);
    return took / 1000;
  }
}

const checksIn = (bytes: Buffer): number => Math.ceil(bytes.length / checkBytes);

function systemError(what: string, errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${what} failed: ${code}`), { code, errno });
}
