import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
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
    const onDisk = this.#cached + this.#leavingBytes + this.#spareBytes;
    const mine = Math.min(this.bytesMax - this.#staged, this.#cacheLimitBytes) - this.#left;
    return Math.max(0, Math.min(mine, onDisk));
  }

  /** True when `reclaim` can free something. */
  get reclaimable(): boolean {
    return this.#cached > 0 || this.#leaving.size > 0;
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
   * add a few rows to them.
   */
  admitRows(): void {
    const { rowsBytes } = limits;
    this.beginWrite(rowsBytes);
    this.endWrite(rowsBytes);
    const reserve = -(this.#space?.headroomBytes ?? 0) / 2;
    if (this.#spareBytes >= reserve) return;
    this.#space?.forget();
    if (this.#spareBytes >= reserve) return;
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
   * The disk has no room for `bytes`: waits for what is being removed, and lets the cache give up what is still lacking.
   * False when there was nothing to free.
   */
  async reclaim(bytes: number): Promise<boolean> {
    const helps = this.reclaimable;
    this.#space?.forget();
    const lacking = bytes - Math.min(0, this.#spareBytes) - this.#leavingBytes;
    if (lacking > 0) this.#evict(lacking);
    await Promise.all(this.#leaving);
    return helps;
  }

  #changed(bytes: number): void {
    if (bytes < 0) this.#space?.forget();
    else if (this.#cached > this.cacheBytesMax) this.#onPressure();
  }

  get #spareBytes(): number {
    return this.#space?.spareBytes ?? Number.POSITIVE_INFINITY;
  }
}
