import { closeSync, fstatSync } from 'node:fs';
import type { ObjectStore } from '../../store/object-store.js';
import type { LocalObject } from '../ports.js';
import type { DiskCache } from './disk-cache.js';

/**
 * Objects as local files that somebody else may read past us: no checksum is looked at then, so all of it was checked
 * before, once in the life of the daemon.
 */
export class LocalObjects {
  readonly #disk: DiskCache;
  readonly #store: Pick<ObjectStore, 'head'>;
  readonly #verifying = new Map<string, Promise<void>>();

  constructor(disk: DiskCache, store: Pick<ObjectStore, 'head'>) {
    this.#disk = disk;
    this.#store = store;
  }

  of(key: string, size: number): LocalObject {
    return {
      open: () => this.#open(key, size),
      hold: () => this.#disk.holdData(key),
      verify: () => this.#verify(key, size),
    };
  }

  /** Resolves when nothing is being verified. */
  async settled(): Promise<void> {
    await Promise.all(this.#verifying.values());
  }

  #open(key: string, size: number): number | undefined {
    const object = this.#disk.verified(key);
    if (object === undefined || object.table.size !== size) return undefined;
    const descriptor = this.#disk.openData(object);
    if (descriptor === undefined) return undefined;
    if (fstatSync(descriptor).size === size) return descriptor;
    closeSync(descriptor);
    return undefined;
  }

  #verify(key: string, size: number): void {
    if (this.#verifying.has(key)) return;
    const verifying = this.#verifyNow(key, size)
      .catch(() => {}) // then it is read through us, which says what is wrong
      .finally(() => this.#verifying.delete(key));
    this.#verifying.set(key, verifying);
  }

  async #verifyNow(key: string, size: number): Promise<void> {
    const object = await this.#disk.open(key);
    if (object.verified || !object.hasAll(size)) return;
    // The file may show the beginning of a longer object, whose further blocks would come into the same local file.
    if (object.table.size === null) this.#disk.noteSize(object, (await this.#store.head(key)).size);
    if (object.table.size === size) await this.#disk.verify(object, size);
  }
}
