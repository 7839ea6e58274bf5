import { afterEach, beforeEach, expect, test } from 'vitest';
import { HashPool } from '../../src/content/upload/hash-pool.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import type { Finding } from '../../src/workspace/fsck/findings.js';
import { type VerifyOptions, type VerifyTotals, verify } from '../../src/workspace/fsck/verify.js';
import { parseKey } from '../../src/workspace/keys.js';
import { failure, openMachine, removeTemporaryDirectories, Shell, unexpected } from './support/daemon.js';

const large = Buffer.alloc((9 << 20) + 7, 'weights ');

let store: MemoryStore;
let hashing: HashPool;
let artifactId: string;
let checked: Map<string, number>;
beforeEach(async () => {
  store = new MemoryStore();
  hashing = new HashPool();
  checked = new Map();
  const machine = await openMachine({ store });
  const model = new Shell(machine.artifacts.create(machine.artifacts.root, 'model'));
  await model.mkdir('dir');
  await model.write('dir/weights.bin', large);
  for (let i = 0; i < 20; i++) await model.write(`dir/small${i}`, `text ${i}`);
  await model.write('empty', '');
  await model.commit('first');
  await model.link('dir/small7', 'again');
  await model.write('other', Buffer.alloc(2 << 20, 'other '));
  await model.commit('second');
  artifactId = model.artifact.id;
  await machine.close();
});
afterEach(async () => {
  await hashing[Symbol.asyncDispose]();
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

let time = 0;
async function run(more: Partial<VerifyOptions> = {}): Promise<{ found: Finding[]; totals: VerifyTotals }> {
  const times = {
    last: (key: string) => checked.get(key) ?? 0,
    note: (keys: readonly string[]) => {
      time++;
      for (const key of keys) checked.set(key, time);
    },
    keep: (keys: ReadonlyMap<string, unknown>) => {
      for (const key of checked.keys()) if (!keys.has(key)) checked.delete(key);
    },
  };
  const found: Finding[] = [];
  const running = verify(store, { hashing, checked: times, ...more });
  for (;;) {
    const next = await running.next();
    if (next.done) return { found, totals: next.value };
    found.push(next.value);
  }
}

async function keyOf(of: ObjectStore, name: string | null): Promise<string> {
  for await (const { key } of of.list(`a/${artifactId}/`)) {
    const parsed = parseKey(key);
    if (parsed?.type === 'data' && parsed.name === name) return key;
  }
  throw new Error(`no object of ${name}`);
}

/** Changes one byte in place. */
async function flip(key: string, at: number): Promise<void> {
  const bytes = Buffer.from(await store.get(key));
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await store.put(key, bytes);
}

test('every file is read once, whatever versions it is in', async () => {
  const progress: number[] = [];
  const { found, totals } = await run({ onProgress: (done, total) => progress.push(done / total) });
  expect(found).toEqual([]);
  expect(totals).toMatchObject({ files: 22, objects: 3, filesWithoutHash: 0 });
  expect(totals.bytes).toBeLessThan(large.length + (2 << 20) + 1000);
  expect(progress.at(-1)).toBeGreaterThan(0.99);
  expect(checked.size).toBe(3);
});

test('a byte that changed is found, with the files and versions that have it', async () => {
  const pack = await keyOf(store, null);
  const at = (await store.get(pack)).indexOf('text 7');
  await flip(pack, at);
  await flip(await keyOf(store, 'weights.bin'), 9 << 20);
  const { found } = await run();
  expect(found).toHaveLength(2);
  expect(found).toContainEqual(
    expect.objectContaining({
      code: 'content-damaged',
      artifact: 'model',
      key: pack,
      offset: at,
      versions: [0, 1],
      files: ['again', 'dir/small7'],
    }),
  );
  expect(found).toContainEqual(expect.objectContaining({ files: ['dir/weights.bin'], versions: [0, 1] }));
  // What is wrong was not checked.
  expect([...checked.keys()]).toEqual([await keyOf(store, 'other')]);
});

test('objects that are gone or cut are told from bytes that changed', async () => {
  const weights = await keyOf(store, 'weights.bin');
  await store.put(weights, large.subarray(0, 100));
  await store.deleteMany([await keyOf(store, 'other')]);
  const { found } = await run();
  expect(found.map(({ code, files }) => [code, ...files]).sort()).toEqual([
    ['object-missing', 'other'],
    ['object-truncated', 'dir/weights.bin'],
  ]);
});

test('one version, one directory, one file', async () => {
  expect((await run({ paths: [['model@v0']] })).totals).toMatchObject({ files: 21, objects: 2 });
  expect((await run({ paths: [['model@v1/other']] })).totals).toMatchObject({ files: 1 });
  expect((await run({ paths: [['model/dir']] })).totals).toMatchObject({ files: 21 });
  expect((await failure(run({ paths: [['model@v7']] }))).code).toBe('NotFound');
});

test('samples go round: what was not checked for longest comes first', async () => {
  const order: string[] = [];
  for (let i = 0; i < 3; i++) {
    const before = new Map(checked);
    const { totals } = await run({ share: 1e-7 });
    expect(totals.objects).toBe(1);
    order.push(...[...checked].filter(([key, at]) => before.get(key) !== at).map(([key]) => key));
  }
  expect(new Set(order).size).toBe(3);
  await run({ share: 1e-7 });
  expect([...checked].filter(([, at]) => at === Math.max(...checked.values())).map(([key]) => key)).toEqual([
    order[0],
  ]);
});

test('what no version uses is forgotten when all that is in use is known', async () => {
  const gone = `a/${artifactId}/d/0d3601M7Z0AD2FGRSHHASM16YQZJK9/1-gone`;
  checked.set(gone, 1);
  await run({ paths: [['model']] });
  expect(checked.get(gone)).toBe(1);
  await run({ share: 1e-7 });
  expect(checked.has(gone)).toBe(false);
  checked.set(gone, 1);
  for await (const { key } of store.list(`a/${artifactId}/t/`)) await store.deleteMany([key]);
  await run();
  expect(checked.get(gone)).toBe(1);
});
