import { statfsSync } from 'node:fs';
import { limits } from '../model/limits.js';

/** Free bytes of the file system that holds `directory`, asked again after a moment or when much was written since. */
export class FreeSpace {
  /** Kept free for the databases: a daemon that cannot write those cannot even say what is wrong. */
  readonly headroomBytes: number;
  readonly #directory: string;
  #freeBytes = 0;
  #takenBytes = 0;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(directory: string) {
    this.#directory = directory;
    const { blocks, bsize } = statfsSync(directory);
    const share = Math.floor(blocks * bsize * limits.diskHeadroomShare);
    this.headroomBytes = Math.min(limits.diskHeadroomBytesMax, Math.max(limits.diskHeadroomBytesMin, share));
  }

  /** What may be written now without touching the headroom; negative when it is touched already. */
  get spareBytes(): number {
    const now = performance.now();
    if (now - this.#askedMs > limits.freeSpaceAgeMsMax || this.#takenBytes > this.#freeBytes / 4) {
      const { bavail, bsize } = statfsSync(this.#directory);
      this.#freeBytes = bavail * bsize;
      this.#takenBytes = 0;
      this.#askedMs = now;
    }
    return this.#freeBytes - this.#takenBytes - this.headroomBytes;
  }

  /** `bytes` are being written. */
  take(bytes: number): void {
    this.#takenBytes += bytes;
  }

  /** Something was freed: ask again. */
  forget(): void {
    this.#askedMs = Number.NEGATIVE_INFINITY;
  }
}
