import { ArtifactError } from '../model/errors.js';
import type { FreeSpace } from './free-space.js';

/**
 * One allowance for everything this mount keeps on the local disk. Staged bytes are the user's and come first: they
 * push cached ones out, and are refused only when they alone would pass the budget.
 */
export class DiskBudget {
  readonly bytesMax: number;
  readonly #space: FreeSpace | null;
  #staged = 0;
  #cached = 0;
  #evict: (bytes: number) => Promise<number> = () => Promise.resolve(0);
  #onPressure: () => void = () => {};

  /** Without `space` only the budget counts. */
  constructor(bytesMax: number, space: FreeSpace | null = null) {
    this.bytesMax = bytesMax;
    this.#space = space;
  }

  get stagedBytes(): number {
    return this.#staged;
  }

  get cachedBytes(): number {
    return this.#cached;
  }

  /** What the cache may hold now. */
  get cacheBytesMax(): number {
    const onDisk = this.#cached + this.#spareBytes;
    return Math.max(0, Math.min(this.bytesMax - this.#staged, onDisk));
  }

  /** `onPressure` is called when the cache holds more than it may; `evict` frees at least so many bytes if it can. */
  attachCache(onPressure: () => void, evict: (bytes: number) => Promise<number>): void {
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
    if (bytes > this.#spareBytes) {
      throw new ArtifactError('NoSpace', 'the local disk is full', {
        hint: 'free space under the state directory, or commit and discard what is staged',
      });
    }
    this.#space?.take(bytes);
  }

  addStaged(bytes: number): void {
    this.#staged += bytes;
    if (this.#cached > this.cacheBytesMax) this.#onPressure();
  }

  addCached(bytes: number): void {
    this.#cached += bytes;
    if (this.#cached > this.cacheBytesMax) this.#onPressure();
  }

  /** Asks the cache to give up at least `bytes`, because the disk itself is full. True when it freed something. */
  async reclaim(bytes: number): Promise<boolean> {
    const freed = await this.#evict(bytes);
    this.#space?.forget();
    return freed > 0;
  }

  get #spareBytes(): number {
    return this.#space?.spareBytes ?? Number.POSITIVE_INFINITY;
  }
}
