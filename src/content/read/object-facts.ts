import type { ObjectStore } from '../../store/object-store.js';
import { SharedWork } from '../../util/shared-work.js';
import type { DiskCache } from '../cache/disk-cache.js';
import type { DiskObject } from '../cache/disk-object.js';
import type { ObjectBlocks } from './object-blocks.js';

/** Learns of objects what is on disk and how long they are, once for all who ask at the same time. */
export class ObjectFacts {
  readonly #store: ObjectStore;
  readonly #disk: DiskCache;
  readonly #opens = new SharedWork<DiskObject>();
  readonly #heads = new SharedWork<number>();

  constructor(store: ObjectStore, disk: DiskCache) {
    this.#store = store;
    this.#disk = disk;
  }

  /** Waits until it is known what of the object is on disk, and how long it is as far as the disk knows. */
  async disk(blocks: ObjectBlocks): Promise<DiskObject> {
    if (blocks.disk !== null && !blocks.disk.dead) return blocks.disk;
    const disk = await this.#opens.run(blocks.key, () => this.#disk.open(blocks.key));
    attach(blocks, disk);
    return disk;
  }

  /** The same as far as it is known without waiting. */
  openDisk(blocks: ObjectBlocks): DiskObject | undefined {
    if (blocks.disk?.dead === false) return blocks.disk;
    const disk = this.#disk.opened(blocks.key);
    if (disk !== undefined) attach(blocks, disk);
    return disk;
  }

  /** `blocks.size` is known when it resolves. */
  async size(blocks: ObjectBlocks): Promise<void> {
    if (blocks.size !== null) return;
    const size = await this.#heads.run(blocks.key, async () => (await this.#store.head(blocks.key)).size);
    blocks.size = size;
    if (blocks.disk !== null) this.#disk.noteSize(blocks.disk, size);
  }
}

function attach(blocks: ObjectBlocks, disk: DiskObject): void {
  blocks.disk = disk;
  blocks.size ??= disk.table.size;
  blocks.noteEnd(disk.table.end);
}
