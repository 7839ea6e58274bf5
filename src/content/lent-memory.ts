import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';

const { blockBytes } = limits;

/** Who asks for bytes, and says when he is done with them. */
export interface Borrower {
  /** Fires when he wants them no more. Looked at only where they have to be waited for: making one takes longer than reading. */
  readonly signal?: AbortSignal;
  /**
   * `done` is called once, when the bytes that were answered are no longer looked at. Left out: who asks may keep them as
   * long as he likes.
   */
  onAnswered?(done: () => void): void;
}

/**
 * Memory that several use, each of which holds it: whoever made it holds it first. When the last one has released it, it is used
 * again for other bytes. Who never releases it gives it away: then nobody uses it again, and V8 collects it.
 */
export class LentMemory {
  readonly bytes: Buffer;
  readonly #onFree: () => void;
  #holds = 1;

  /** Without `onFree` it is collected after its use, like any buffer. */
  constructor(bytes: Buffer, onFree: () => void = () => {}) {
    this.bytes = bytes;
    this.#onFree = onFree;
  }

  /** Throws when it is free: its bytes may be others by now. */
  hold(): void {
    this.#check();
    this.#holds++;
  }

  release(): void {
    this.#check();
    this.#holds--;
    if (this.#holds === 0) this.#onFree();
  }

  /** Holds it until the borrower is done, or for ever. */
  lend(borrower: Borrower | undefined): void {
    this.hold();
    borrower?.onAnswered?.(() => this.release());
  }

  #check(): void {
    if (this.#holds === 0) throw new ArtifactError('Internal', 'memory was used after its release');
  }
}

/**
 * Memory for fetched bytes and for answers put together of them. New memory costs page faults, and a collection of the
 * whole heap each time that V8 has counted enough of it: more than bringing the bytes. So some of what is free is kept.
 */
export class LentMemoryPool {
  readonly #freeBytesMax: number;
  readonly #make: (bytes: number) => Buffer;
  /** The one that came back last is at the end. */
  readonly #free: Buffer[] = [];
  #freeBytes = 0;

  constructor(freeBytesMax: number, make: (bytes: number) => Buffer = Buffer.allocUnsafeSlow) {
    this.#freeBytesMax = freeBytesMax;
    this.#make = make;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Memory of this length, with any bytes in it, that the caller holds. */
  take(length: number): LentMemory {
    const size = Math.ceil(length / blockBytes) * blockBytes;
    const index = this.#free.findLastIndex((buffer) => buffer.length === size);
    const [found] = index < 0 ? [] : this.#free.splice(index, 1);
    if (found !== undefined) this.#freeBytes -= size;
    const whole = found ?? this.#make(size);
    return new LentMemory(whole.subarray(0, length), () => this.#takeBack(whole));
  }

  #takeBack(buffer: Buffer): void {
    this.#free.push(buffer);
    this.#freeBytes += buffer.length;
    while (this.#freeBytes > this.#freeBytesMax) this.#freeBytes -= this.#free.shift()?.length ?? 0;
  }
}
