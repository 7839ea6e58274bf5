import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { DiskCache } from '../cache/disk-cache.js';
import type { LentMemory } from '../lent-memory.js';
import type { ObjectBlocks } from './object-blocks.js';

/** Gives to the disk cache what was fetched: at once where the disk follows, else when it does, if it is in memory then. */
export class FetchedToDisk {
  readonly #disk: DiskCache;
  /** What the disk did not take, in the order in which it came. */
  readonly #later = new Map<LentMemory, { readonly blocks: ObjectBlocks; readonly start: number }>();

  constructor(disk: DiskCache) {
    this.#disk = disk;
  }

  /** Who is patient waits until the disk has taken it. */
  keep(blocks: ObjectBlocks, start: number, memory: LentMemory, patient: boolean): MaybePromise<void> {
    return chain(this.#offer(blocks, start, memory, patient), (isTaken) => {
      if (isTaken) return;
      this.#forgetGone();
      this.#later.set(memory, { blocks, start });
    });
  }

  /** False: the disk does not follow. */
  #offer(blocks: ObjectBlocks, start: number, memory: LentMemory, patient: boolean): MaybePromise<boolean> {
    if (blocks.disk === null) return true;
    memory.hold();
    const taken = this.#disk.store(blocks.disk, start, memory.bytes, patient, () => {
      memory.release();
      this.#offerLater();
    });
    return chain(taken, (isTaken) => {
      if (!isTaken) memory.release();
      return isTaken;
    });
  }

  /** What the disk could not take before, now that it has room. */
  #offerLater(): void {
    this.#forgetGone();
    for (const [memory, { blocks, start }] of this.#later) {
      if (blocks.run(start)?.memory === memory) {
        if (this.#offer(blocks, start, memory, false) === false) return;
      } else {
        this.#disk.skipped(memory.bytes.length);
      }
      this.#later.delete(memory);
    }
  }

  /** Those at the front that have left the memory are given up. */
  #forgetGone(): void {
    for (const [memory, { blocks, start }] of this.#later) {
      if (blocks.run(start)?.memory === memory) return;
      this.#later.delete(memory);
      this.#disk.skipped(memory.bytes.length);
    }
  }
}
