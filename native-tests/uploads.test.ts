// What is sent to the store, counted there: after a kill only what is missing, of a change only the change, of copies nothing.
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type S3Store, testServer } from './support/s3.js';
import { type Machine, World } from './support/world.js';

const MiB = 1 << 20;
let store: S3Store & { server: NonNullable<S3Store['server']> };
let world: World;
let m: Machine;

beforeAll(async () => {
  store = await testServer();
  world = new World(store.options);
  m = world.machine();
  await m.mount();
  await m.sh('mkdir "$MNT/a" "$MNT/a/dir"');
});
afterEach(() => store.server.control.clearFaults());
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store.close();
});

interface Sent {
  readonly parts: number;
  readonly bytes: number;
}

async function sent(): Promise<Sent> {
  const { operations } = await store.server.control.counters();
  const { UploadPart: parts, PutObject: objects } = operations;
  return { parts: parts?.requests ?? 0, bytes: (parts?.bytesIn ?? 0) + (objects?.bytesIn ?? 0) };
}

const commit = () => m.sh('echo test > "$MNT/a/.artifact/commit"', { timeoutMs: 100_000 });

/** What a script and a commit after it send. */
async function sentBy(script: string): Promise<Sent> {
  await store.server.control.resetCounters();
  await m.sh(`cd "$MNT/a" && ${script}`);
  await commit();
  return sent();
}

/** More than records and trees of a small commit take. */
const smallBytes = 100_000;

const backlogBytes = async (): Promise<number | undefined> =>
  JSON.parse((await m.artifactfs('status', '--json')).stdout).daemons[0]?.uploads.backlogBytes;

test('after a kill in the middle of an upload only the missing parts are sent', async () => {
  const parts = 10;
  const bytes = Buffer.alloc(parts * 8 * MiB);
  for (let at = 0; at < bytes.length; at += 512) bytes.writeUInt32LE(at, at);
  // The others are on their way when the daemon is killed.
  await store.server.control.addFault({ on: 'UploadPart', skip: 5, effect: { kind: 'stall' } });
  writeFileSync(m.path('a/killed'), bytes);
  await expect.poll(backlogBytes, { timeout: 60_000 }).toBe(bytes.length - 5 * 8 * MiB);
  await m.kill('SIGKILL');
  await store.server.control.clearFaults();
  await store.server.control.resetCounters();
  await m.mount();
  await commit();
  const { bytes: again, parts: partsAgain } = await sent();
  expect(partsAgain).toBe(parts - 5);
  expect(again).toBeLessThan((parts - 5) * 8 * MiB + smallBytes);
  expect(readFileSync(m.path('a@latest/killed')).equals(bytes)).toBe(true);
}, 180_000);

test('of a change in the middle, and of bytes at the end, only those are sent', async () => {
  const change = await sentBy('dd if=/dev/urandom of=killed bs=1M count=1 seek=30 conv=notrunc status=none');
  expect(change.bytes).toBeLessThan(MiB + smallBytes);
  const append = await sentBy('head -c 1000 /dev/urandom >> killed');
  expect(append.bytes).toBeLessThan(1000 + smallBytes);
});

test.each([
  ['a copy in another directory', 'cp killed dir/copy'],
  ['a copy of a copy', 'cp dir/copy copy'],
  ['another name', 'mv copy dir/renamed'],
  ['another time', 'touch killed dir/copy'],
  ['another mode', 'chmod 600 killed'],
])('%s sends no bytes of the file', async (_, script) => {
  expect((await sentBy(script)).bytes).toBeLessThan(smallBytes);
});

test('the same bytes written again send nothing', async () => {
  await m.sh(
    'cd "$MNT/a" && head -c 3000000 /dev/urandom > same && seq 1000 > lines && cp same lines "$XDG_RUNTIME_DIR"',
  );
  expect((await sentBy('true')).bytes).toBeGreaterThan(3_000_000);
  expect((await sentBy('cp "$XDG_RUNTIME_DIR/same" "$XDG_RUNTIME_DIR/lines" .')).bytes).toBeLessThan(
    smallBytes,
  );
});
