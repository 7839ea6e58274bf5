import { describe, expect, it } from 'vitest';
import { newCommitId } from '../../src/model/ids.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { logKey } from '../../src/workspace/keys.js';
import { readLog } from '../../src/workspace/log.js';
import { decodeRecord, encodeRecord, sha256Hex, slotOwner } from '../../src/workspace/record-codec.js';
import type { RecordBody } from '../../src/workspace/records.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { artifactId } from './helpers.js';

class CountingStore extends MemoryStore {
  gets = 0;
  lists = 0;
  beforeGet: (key: string) => void = () => undefined;

  override get(...args: Parameters<MemoryStore['get']>): Promise<Buffer> {
    this.gets++;
    this.beforeGet(args[0]);
    return super.get(...args);
  }

  override list(...args: Parameters<MemoryStore['list']>): ReturnType<MemoryStore['list']> {
    this.lists++;
    return super.list(...args);
  }
}

const header = (seq: number, prev: string) => ({
  seq,
  prev,
  commitId: newCommitId(),
  host: 'h',
  user: 'u',
  time: seq,
});

/** A log of `count` records; answers their hashes, the one before the first included. */
async function filled(count: number): Promise<{ store: CountingStore; hashes: string[] }> {
  const store = new CountingStore();
  const hashes = [''];
  for (let seq = 1; seq <= count; seq++) {
    const bytes = encodeRecord(header(seq, hashes[seq - 1] ?? ''), { type: 'noop' });
    await store.put(logKey(artifactId, seq), bytes);
    hashes.push(sha256Hex(bytes));
  }
  return { store, hashes };
}

const seqs = (records: readonly { record: { seq: number } }[]) => records.map(({ record }) => record.seq);
const upTo = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const corrupt = (message: string) =>
  expect.objectContaining({ code: 'Corrupt', message: expect.stringContaining(message) });

describe('reading a log', () => {
  it.each([0, 1, 3, 4, 5, 20, 63, 64, 65, 200])(
    'finds all of %i records, from the start and from anywhere',
    async (count) => {
      const { store, hashes } = await filled(count);
      expect(seqs(await readLog(store, artifactId, 0, ''))).toEqual(upTo(1, count));
      const middle = Math.floor(count / 2);
      expect(seqs(await readLog(store, artifactId, middle, hashes[middle] ?? ''))).toEqual(
        upTo(middle + 1, count),
      );
    },
  );

  it('at the head costs one request and no LIST', async () => {
    const { store, hashes } = await filled(10);
    expect(await readLog(store, artifactId, 10, hashes[10] ?? '')).toEqual([]);
    expect([store.gets, store.lists]).toEqual([1, 0]);
  });

  it('asks LIST once when it is far behind', async () => {
    const { store } = await filled(300);
    await readLog(store, artifactId, 0, '');
    expect(store.lists).toBe(1);
  });

  it('names a slot that is missing below others', async () => {
    const { store } = await filled(10);
    await store.deleteMany([logKey(artifactId, 3)]);
    await expect(readLog(store, artifactId, 0, '')).rejects.toThrow(corrupt(logKey(artifactId, 3)));
    const far = await filled(90);
    await far.store.deleteMany([logKey(artifactId, 80)]);
    await expect(readLog(far.store, artifactId, 0, '')).rejects.toThrow(corrupt(logKey(artifactId, 80)));
  });

  it('looks again when a record appears behind its back', async () => {
    const { store, hashes } = await filled(6);
    const second = await store.get(logKey(artifactId, 2));
    await store.deleteMany([logKey(artifactId, 2)]);
    let asked = false;
    store.beforeGet = (key) => {
      if (key === logKey(artifactId, 3)) asked = true;
      if (key === logKey(artifactId, 2) && asked) void store.put(key, second);
    };
    expect(seqs(await readLog(store, artifactId, 0, ''))).toEqual(upTo(1, 6));
    expect(hashes).toHaveLength(7);
  });

  it('notices a record that does not name the one before', async () => {
    const { store } = await filled(5);
    await store.put(logKey(artifactId, 3), encodeRecord(header(3, 'a'.repeat(64)), { type: 'noop' }));
    await expect(readLog(store, artifactId, 0, '')).rejects.toThrow(corrupt(logKey(artifactId, 3)));
    await expect(readLog(store, artifactId, 3, 'b'.repeat(64))).rejects.toThrow(
      corrupt(logKey(artifactId, 4)),
    );
  });

  it('refuses a log with reader features it does not know', async () => {
    const { store, hashes } = await filled(2);
    const workspace = await Workspace.open(new MemoryStore());
    const bytes = encodeRecord(header(3, hashes[2] ?? ''), { type: 'feature', reader: ['sparkle'] });
    for (const seq of [1, 2])
      await workspace.store.put(logKey(artifactId, seq), await store.get(logKey(artifactId, seq)));
    await workspace.store.put(logKey(artifactId, 3), bytes);
    await expect(workspace.readLog(artifactId, 0, '')).rejects.toThrow(
      expect.objectContaining({ code: 'UnsupportedFormat', message: expect.stringContaining('sparkle') }),
    );
  });
});

