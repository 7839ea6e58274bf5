import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { FreeSpace } from './free-space.js';

const fullHint = 'free space under the state directory, or commit and discard what is staged';

/**
 * One allowance for everything this mount keeps on the local disk. Staged bytes are the user's and come first: they
 * push cached ones out, and are refused only when they alone would pass the budget or the disk.
 */
export class DiskBudget {
  readonly bytesMax: number;
  readonly #space: FreeSpace | null;
  /** Of `bytesMax`, what cached blocks may take at most. */
  readonly #cacheLimitBytes: number;
  #staged = 0;
  #cached = 0;
  /** Of files that the cache has removed and that somebody still reads. */
  #left = 0;
  /** Of removals that the file system has not finished: not counted above any more, not free yet. */
  #leavingBytes = 0;
  readonly #leaving = new Set<Promise<void>>();
  /** Writes of the cache that are under way: they have their room, and can give it up afterwards. */
  readonly #arriving = new Set<Promise<void>>();
  /** How many wait in `reclaim`. */
  #waiting = 0;
  #evict: (bytes: number) => void = () => {};
  #onPressure: () => void = () => {};

  /** Without `space` only the budget counts. */
  constructor(bytesMax: number, space: FreeSpace | null = null, cacheBytesMax = bytesMax) {
    this.bytesMax = bytesMax;
    this.#cacheLimitBytes = cacheBytesMax;
    this.#space = space;
  }

  get stagedBytes(): number {
    return this.#staged;
  }

  get cachedBytes(): number {
    return this.#cached;
  }

  /** What the cache may hold once all is removed that is being removed. */
  get cacheBytesMax(): number {
    const free = this.#leavingBytes + this.#spareBytes - this.#distanceBytes;
    const onDisk = this.#cached + (this.#waiting > 0 ? Math.min(0, free) : free);
    const mine = Math.min(this.bytesMax - this.#staged, this.#cacheLimitBytes) - this.#left;
    return Math.max(0, Math.min(mine, onDisk));
  }

  /** True when `reclaim` may free something. */
  get reclaimable(): boolean {
    return this.#cached > 0 || this.#leaving.size > 0 || this.#arriving.size > 0;
  }

  /** `onPressure` is called when the cache holds more than it may; `evict` begins to remove so many bytes if it can. */
  attachCache(onPressure: () => void, evict: (bytes: number) => void): void {
    this.#onPressure = onPressure;
    this.#evict = evict;
  }

  /** Throws `NoSpace` when `bytes` more cannot be staged. Called before they are written. */
  admit(bytes: number): void {
    if (this.#staged + bytes <= this.bytesMax) return;
    throw new ArtifactError(
      'NoSpace',
      `staged files hold ${this.#staged} bytes; ${bytes} more would pass the disk budget of ${this.bytesMax}`,
      { hint: 'commit or discard what is staged, or give the mount a larger disk budget' },
    );
  }

  /** Throws `NoSpace` when `bytes` more would touch what the databases need. Freeing cache may help. */
  admitOnDisk(bytes: number): void {
    if (bytes <= this.#spareBytes) return;
    // Nothing is refused for what was so a moment ago.
    this.#space?.forget();
    if (bytes <= this.#spareBytes) return;
    throw new ArtifactError('NoSpace', 'the local disk is full', {
      hint: fullHint,
    });
  }

  /**
   * Throws `NoSpace` when so little is left that the databases take the rest only for what frees some. Who asks is about to
   * add a few rows to them. Freeing cache may help.
   */
  admitRows(): void {
    const space = this.#space;
    if (space === null) return;
    space.wrote(limits.rowsBytes);
    if (space.freeBytes < space.headroomBytes + this.#distanceBytes) this.#checkPressure();
    // Writes under way were promised nothing of the headroom.
    const reserveBytes = space.headroomBytes / 2;
    if (space.freeBytes >= reserveBytes) return;
    space.forget();
    if (space.freeBytes >= reserveBytes) return;
    throw new ArtifactError(
      'NoSpace',
      'the local disk is full; what is left is for removing files and committing',
      {
        hint: fullHint,
      },
    );
  }

  /** From before `bytes` are written until `endWrite`, nobody else is promised the same room. */
  beginWrite(bytes: number): void {
    this.#space?.begin(bytes);
  }

  endWrite(bytes: number): void {
    this.#space?.end(bytes);
  }

  /** The same around `write`, which brings `bytes` into the cache. */
  writeCached(bytes: number, write: () => Promise<void>): Promise<void> {
    this.beginWrite(bytes);
    const written = write().finally(() => {
      this.endWrite(bytes);
      this.#arriving.delete(written);
    });
    this.#arriving.add(written);
    return written;
  }

  addStaged(bytes: number): void {
    this.#staged += bytes;
    this.#changed(bytes);
  }

  addCached(bytes: number): void {
    this.#cached += bytes;
    this.#changed(bytes);
  }

  /** `bytes` are on the disk though the cache has removed them; negative when they are gone at last. */
  addLeft(bytes: number): void {
    this.#left += bytes;
    this.#changed(bytes);
  }

  /** `bytes` that do not count as staged or cached any more are on the disk until `removal` ends. */
  addLeaving(bytes: number, removal: Promise<void>): void {
    this.#leavingBytes += bytes;
    const gone = removal
      .catch(() => {})
      .then(() => {
        this.#leavingBytes -= bytes;
        this.#leaving.delete(gone);
        this.#space?.forget();
      });
    this.#leaving.add(gone);
  }

  /**
   * The disk has no room for `bytes` of the user's: waits for what the cache writes and for what is being removed, lets the cache
   * give up what is still lacking, and then answers `retry`. Until that has ended the cache does not grow.
   */
  async reclaim<T>(bytes: number, retry: () => MaybePromise<T>): Promise<T> {
    this.#waiting++;
    try {
      await Promise.allSettled(this.#arriving);
      this.#space?.forget();
      const lacking = bytes - Math.min(0, this.#spareBytes) - this.#leavingBytes;
      if (lacking > 0) this.#evict(lacking);
      await Promise.all(this.#leaving);
      return await retry();
    } finally {
      this.#waiting--;
    }
  }

  #changed(bytes: number): void {
    if (bytes < 0) this.#space?.forget();
    else this.#checkPressure();
  }

  #checkPressure(): void {
    if (this.#cached > this.cacheBytesMax) this.#onPressure();
  }

  /** So far from the headroom the cache stays: the databases grow on without asking for each row. */
  get #distanceBytes(): number {
    return (this.#space?.headroomBytes ?? 0) / 2;
  }

  get #spareBytes(): number {
    return this.#space?.spareBytes ?? Number.POSITIVE_INFINITY;
  }
}
