import { type Entry, entryPath } from '../../model/entry.js';
import { isCode } from '../../model/errors.js';
import type { CallOptions } from '../../store/object-store.js';
import { forEachOf } from '../../util/for-each-of.js';
import { objectKey, parseKey } from '../keys.js';
import type { TreeRef } from '../records.js';
import type { ReplayedVersion } from '../replay.js';
import type { Piece } from '../tree-store.js';
import type { Metarange, RangeRef, TreeReader } from '../trees.js';
import { Affected } from './affected.js';
import { type Finding, finding, type Place } from './findings.js';

/** What LIST shows of an artifact: sizes by `object` (the key relative to the artifact). */
export type ObjectSizes = ReadonlyMap<string, number>;

/** Compares trees with what a machine has noted of them. */
export interface LocalTrees {
  metarange(tree: TreeRef, metarange: Metarange): Promise<void>;
  range(range: RangeRef, entries: readonly Entry[]): Promise<void>;
}

export interface TreeCheckParts {
  readonly place: Place;
  readonly trees: TreeReader;
  readonly sizes: ObjectSizes;
  /** Told of each metarange and range that is whole, once. */
  readonly local?: LocalTrees;
}

const rangesAtOnce = 4;

/** Checks the trees of an artifact's versions, each range once, and gathers which objects they use. */
export class TreeCheck {
  /** Where the last byte of each data object that is used ends. */
  readonly dataEnds = new Map<string, number>();
  /** Tree objects that are used. */
  readonly treeObjects = new Set<string>();
  readonly #parts: TreeCheckParts;
  /** By hash; of a damaged one, what it concerns. */
  readonly #ranges = new Map<string, RangeFacts | Affected>();
  readonly #damages = new Map<string, { finding: Finding; affected: Affected }>();

  constructor(parts: TreeCheckParts) {
    this.#parts = parts;
  }

  /** All could be read, so what is not used is known. */
  get isWhole(): boolean {
    return this.#damages.size === 0;
  }

