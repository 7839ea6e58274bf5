// What a mount asks of the store before it can be used, and what it does when the store is away.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type S3Store, testServer } from './support/s3.js';
import { type Machine, World } from './support/world.js';

let store: S3Store & { server: NonNullable<S3Store['server']> };
let world: World;
let m: Machine;

beforeAll(async () => {
  store = await testServer();
  world = new World(store.options);
  m = world.machine();
  await m.mount();
  await m.sh('mkdir "$MNT/x"; echo committed > "$MNT/x/f"; echo one > "$MNT/x/.artifact/commit"');
  await m.unmount();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store.close();
});
beforeEach(() => store.server.control.resetCounters());

test('a mount that knows the store waits for two GETs, and for no proof that it can be written to', async () => {
  for (const on of ['PutObject', 'ListObjectsV2', 'CreateMultipartUpload'] as const)
    await store.server.control.addFault({ on, effect: { kind: 'reset' } });
  await m.mount('--refresh-interval=0');
  expect(readdirSync(m.mnt)).toContain('x');
  const { operations } = await store.server.control.counters();
  expect(operations.GetObject?.requests).toBe(2); // format.json, and the next record of the root collection
  writeFileSync(m.path('x/more'), 'staged');
  await store.server.control.clearFaults();
  await m.sh('echo two > "$MNT/x/.artifact/commit"', { timeoutMs: 100_000 });
  await m.unmount();
}, 200_000);

test('a known workspace is mounted while its store is away: what is cached is read, writes are staged', async () => {
  await m.mount();
  expect(readFileSync(m.path('x/f'), 'utf8')).toBe('committed\n');
  await m.unmount();

  await store.server.control.addFault({ effect: { kind: 'reset' } });
  await m.mount();
  expect(m.output).toContain('the store does not answer');
  expect(readdirSync(m.path('x'))).toContain('more');
  expect(readFileSync(m.path('x/f'), 'utf8')).toBe('committed\n');
  writeFileSync(m.path('x/offline'), 'staged');
  // Asked again at once, and told.
  await expect.poll(() => m.output, { timeout: 100_000 }).toContain('commits of others are not seen');

  await store.server.control.clearFaults();
  await m.sh('echo three > "$MNT/x/.artifact/commit"', { timeoutMs: 100_000 });
  const other = world.machine();
  await other.mount();
  expect(readFileSync(other.path('x/offline'), 'utf8')).toBe('staged');
  await other.unmount();
  await m.unmount();
}, 300_000);

test('a machine that never saw the store is not mounted while it is away', async () => {
  await store.server.control.addFault({ effect: { kind: 'reset' } });
  const stranger = world.machine();
  const outcome = await stranger.artifactfs('mount', '--store', stranger.store, stranger.mnt);
  expect(outcome.code).toBe(6);
  await store.server.control.clearFaults();
}, 200_000);
