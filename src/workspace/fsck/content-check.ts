import { createHash } from 'node:crypto';
import type { Entry, Extent } from '../../model/entry.js';
import { isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { objectKey } from '../keys.js';

/** SHA-256 in hex, off the event loop where that is shorter. */
export interface Hashing {
  session(): HashingSession;
}

interface HashingSession {
  update(pieces: readonly Uint8Array[]): Promise<void>;
  finish(pieces: readonly Uint8Array[]): Promise<string>;
  drop(): void;
}

/** Bytes asked for at once: what one file holds in memory while it is read. */
const readBytes = 8 << 20;

/** What is wrong with a file's bytes. */
export interface ContentDamage {
  readonly code: 'content-damaged' | 'object-missing' | 'object-truncated';
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  readonly what: string;
}

/** Files with equal keys have the same bytes in the same places. */
export const contentKey = ({ extents = [], sha256 = '' }: Entry): string =>
  extents.reduce((key, { object, offset, length }) => `${key} ${object ?? ''} ${offset} ${length}`, sha256);

/** Objects that a file has bytes in. */
export const objectsOf = ({ extents = [] }: Entry): string[] =>
  extents.flatMap(({ object }) => (object === null ? [] : [object]));

/** Small files of one object that lie close to each other. */
export interface Run {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  readonly entries: readonly Entry[];
}

/** Bytes between two files that are rather read than asked around. */
const gapBytesMax = 1 << 20;

/** Small files in runs; the others by themselves. */
export function runsOf(entries: readonly Entry[]): (Run | Entry)[] {
  const alone: Entry[] = [];
  const runs: Run[] = [];
  const placed = entries.flatMap((entry) => {
    const extent = entry.extents?.[0];
    const isSmall = entry.extents?.length === 1 && entry.size < limits.hashInlineBytesMax;
    if (isSmall && typeof extent?.object === 'string') return { ...extent, object: extent.object, entry };
    alone.push(entry);
    return [];
  });
  placed.sort((a, b) => (a.object === b.object ? a.offset - b.offset : a.object < b.object ? -1 : 1));
  for (const { object, offset, length, entry } of placed) {
    const run = runs.at(-1);
    const end = Math.max(offset + length, run === undefined ? 0 : run.offset + run.length);
    const fits =
      run?.object === object &&
      offset - (run.offset + run.length) <= gapBytesMax &&
      end - run.offset <= readBytes;
    if (!fits || run === undefined) runs.push({ object, offset, length, entries: [entry] });
    else runs[runs.length - 1] = { ...run, length: end - run.offset, entries: [...run.entries, entry] };
  }
  return [...runs, ...alone];
}

/** Reads the bytes of files from the store and compares them with what the file table says of them. */
export class ContentCheck {
  readonly #store: ObjectStore;
  readonly #artifactId: string;
  readonly #hashing: Hashing;
  readonly #onBytes: (bytes: number) => void;

  constructor(store: ObjectStore, artifactId: string, hashing: Hashing, onBytes: (bytes: number) => void) {
    this.#store = store;
    this.#artifactId = artifactId;
    this.#hashing = hashing;
    this.#onBytes = onBytes;
  }

  /**
   * Null: every byte is there and, where the table has a hash, right. An answer that is wrong is not believed before it
   * came several times.
   */
  async check(entry: Entry, options: CallOptions): Promise<ContentDamage | null> {
    for (let attempt = 1; ; attempt++) {
      const damage = await this.#read(entry, options);
      if (damage === null || attempt === limits.storeDamagedGetsMax) return damage;
    }
  }

  /** The same for small files side by side in one object, by one request. Answers those that must be looked at by themselves. */
  async checkRun({ object, offset, length, entries }: Run, options: CallOptions): Promise<readonly Entry[]> {
    let bytes: Buffer;
    try {
      bytes = await this.#store.get(objectKey(this.#artifactId, object), { offset, length }, options);
    } catch (error) {
      if (isCode(error, 'NotFound', 'Corrupt')) return entries;
      throw error;
    }
    this.#onBytes(length);
    return entries.filter(({ extents, sha256 }) => {
      const start = (extents?.[0]?.offset ?? 0) - offset;
      const own = bytes.subarray(start, start + (extents?.[0]?.length ?? 0));
      return sha256 !== undefined && createHash('sha256').update(own).digest('hex') !== sha256;
    });
  }

  async #read(entry: Entry, options: CallOptions): Promise<ContentDamage | null> {
    const { extents = [], sha256, size } = entry;
    let hash = sha256 === undefined ? null : this.#hash(size);
    try {
      for (const extent of extents) {
        const damage = await this.#readExtent(extent, hash, options);
        if (damage !== null) return damage;
      }
      const found = await hash?.finish([]);
      hash = null;
      return found === undefined || found === sha256 ? null : damaged(extents, found, sha256 ?? '');
    } finally {
      hash?.drop();
    }
  }

  async #readExtent(
    { object, offset, length }: Extent,
    hash: HashingSession | null,
    options: CallOptions,
  ): Promise<ContentDamage | null> {
    for (let done = 0; done < length; ) {
      const count = Math.min(readBytes, length - done);
      const where = { offset: offset + done, length: count };
      if (object === null) {
        if (hash !== null) await hash.update([Buffer.alloc(count)]);
      } else
        try {
          const key = objectKey(this.#artifactId, object);
          const bytes = await this.#store.get(key, where, options);
          this.#onBytes(count);
          await hash?.update([bytes]);
        } catch (error) {
          if (isCode(error, 'NotFound'))
            return { code: 'object-missing', object, ...where, what: 'the data object is not there' };
          if (isCode(error, 'Corrupt'))
            return { code: 'object-truncated', object, ...where, what: error.message };
          throw error;
        }
      done += count;
    }
    return null;
  }

  #hash(size: number): HashingSession {
    return size < limits.hashInlineBytesMax ? inlineHash() : this.#hashing.session();
  }
}

/** A thread hop costs more than a small file. */
function inlineHash(): HashingSession {
  const hash = createHash('sha256');
  return {
    update: async (pieces) => {
      for (const piece of pieces) hash.update(piece);
    },
    finish: async () => hash.digest('hex'),
    drop: () => undefined,
  };
}

function damaged(extents: readonly Extent[], found: string, sha256: string): ContentDamage {
  const first = extents.find(({ object }) => object !== null);
  const objects = new Set(extents.flatMap(({ object }) => object ?? [])).size;
  const where = objects === 1 ? '' : `, in ${objects} objects of which this is the first`;
  return {
    code: 'content-damaged',
    object: first?.object ?? '',
    offset: first?.offset ?? 0,
    length: first?.length ?? 0,
    what: `the bytes have the SHA-256 ${found}, and must have ${sha256}${where}`,
  };
}