  async check(version: ReplayedVersion, options: CallOptions): Promise<void> {
    const metarange = await this.#metarange(version, options);
    if (metarange === null) return;
    await this.#parts.local?.metarange(version.tree, metarange);
    await forEachOf(metarange.ranges, rangesAtOnce, (range) => this.#checkRange(version, range, options));
    this.#checkWhole(version, metarange);
  }

  findings(): Finding[] {
    return [...this.#damages.values()].map(({ finding, affected }) => affected.completed(finding));
  }

  /** The entries of a version that can be read, range by range. */
  async *entries(version: ReplayedVersion, options: CallOptions): AsyncGenerator<readonly Entry[]> {
    const { trees, place } = this.#parts;
    const metarange = await this.#metarange(version, options);
    for (const range of metarange?.ranges ?? [])
      if (this.#ranges.get(range.sha256) instanceof RangeFacts)
        yield await trees.range(place.artifactId, range, options);
  }

  async #metarange(version: ReplayedVersion, options: CallOptions): Promise<Metarange | null> {
    const { trees, place } = this.#parts;
    const { tree } = version;
    const read = () => trees.metarange(place.artifactId, tree, options);
    const means = `the file table of v${version.version} cannot be read, and none of its ${tree.entries} names found`;
    const metarange = await this.#read(tree, version, means, tree.entries, read);
    return metarange instanceof Affected ? null : metarange;
  }

  async #checkRange(version: ReplayedVersion, range: RangeRef, options: CallOptions): Promise<void> {
    const { trees, place, local } = this.#parts;
    const known = this.#ranges.get(range.sha256);
    if (known instanceof Affected) known.version(version.version);
    if (known !== undefined) return;
    const span = `from '${entryPath(range.first)}' to '${entryPath(range.last)}'`;
    const means = `${range.entries} names ${span} cannot be found`;
    const entries = await this.#read(range, version, means, range.entries, () =>
      trees.range(place.artifactId, range, options),
    );
    this.#ranges.set(
      range.sha256,
      entries instanceof Affected ? entries : this.#gather(version, range, entries),
    );
    if (!(entries instanceof Affected)) await local?.range(range, entries);
  }

  /** When it is damaged, that is noted and what it concerns answered. */
  async #read<T>(
    piece: Piece,
    version: ReplayedVersion,
    means: string,
    names: number,
    read: () => Promise<T>,
  ): Promise<T | Affected> {
    const { place, sizes } = this.#parts;
    this.treeObjects.add(piece.object);
    const key = objectKey(place.artifactId, piece.object);
    const { offset, length } = piece;
    const end = offset + length;
    const size = sizes.get(piece.object);
    const note = (code: Finding['code'], what: string, severity: Finding['severity'] = 'damage') => {
      const said = finding(place, { severity, code, key, offset, length, what, means });
      const affected = this.#note(`${code} ${key} ${offset} ${piece.sha256}`, said, version);
      affected.unnamed(names);
      return affected;
    };
    try {
      return await read();
    } catch (error) {
      if (isCode(error, 'UnsupportedFormat')) return note('newer-format', error.message, 'warning');
      if (isCode(error, 'NotFound')) return note('tree-missing', 'the tree object is not there');
      if (!isCode(error, 'Corrupt')) throw error;
      if (size !== undefined && size < end)
        return note('tree-truncated', `the tree object has ${size} bytes, and must have at least ${end}`);
      return note('tree-damaged', error.message);
    }
  }

  #gather(version: ReplayedVersion, range: RangeRef, entries: readonly Entry[]): RangeFacts {
    const facts = new RangeFacts();
    for (const entry of entries) {
      if (entry.kind === 'file') facts.bytes += entry.size;
      facts.used.add(entry.dir);
      if (entry.kind === 'dir') facts.directories.add(entryPath(entry));
      const wrong = this.#useExtents(entry);
      if (wrong !== null) this.#noteEntry(version, range, entryPath(entry), wrong);
    }
    return facts;
  }

  /** Notes what the entry uses; answers what is wrong with it. */
  #useExtents({ kind, size, extents = [] }: Entry): string | null {
    let total = 0;
    for (const { object, offset, length } of extents) {
      total += length;
      if (object === null) continue;
      if (parseKey(objectKey(this.#parts.place.artifactId, object))?.type !== 'data')
        return `has bytes in ${JSON.stringify(object)}, which is no data object`;
      this.dataEnds.set(object, Math.max(this.dataEnds.get(object) ?? 0, offset + length));
    }
    if (kind === 'file' && total !== size) return `has a size of ${size}, but its extents add up to ${total}`;
    return kind !== 'file' && extents.length > 0 ? `is a ${kind} with extents` : null;
  }

  /** What only all ranges together tell. Says nothing when one of them is damaged. */
  #checkWhole(version: ReplayedVersion, metarange: Metarange): void {
    const facts = metarange.ranges.map((range) => this.#ranges.get(range.sha256));
    if (!facts.every((one) => one instanceof RangeFacts)) return;
    const bytes = facts.reduce((sum, one) => sum + one.bytes, 0);
    if (bytes !== metarange.bytes)
      this.#noteEntry(version, version.tree, '', `has files of ${bytes} bytes, and says ${metarange.bytes}`);
    const directories = new Set(['']);
    for (const one of facts) for (const path of one.directories) directories.add(path);
    for (const one of facts)
      for (const path of one.used)
        if (!directories.has(path))
          this.#noteEntry(version, version.tree, path, 'is no directory of the tree, but names are in it');
  }

  #noteEntry(version: ReplayedVersion, piece: Piece, path: string, wrong: string): void {
    const { place } = this.#parts;
    const { offset, length } = piece;
    const key = objectKey(place.artifactId, piece.object);
    const what = `${path === '' ? 'the file table' : `'${path}'`} ${wrong}`;
    const said = finding(place, {
      severity: 'damage',
      code: 'entry-contradiction',
      key,
      offset,
      length,
      what,
    });
    const affected = this.#note(`entry ${piece.sha256} ${path}`, said, version);
    if (path !== '') affected.file(path);
  }

  #note(id: string, said: Finding, version: ReplayedVersion): Affected {
    const known = this.#damages.get(id) ?? { finding: said, affected: new Affected() };
    this.#damages.set(id, known);
    known.affected.version(version.version);
    return known.affected;
  }
}

class RangeFacts {
  bytes = 0;
  /** Paths of directories in it. */
  readonly directories = new Set<string>();
  /** Directories that names in it are in. */
  readonly used = new Set<string>();
}