describe('a record', () => {
  const bodies: RecordBody[] = [
    { type: 'link', name: 'ä b', artifactId },
    { type: 'unlink', name: 'x', artifactId },
    { type: 'rename', from: 'x', to: 'y', artifactId },
    { type: 'alias', alias: 'best', expected: null, version: 3 },
    { type: 'alias', alias: 'best', expected: 3, version: null },
    { type: 'meta', manifest: { type: 'collection', nested: [1, { a: null }] } },
    { type: 'expire', versions: [1, 2] },
    { type: 'abandon', stages: ['abcd01ARZ3NDEKTSV4RRFFQ69G5FAV'] },
    { type: 'feature', reader: ['a'], gc: [] },
    { type: 'noop' },
    {
      type: 'commit',
      version: 0,
      baseSeq: 0,
      stages: ['abcd01ARZ3NDEKTSV4RRFFQ69G5FAV'],
      tree: {
        object: 't/abcd01ARZ3NDEKTSV4RRFFQ69G5FAV/7',
        offset: 0,
        length: 9,
        sha256: 'a'.repeat(64),
        entries: 1,
        bytes: 2,
      },
      summary: { added: 1, changed: 0, removed: 0 },
      message: 'first',
      manifest: {},
      inputs: [{ artifactId, version: 2 }],
    },
  ];

  it.each(bodies)('of type $type comes back as it was', (body) => {
    const head = header(7, 'b'.repeat(64));
    const bytes = encodeRecord(head, body);
    const { record, hash } = decodeRecord('k', bytes, 7, 'b'.repeat(64));
    expect(record).toEqual({ kind: 'artifactfs.record', formatVersion: 1, ...head, ...body });
    expect(hash).toBe(sha256Hex(bytes));
  });

  it.each(
    bodies.flatMap((body) =>
      Object.keys(body)
        .filter((field) => field !== 'type')
        .map((field) => [body, field] as const),
    ),
  )('is corrupt when a field has another type: %j, %s', (body, field) => {
    const raw = { kind: 'artifactfs.record', formatVersion: 1, ...header(1, ''), ...body, [field]: true };
    expect(() => decodeRecord('the-key', Buffer.from(JSON.stringify(raw)), 1, '')).toThrow(
      corrupt('the-key'),
    );
  });

  const good = () => ({ kind: 'artifactfs.record', formatVersion: 1, ...header(1, ''), type: 'noop' });
  const decode = (value: unknown) =>
    decodeRecord('the-key', Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), 1, '');

  it('keeps fields that this build does not know', () => {
    expect(decode({ ...good(), later: [1] }).record).toMatchObject({ later: [1] });
  });

  it.each<[string, unknown]>([
    ['text', 'hello'],
    ['nothing', ''],
    ['half of one', JSON.stringify(good()).slice(0, 40)],
    ['a list', []],
    ['another kind', { ...good(), kind: 'other' }],
    ['another number', { ...good(), seq: 2 }],
    ['another predecessor', { ...good(), prev: 'a'.repeat(64) }],
    ['no commitId', { ...good(), commitId: undefined }],
    ['no time', { ...good(), time: '5' }],
    ['64 KiB and more', { ...good(), x: 'x'.repeat(65_536) }],
  ])('that is %s is corrupt', (_, value) => {
    expect(() => decode(value)).toThrow(corrupt('the-key'));
  });

  it.each<[string, object]>([
    ['a later format', { formatVersion: 2 }],
    ['an unknown type', { type: 'teleport' }],
  ])('of %s was written by a newer build', (_, change) => {
    expect(() => decode({ ...good(), ...change })).toThrow(
      expect.objectContaining({ code: 'UnsupportedFormat' }),
    );
  });

  it('tells whose it is even when a newer build wrote it', () => {
    const bytes = Buffer.from(JSON.stringify({ ...good(), formatVersion: 9, commitId: 'x' }));
    expect([slotOwner(bytes, 'x'), slotOwner(bytes, 'y')]).toEqual(['mine', 'other']);
    expect(slotOwner(bytes.subarray(0, 20), 'x')).toBe('unreadable');
  });
});
