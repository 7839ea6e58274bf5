import { compareEntries } from '../model/entry.js';
import { limits } from '../model/limits.js';
import { EntryDecoder, encodeEntry } from './entry-codec.js';
import { corrupt, Fields, parseJson } from './fields.js';
import { compress, decompress, isGzip } from './gzip.js';
import type { TreeRef } from './records.js';
import type { Metarange, RangeRef } from './trees.js';

/** A metarange shorter than this stays plain JSON, readable as it lies in the store. */
const plainBytesMax = 4 << 10;

export async function encodeMetarange(metarange: Metarange): Promise<Buffer> {
  const { kind, formatVersion, entries, bytes, inoPrefixes } = metarange;
  const head = JSON.stringify({ kind, formatVersion, entries, bytes, inoPrefixes });
  const ranges = metarange.ranges.map(({ first, last, ...range }) =>
    JSON.stringify({ ...range, first: [first.dir, first.name], last: [last.dir, last.name] }),
  );
  const text = `${head.slice(0, -1)},"root":${encodeEntry(metarange.root)},"ranges":[${ranges.join(',\n')}]}\n`;
  const plain = Buffer.from(text);
  return plain.length <= plainBytesMax ? plain : compress(plain);
}

/** The metarange that `tree` refers to. `where` names it; anything inconsistent is `Corrupt`. */
export async function decodeMetarange(where: string, bytes: Buffer, tree: TreeRef): Promise<Metarange> {
  const plain = isGzip(bytes) ? await decompress(where, bytes, limits.metarangeBytesMax) : bytes;
  const fields = new Fields(where, parseJson(where, plain.toString()));
  fields.literal('kind', 'artifactfs.metarange');
  fields.formatVersion(1);
  const root = new EntryDecoder(where).decode(fields.get('root'));
  if (root.dir !== '' || root.name !== '' || root.kind !== 'dir')
    throw fields.wrong('root', "the artifact's directory");
  const ranges = fields.array('ranges').map((range) => decodeRangeRef(where, range));
  checkOrder(where, ranges);
  const entries = fields.integer('entries');
  const total = ranges.reduce((sum, range) => sum + range.entries, 0);
  if (entries !== total) throw fields.wrong('entries', `${total}, the sum of its ranges`);
  if (entries !== tree.entries) throw fields.wrong('entries', `${tree.entries} as its reference says`);
  const totalBytes = fields.integer('bytes');
  if (totalBytes !== tree.bytes) throw fields.wrong('bytes', `${tree.bytes} as its reference says`);
  return {
    kind: 'artifactfs.metarange',
    formatVersion: 1,
    root,
    ranges,
    entries,
    bytes: totalBytes,
    inoPrefixes: fields.integers('inoPrefixes'),
  };
}

function decodeRangeRef(where: string, value: unknown): RangeRef {
  const fields = new Fields(`${where}: range`, value);
  return {
    object: fields.matching('object', /^t\/[^/]+\/\d+$/, 'a tree object'),
    offset: fields.integer('offset'),
    length: fields.integer('length', 1),
    sha256: fields.matching('sha256', /^[0-9a-f]{64}$/, 'a SHA-256 in hex'),
    entries: fields.integer('entries', 1),
    first: decodeKey(fields, 'first'),
    last: decodeKey(fields, 'last'),
  };
}

function decodeKey(fields: Fields, name: string): RangeRef['first'] {
  const [dir, base, ...rest] = fields.strings(name);
  if (dir === undefined || base === undefined || rest.length > 0)
    throw fields.wrong(name, '[directory, name]');
  return { dir, name: base };
}

function checkOrder(where: string, ranges: readonly RangeRef[]): void {
  for (const [i, range] of ranges.entries()) {
    const before = ranges[i - 1];
    const ordered = compareEntries(range.first, range.last) <= 0;
    if (!ordered || (before !== undefined && compareEntries(before.last, range.first) >= 0))
      throw corrupt(where, `has ranges that overlap or are out of order at number ${i}`);
  }
}
