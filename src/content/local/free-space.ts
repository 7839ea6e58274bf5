import { statfsSync } from 'node:fs';
import { limits } from '../../model/limits.js';

/** What statfs(2) tells; `blocks` is 0 where a file system does not tell its size: there only a write finds out. */
interface Space {
  readonly blocks: number;
  readonly bavail: number;
  readonly bsize: number;
}

/**
 * Free bytes of the file system that holds `directory`, less those that are being written. The file system is asked
 * again after a moment or when much was written since.
 */
export class FreeSpace {
  /** Kept free for the databases: a daemon that cannot write those cannot even say what is wrong. */
  readonly headroomBytes: number;
  readonly #ask: () => Space;
  #freeBytes = 0;
  /** Of writes under way: no file system shows all of these yet. */
  #pendingBytes = 0;
  /** Of writes that ended since the file system was asked. */
  #writtenBytes = 0;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(directory: string, ask: (directory: string) => Space = statfsSync) {
    this.#ask = () => ask(directory);
    const { blocks, bsize } = this.#ask();
    const share = Math.floor(blocks * bsize * limits.diskHeadroomShare);
    this.headroomBytes = Math.min(limits.diskHeadroomBytesMax, Math.max(limits.diskHeadroomBytesMin, share));
  }

  /** What may be written now without touching the headroom; negative when it is touched already. */
  get spareBytes(): number {
    return this.freeBytes - this.#pendingBytes - this.headroomBytes;
  }

  /** The headroom and what writes under way still need included. */
  get freeBytes(): number {
    const now = performance.now();
    if (now - this.#askedMs > limits.freeSpaceAgeMsMax || this.#writtenBytes > this.#freeBytes / 4) {
      const { blocks, bavail, bsize } = this.#ask();
      this.#freeBytes = blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
      this.#writtenBytes = 0;
      this.#askedMs = now;
    }
    return this.#freeBytes - this.#writtenBytes;
  }

  begin(bytes: number): void {
    this.#pendingBytes += bytes;
  }

  end(bytes: number): void {
    this.#pendingBytes -= bytes;
    this.wrote(bytes);
  }

  wrote(bytes: number): void {
    this.#writtenBytes += bytes;
  }

  /** Something was freed: ask again. */
  forget(): void {
    this.#askedMs = Number.NEGATIVE_INFINITY;
  }
}
