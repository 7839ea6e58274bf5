import { crc32 } from 'node:zlib';
import { limits } from '../../model/limits.js';
import { alignedMemory } from '../../util/aligned-memory.js';
import { base64Crc } from '../../util/base64-crc.js';
import { Crc32Joiner } from '../../util/crc32-joiner.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import { checksOf } from '../local/disk-index.js';

const { partBufferBytes, partSlabBytes, checkBytes } = limits;
const joiner = new Crc32Joiner(checkBytes);

/** Where an object's bytes are read from. */
export interface ByteSource {
  /** Fills all of `target` with the bytes from `offset` on, or throws. */
  readInto(offset: number, target: Buffer): MaybePromise<void>;
}

/**
 * Buffers for the bytes of parts on their way into the store, used again and again: a fresh one costs the kernel more than
 * reading, checking and sending what is in it. How many there are is bounded by the queue that their users are in.
 */
export class PartBuffers {
  readonly #idle: Buffer[] = [];

  /** Bytes kept though nobody uses them. */
  get idleBytes(): number {
    return this.#idle.length * partBufferBytes;
  }

  take(): Buffer {
    const known = this.#idle.pop();
    if (known !== undefined) return known;
    // Several in one piece, of which a process may have a limited number; shared with the threads that hash.
    const bytes = alignedMemory(partSlabBytes, true);
    for (let at = partBufferBytes; at < partSlabBytes; at += partBufferBytes)
      this.#idle.push(bytes.subarray(at, at + partBufferBytes));
    return bytes.subarray(0, partBufferBytes);
  }

  /**
   * The buffers may be written again: whoever gave them away has been answered. They stay: V8 does not count shared memory, so
   * what is dropped goes when it collects for other reasons, long after others took its place.
   */
  give(buffers: readonly Buffer[]): void {
    this.#idle.push(...buffers);
  }
}

/** The bytes of one part in memory, read once. */
export class PartBody {
  readonly chunks: readonly Buffer[];
  /** Of all bytes, as S3 writes it. */
  readonly crc32: string;
  /** CRC32 of each piece as the disk cache checks it. */
  readonly checks: readonly number[];
  readonly #buffers: readonly Buffer[];
  #looking: Promise<void> | undefined;

  private constructor(chunks: readonly Buffer[], buffers: readonly Buffer[], crc: number, checks: number[]) {
    this.chunks = chunks;
    this.#buffers = buffers;
    this.crc32 = base64Crc(crc);
    this.checks = checks;
  }

  static async read(
    source: ByteSource,
    offset: number,
    length: number,
    pool: PartBuffers,
  ): Promise<PartBody> {
    const buffers: Buffer[] = [];
    const chunks: Buffer[] = [];
    const checks: number[] = [];
    let crc = 0;
    try {
      for (let done = 0; done < length; done += partBufferBytes) {
        const buffer = pool.take();
        buffers.push(buffer);
        const chunk = buffer.subarray(0, Math.min(partBufferBytes, length - done));
        const reading = source.readInto(offset + done, chunk);
        if (reading !== undefined) await reading;
        const found = checksOf(chunk);
        crc = joined(crc, chunk, found);
        checks.push(...found);
        chunks.push(chunk);
      }
    } catch (error) {
      pool.give(buffers);
      throw error;
    }
    return new PartBody(chunks, buffers, crc, checks);
  }

  /** Somebody else looks at the bytes until then. */
  holdUntil(done: Promise<void> | undefined): void {
    this.#looking = done;
  }

  /** The bytes are not needed any more, whether they were sent or not. Resolves when nobody else looks at them. */
  async release(pool: PartBuffers): Promise<void> {
    await this.#looking;
    pool.give(this.#buffers);
  }
}

/** The checksum of what `crc` is of and `chunk`, whose pieces have the checksums `checks`. */
function joined(crc: number, chunk: Buffer, checks: readonly number[]): number {
  let sum = crc;
  for (const [i, check] of checks.entries()) {
    const at = i * checkBytes;
    if (at + checkBytes <= chunk.length) sum = joiner.join(sum, check);
    else sum = crc32(chunk.subarray(at), sum);
  }
  return sum;
}
