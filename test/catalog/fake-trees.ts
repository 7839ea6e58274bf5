import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { compareEntries, type Entry } from '../../src/model/entry.js';
import type { TreeRef } from '../../src/workspace/records.js';
import type { Metarange, RangeRef, TreeReader } from '../../src/workspace/trees.js';

/** A tree reader over arrays, that cuts ranges where the test says and counts what is asked of it. */
export class FakeTrees implements TreeReader {
  readonly #metaranges = new Map<string, Metarange>();
  readonly #ranges = new Map<string, readonly Entry[]>();
  readonly fetched: string[] = [];
  metarangesFetched = 0;
  /** Awaited before each range is answered. */
  gate: (range: RangeRef) => Promise<void> = async () => {};

  /** Publishes sorted entries, cut before each index in `cuts`. */
  publish(entries: readonly Entry[], cuts: readonly number[] = []): TreeRef {
    const bounds = [
      ...new Set([0, ...cuts.filter((cut) => cut > 0 && cut < entries.length), entries.length]),
    ];
    bounds.sort((a, b) => a - b);
    const ranges: RangeRef[] = [];
    for (let i = 0; i + 1 < bounds.length; i++) {
      ranges.push(this.#range(entries.slice(bounds[i], bounds[i + 1])));
    }
    const bytes = entries.reduce((sum, entry) => sum + entry.size, 0);
    const sha256 = hash(JSON.stringify([ranges, entries.length]));
    this.#metaranges.set(sha256, {
      kind: 'artifactfs.metarange',
      formatVersion: 1,
      root: rootEntry,
      ranges,
      entries: entries.length,
      bytes,
      inoPrefixes: [7],
    });
    return {
      object: `t/${sha256.slice(0, 8)}`,
      offset: 0,
      length: 1,
      sha256,
      entries: entries.length,
      bytes,
    };
  }

  async metarange(_artifactId: string, tree: TreeRef): Promise<Metarange> {
    this.metarangesFetched++;
    await Promise.resolve();
    const metarange = this.#metaranges.get(tree.sha256);
    if (metarange === undefined) throw new Error(`no metarange ${tree.sha256}`);
    return structuredClone(metarange);
  }

  async range(_artifactId: string, range: RangeRef): Promise<Entry[]> {
    this.fetched.push(range.sha256);
    await this.gate(range);
    const entries = this.#ranges.get(range.sha256);
    if (entries === undefined) throw new Error(`no range ${range.sha256}`);
    return structuredClone([...entries]);
  }

  /** Makes the store answer other entries than the reference promises. */
  spoil(sha256: string, change: (entries: readonly Entry[]) => readonly Entry[]): void {
    this.#ranges.set(sha256, change(this.#ranges.get(sha256) ?? []));
  }

  rangesOf(tree: TreeRef): readonly RangeRef[] {
    return this.#metaranges.get(tree.sha256)?.ranges ?? [];
  }

  #range(entries: readonly Entry[]): RangeRef {
    const sha256 = hash(JSON.stringify(entries));
    this.#ranges.set(sha256, entries);
    const first = entries[0] ?? rootEntry;
    const last = entries.at(-1) ?? rootEntry;
    return {
      object: `t/${sha256.slice(0, 8)}`,
      offset: 0,
      length: 1,
      sha256,
      entries: entries.length,
      first: { dir: first.dir, name: first.name },
      last: { dir: last.dir, name: last.name },
    };
  }
}

const hash = (text: string): string => createHash('sha256').update(text).digest('hex');

export const rootEntry: Entry = plainEntry('', '', { kind: 'dir', ino: 1, mode: 0o755, nlink: 2 });

export function plainEntry(dir: string, name: string, fields: Partial<Entry> = {}): Entry {
  const base = {
    dir,
    name,
    kind: 'file',
    ino: 7 * 2 ** 20,
    mode: 0o644,
    uid: 1000,
    gid: 1000,
    nlink: 1,
    size: 0,
    mtime: { s: 1_700_000_000, ns: 1 },
    ctime: { s: 1_700_000_000, ns: 2 },
  } as const;
  return { ...base, ...fields };
}

/** `count` files of 100 per directory, as a data set of images has them; sorted. */
export function imageEntries(count: number): Entry[] {
  const entries: Entry[] = [];
  for (let i = 0; i < count; i++) {
    const dir = `data/images/train/class-${String(Math.floor(i / 100)).padStart(5, '0')}`;
    entries.push(
      plainEntry(dir, `img_${String(i).padStart(8, '0')}.jpg`, {
        ino: 123_456_789 * 2 ** 20 + i,
        size: 4096 + i,
        extents: [
          { object: `d/ab1201HNZX8JGFACFA36RBXDHEQN6E/${i >> 10}.pack`, offset: i, length: 4096 + i },
        ],
        sha256: 'a1b2c3d4e5f60718'.repeat(4),
      }),
    );
  }
  return entries;
}

// Characters around '/' and beyond the basic plane make the byte order differ from naive orders.
const component = fc.string({
  unit: fc.constantFrom('a', 'b', '-', '.', '0', '!', 'é', '\uffee', '\u{1f600}'),
  minLength: 1,
  maxLength: 3,
});
export const directoryPath = fc
  .array(component, { minLength: 0, maxLength: 3 })
  .map((components) => components.join('/'));

const seconds = fc.integer({ min: -(2 ** 40), max: 2 ** 40 });
const someTime = fc.record({ s: seconds, ns: fc.integer({ min: 0, max: 999_999_999 }) });
const extent = fc.record({
  object: fc.option(fc.string(), { nil: null }),
  offset: fc.nat(),
  length: fc.maxSafeNat(),
});

/** Any entry the types allow, with every optional field there or not. */
export const anyEntry: fc.Arbitrary<Entry> = fc.record(
  {
    dir: directoryPath,
    name: component,
    kind: fc.constantFrom('file', 'dir', 'symlink', 'fifo', 'socket', 'char', 'block'),
    ino: fc.maxSafeNat(),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.nat(),
    gid: fc.nat(),
    nlink: fc.nat(),
    size: fc.maxSafeNat(),
    mtime: someTime,
    ctime: someTime,
    atime: someTime,
    extents: fc.array(extent, { maxLength: 3 }),
    sha256: fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 }),
    target: fc.string({ unit: 'grapheme', minLength: 1 }),
    rdev: fc.nat(),
    xattrs: fc.dictionary(fc.string(), fc.base64String(), { noNullPrototype: true }),
    extra: fc.constant({ future: { deep: [1, null, 'x'] } }),
  },
  {
    requiredKeys: [
      ...(['dir', 'name', 'kind', 'ino', 'mode', 'uid', 'gid', 'nlink', 'size', 'mtime', 'ctime'] as const),
    ],
  },
);

/** Sorted, no key twice, all of one tree. */
export const anyTree: fc.Arbitrary<Entry[]> = fc
  .uniqueArray(anyEntry, { maxLength: 60, selector: (entry) => `${entry.dir}\0${entry.name}` })
  .map((entries) => [...entries].sort(compareEntries));
