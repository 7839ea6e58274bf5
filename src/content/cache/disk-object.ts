import { limits } from '../../model/limits.js';
import type { BlockTable } from '../local/disk-index.js';

const { blockBytes } = limits;

/** The cached blocks of one object. After its eviction it is `dead`: it answers and takes nothing any more. */
export class DiskObject {
  readonly key: string;
  readonly name: string;
  readonly table: BlockTable;
  dead = false;
  /** INVARIANT: all blocks up to the object's size are here, and had their checksums since this daemon started. */
  verified = false;
  /** Who reads the data file past us. */
  readers = 0;
  /** Taken by the data file after it was removed, as long as it has readers. */
  leftBytes = 0;

  /** `name` is what the cache calls it. */
  constructor(key: string, name: string, table: BlockTable) {
    this.key = key;
    this.name = name;
    this.table = table;
  }

  has(block: number, length: number): boolean {
    return this.table.length(block) >= length;
  }

  /** All of a range that is not empty. */
  hasRange(offset: number, length: number): boolean {
    if (this.dead) return false;
    const end = offset + length;
    for (let block = Math.floor(offset / blockBytes); block * blockBytes < end; block++) {
      if (!this.has(block, Math.min(blockBytes, end - block * blockBytes))) return false;
    }
    return true;
  }

  /** Every block of an object of this size. */
  hasAll(size: number): boolean {
    return this.hasRange(0, size);
  }
}

/** An object whose bytes a local file has. */
export interface WholeObject {
  readonly key: string;
  readonly size: number;
  /** CRC32 of every `limits.checkBytes` of it. */
  readonly checks: readonly number[];
}
