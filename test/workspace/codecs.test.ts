import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareEntries, type Entry } from '../../src/model/entry.js';
import { EntryDecoder, encodeEntry } from '../../src/workspace/entry-codec.js';
import { decodeMetarange, encodeMetarange } from '../../src/workspace/metarange-codec.js';
import { compressRange, decodeRange, RangeEncoder } from '../../src/workspace/range-codec.js';
import type { TreeRef } from '../../src/workspace/records.js';
import type { Metarange, RangeRef } from '../../src/workspace/trees.js';
import { anyEntry } from './arbitraries.js';
import { fileAt, inOrder, rootEntry } from './helpers.js';

const decodeEntry = (line: string): Entry => new EntryDecoder('test').decode(JSON.parse(line));

async function store(entries: readonly Entry[]): Promise<{ bytes: Buffer; ref: RangeRef }> {
  const encoder = new RangeEncoder();
  for (const entry of entries) encoder.add(entry);
  const text = encoder.take();
  if (text === undefined) throw new Error('nothing to store');
  const bytes = await compressRange(text);
  const { first, last } = text;
  return {
    bytes,
    ref: {
      object: 't/x/1',
      offset: 0,
      length: bytes.length,
      sha256: '',
      entries: entries.length,
      first,
      last,
    },
  };
}

const ranges = fc.uniqueArray(anyEntry, {
  minLength: 1,
  maxLength: 30,
  comparator: (a, b) => compareEntries(a, b) === 0,
});

describe('entries', () => {
  it('come back as they were, unknown fields included', () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        expect(decodeEntry(encodeEntry(entry))).toEqual(entry);
      }),
    );
  });

  it('keep fields of a newer build when they are written again', () => {
    const line = encodeEntry(fileAt('a', 5, 'x')).replace('{', '{"__proto__":{"a":1},"zip":["b",null],');
    const entry = decodeEntry(line);
    expect(Object.keys(entry.extra ?? {})).toEqual(['__proto__', 'zip']);
    expect(JSON.parse(encodeEntry(entry))).toEqual(JSON.parse(line));
  });

  it('do not let unknown fields replace known ones', () => {
    const entry = { ...fileAt('a', 5, 'x'), extra: { size: 99, more: 1 } };
    expect(decodeEntry(encodeEntry(entry))).toEqual({ ...fileAt('a', 5, 'x'), extra: { more: 1 } });
  });

  it.each([
    ['size', -1],
    ['size', 1.5],
    ['size', 2 ** 60],
    ['name', 7],
    ['mtime', [1]],
    ['mtime', [1, 1e9]],
    ['extents', [['o', 1]]],
    ['extents', [[3, 1, 1]]],
    ['xattrs', { a: 1 }],
    ['nlink', undefined],
  ])('with %s = %j are refused by name', (field, value) => {
    const raw = { ...(JSON.parse(encodeEntry(fileAt('a', 5, 'x'))) as object), [field]: value };
    expect(() => decodeEntry(JSON.stringify(raw))).toThrow(field);
  });

  it('of an unknown kind were written by a newer build', () => {
    const line = encodeEntry(fileAt('a', 5, 'x')).replace('"file"', '"portal"');
    expect(() => decodeEntry(line)).toThrow(expect.objectContaining({ code: 'UnsupportedFormat' }));
  });
});

