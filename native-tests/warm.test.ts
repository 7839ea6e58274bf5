// What was warmed is read without the store, pinned or not, and what nobody warmed is fetched in few large requests.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type S3Store, testServer } from './support/s3.js';
import { type Machine, World } from './support/world.js';

let store: S3Store & { server: NonNullable<S3Store['server']> };
let world: World;
let m: Machine;
const smallCount = 600;
const large = Buffer.alloc(20_000_000, 'artifactfs ');

beforeAll(async () => {
  store = await testServer();
  world = new World(store.options);
  m = world.machine();
  await m.mount();
  mkdirSync(m.path('x'));
  writeFileSync(m.path('x/large'), large);
  for (let i = 0; i < smallCount; i++) {
    if (i % 100 === 0) mkdirSync(m.path(`x/d${i / 100}`));
    writeFileSync(m.path(`x/d${Math.floor(i / 100)}/f${i}`), Buffer.alloc(4096, `file ${i} `));
  }
  await m.sh('echo one > "$MNT/x/.artifact/commit"');
  await m.unmount();
  m.forget();
  await m.mount();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store.close();
});

const sumOf = (view: string) => m.sh(`tar cf - --mtime=@0 -C "$MNT/${view}" . | md5sum`);
const gets = async () => (await store.server.control.counters()).operations.GetObject?.requests ?? 0;
const verb = async (...words: string[]) => {
  const outcome = await m.artifactfs(...words, '--json');
  expect(outcome.stderr).toBe('');
  return JSON.parse(outcome.stdout);
};

test('many small files are read with few requests, and hardly a byte twice', async () => {
  await m.sh('ls -lR "$MNT/x@v0" > "$TMP/listed"');
  await store.server.control.resetCounters();
  await m.sh('cat "$MNT"/x@v0/d*/* | md5sum');
  const { requests = 0, bytesOut = 0 } = (await store.server.control.counters()).operations.GetObject ?? {};
  expect(requests).toBeGreaterThan(0);
  expect(requests).toBeLessThan(20);
  expect(bytesOut).toBeLessThan(1.5 * smallCount * 4096);
});

test('what was warmed and pinned is read while the store is away, also after a restart', async () => {
  const bytes = large.length + smallCount * 4096;
  await verb('cache', 'evict', '--all', '--store', m.store);
  expect(await verb('warm', m.path('x@v0'))).toMatchObject({ version: 0, files: smallCount + 1, bytes });
  expect(await verb('warm', m.path('x'))).toMatchObject({ cachedBytes: bytes, fetchedBytes: 0 });
  expect(await verb('cache', 'pin', m.path('x@v0'))).toMatchObject({ cachedBytes: bytes, pinned: true });
  await store.server.control.resetCounters();
  const sum = await sumOf('x@v0');
  expect(await gets()).toBe(0);

  await m.unmount();
  await m.mount();
  await m.sh('ls -lR "$MNT/x@v0" > "$TMP/listed"');
  await store.server.control.addFault({ effect: { kind: 'reset' } });
  expect(await sumOf('x@v0')).toBe(sum);
  expect(readFileSync(m.path('x@v0/large')).equals(large)).toBe(true);
  await store.server.control.clearFaults();

  expect((await verb('cache', '--store', m.store)).pins).toEqual([{ artifact: 'x', version: 0, path: '' }]);
  expect(await verb('cache', 'evict', '--all', '--store', m.store)).toEqual({ bytes: 0 });
  expect(await verb('cache', 'unpin', m.path('x@v0'))).toMatchObject({ unpinned: true });
  expect((await verb('cache', 'evict', m.path('x@v0'))).bytes).toBeGreaterThanOrEqual(bytes);
});

test('words and exit codes', async () => {
  expect(await m.artifactfs('warm', m.path('x@v0/d1'))).toMatchObject({ code: 0 });
  const again = await m.artifactfs('warm', m.path('x@v0/d1'));
  expect(again.stdout).toBe('100 files, 400KiB in the cache: all there before, 0B fetched\n');
  const missing = await m.artifactfs('warm', m.path('x@v9'));
  expect(missing.code).toBe(3);
  expect(missing.stderr).toMatch(/v9/);
  const what = await m.artifactfs('cache', 'evict');
  expect(what.code).toBe(2);
  expect(what.stderr).toMatch(/evict what\?.*\n.*--all/);
  expect((await m.artifactfs('cache', 'unpin', m.path('x@v0'))).code).toBe(3);
});