describe('ranges', () => {
  it('come back in order', async () => {
    await fc.assert(
      fc.asyncProperty(ranges, async (entries) => {
        const sorted = inOrder(entries);
        const { bytes, ref } = await store(sorted);
        expect(await decodeRange('test', bytes, ref)).toEqual(sorted);
      }),
    );
  });

  it('describe themselves in their first line', async () => {
    const { bytes } = await store([fileAt('a', 5, 'x'), fileAt('b', 6, 'y')]);
    const lines = gunzipSync(bytes).toString().split('\n');
    expect(JSON.parse(lines[0] ?? '')).toEqual({ kind: 'artifactfs.range', formatVersion: 1, count: 2 });
    expect(lines).toHaveLength(4);
  });

  it('of many slices come back whole', async () => {
    const entries = Array.from({ length: 6001 }, (_, i) =>
      fileAt(`f${String(i).padStart(5, '0')}`, i + 2, 'x'),
    );
    const { bytes, ref } = await store(entries);
    expect(await decodeRange('test', bytes, ref)).toEqual(entries);
  });

  const two = [fileAt('a', 5, 'x'), fileAt('b', 6, 'y')];
  const edit = async (change: (text: string) => string, more: Partial<RangeRef> = {}) => {
    const { bytes, ref } = await store(two);
    return decodeRange('test', gzipSync(change(gunzipSync(bytes).toString())), { ...ref, ...more });
  };
  const corrupt = expect.objectContaining({ code: 'Corrupt', message: expect.stringContaining('test') });

  it.each<[string, (text: string) => string]>([
    ['another kind', (text) => text.replace('artifactfs.range', 'other')],
    ['a count that is not so', (text) => text.replace('"count":2', '"count":3')],
    ['a line missing', (text) => `${text.split('\n').slice(0, 2).join('\n')}\n`],
    ['lines out of order', (text) => swapLines(text)],
    ['half a line', (text) => text.slice(0, -20)],
    ['an empty text', () => ''],
    ['no lines but a header', (text) => text.slice(0, text.indexOf('\n'))],
  ])('with %s are corrupt', async (_, change) => {
    await expect(edit(change)).rejects.toThrow(corrupt);
  });

  it('that are not what their reference says are corrupt', async () => {
    await expect(edit((text) => text, { entries: 3 })).rejects.toThrow(corrupt);
    await expect(edit((text) => text, { first: { dir: '', name: 'A' } })).rejects.toThrow(corrupt);
    await expect(edit((text) => text, { last: { dir: '', name: 'c' } })).rejects.toThrow(corrupt);
  });

  it('cut short or without gzip are corrupt', async () => {
    const { bytes, ref } = await store(two);
    await expect(decodeRange('test', bytes.subarray(0, -9), ref)).rejects.toThrow(corrupt);
    await expect(decodeRange('test', Buffer.from('hello'), ref)).rejects.toThrow(corrupt);
  });

  it('of a later format are not read', async () => {
    const later = edit((text) => text.replace('"formatVersion":1', '"formatVersion":2'));
    await expect(later).rejects.toThrow(expect.objectContaining({ code: 'UnsupportedFormat' }));
  });
});

describe('metaranges', () => {
  const range = (from: string, to: string, entries: number): RangeRef => ({
    object: 't/x/1',
    offset: 0,
    length: 9,
    sha256: 'a'.repeat(64),
    entries,
    first: { dir: 'd', name: from },
    last: { dir: 'd', name: to },
  });
  const metarange: Metarange = {
    kind: 'artifactfs.metarange',
    formatVersion: 1,
    root: rootEntry({ extra: { later: true } }),
    ranges: [range('a', 'c', 3), range('d', 'z', 4)],
    entries: 7,
    bytes: 70,
    inoPrefixes: [5, 2 ** 33 - 1],
  };
  const tree = (more: Partial<TreeRef> = {}): TreeRef => ({
    object: 't/x/1',
    offset: 0,
    length: 1,
    sha256: '',
    entries: 7,
    bytes: 70,
    ...more,
  });

  it('come back as they were, small as plain JSON', async () => {
    const bytes = await encodeMetarange(metarange);
    expect(JSON.parse(bytes.toString())).toMatchObject({ kind: 'artifactfs.metarange', entries: 7 });
    expect(await decodeMetarange('test', bytes, tree())).toEqual(metarange);
  });

  it('come back as they were, large as gzip', async () => {
    const name = (i: number) => `n${String(i).padStart(5, '0')}`;
    const many = Array.from({ length: 500 }, (_, i) => range(name(2 * i), name(2 * i + 1), 2));
    const large: Metarange = { ...metarange, ranges: many, entries: 1000 };
    const bytes = await encodeMetarange(large);
    expect(bytes[0]).toBe(0x1f);
    expect(await decodeMetarange('test', bytes, tree({ entries: 1000 }))).toEqual(large);
  });

  it.each<[string, Partial<Metarange>, Partial<TreeRef>]>([
    ['overlapping ranges', { ranges: [range('a', 'e', 3), range('d', 'z', 4)] }, {}],
    ['ranges out of order', { ranges: [range('d', 'z', 4), range('a', 'c', 3)] }, {}],
    ['a wrong sum of entries', { entries: 8 }, { entries: 8 }],
    ['other counts than the log says', {}, { bytes: 71 }],
    ['a file as root', { root: fileAt('', 1, 'x') }, {}],
  ])('with %s are corrupt', async (_, change, ref) => {
    const bytes = await encodeMetarange({ ...metarange, ...change });
    await expect(decodeMetarange('test', bytes, tree(ref))).rejects.toThrow(
      expect.objectContaining({ code: 'Corrupt', message: expect.stringContaining('test') }),
    );
  });
});

function swapLines(text: string): string {
  const [header, a, b, ...rest] = text.split('\n');
  return [header, b, a, ...rest].join('\n');
}
