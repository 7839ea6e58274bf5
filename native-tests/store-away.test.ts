// The store goes away under a mount, and comes back: writes and cached reads go on, nothing is lost, uploads resume.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store.close();
});

const large = Buffer.alloc(40_000_000, 'artifactfs ');

test('writes and cached reads go on while the store is away, a commit fails clearly and works later', async () => {
  mkdirSync(m.path('x'));
  writeFileSync(m.path('x/committed'), 'committed bytes');
  await m.sh('echo one > "$MNT/x/.artifact/commit"');
  expect(readFileSync(m.path('x/committed'), 'utf8')).toBe('committed bytes');

  await store.server.control.addFault({ effect: { kind: 'reset' } });
  expect(readFileSync(m.path('x/committed'), 'utf8')).toBe('committed bytes');
  writeFileSync(m.path('x/small'), 'written while away');
  writeFileSync(m.path('x/large'), large);
  expect(readFileSync(m.path('x/large')).equals(large)).toBe(true);
  const failed = await m.try('echo two > "$MNT/x/.artifact/commit"', { timeoutMs: 100_000 });
  expect(failed.code).not.toBe(0);
  expect(readFileSync(m.path('x/.artifact/last-error'), 'utf8')).toMatch(/127\.0\.0\.1|store|reset/i);
  const status = JSON.parse(readFileSync(m.path('x/.artifact/status'), 'utf8'));
  expect(status.stagedCount).toBe(2);
  expect(status.lastError ?? status.uploadError).toBeTruthy();

  await m.kill('SIGKILL');
  await store.server.control.clearFaults();
  await m.mount();
  expect(readFileSync(m.path('x/large')).equals(large)).toBe(true);
  await m.sh('echo two > "$MNT/x/.artifact/commit"', { timeoutMs: 100_000 });
  const other = world.machine();
  await other.mount();
  expect(readFileSync(other.path('x/large')).equals(large)).toBe(true);
  expect(readFileSync(other.path('x/small'), 'utf8')).toBe('written while away');
  await other.unmount();
}, 240_000);

test('large files are uploaded while they are written, before any commit', async () => {
  await store.server.control.resetCounters();
  mkdirSync(m.path('streamed'));
  writeFileSync(m.path('streamed/big'), Buffer.alloc(100_000_000, 'x1y2z3'));
  const sent = async (): Promise<number> =>
    (await store.server.control.counters()).operations.UploadPart?.requests ?? 0;
  await expect.poll(sent).toBeGreaterThan(0);
  await m.sh('echo done > "$MNT/streamed/.artifact/commit"', { timeoutMs: 100_000 });
  expect(readFileSync(m.path('streamed@v0/big')).equals(Buffer.alloc(100_000_000, 'x1y2z3'))).toBe(true);
});

test('bytes that the store returns wrong are never served', async () => {
  mkdirSync(m.path('y'));
  writeFileSync(m.path('y/f'), Buffer.alloc(300_000, 'truth '));
  await m.sh('echo one > "$MNT/y/.artifact/commit"');
  await m.unmount();
  m.forget();
  await m.mount();
  await store.server.control.addFault({
    on: 'GetObject',
    key: '/d/',
    effect: { kind: 'truncate' },
    times: 2,
  });
  expect(readFileSync(m.path('y/f')).equals(Buffer.alloc(300_000, 'truth '))).toBe(true);
  await store.server.control.clearFaults();
});

test('a mount with wrong keys or a missing bucket is refused, naming what is wrong and no secret', async () => {
  const cases: [store: string, secret: string, says: RegExp][] = [
    ['s3://test/elsewhere', 'not-the-secret', /SignatureDoesNotMatch|403/],
    ['s3://no-such-bucket/work', 'testsecret', /NoSuchBucket|bucket does not exist/],
  ];
  for (const [name, secret, says] of cases) {
    const other = world.machine(`refused-${secret}`, { AWS_SECRET_ACCESS_KEY: secret });
    const outcome = await other.artifactfs('mount', '--store', name, other.mnt);
    expect(outcome.code).toBeGreaterThan(2);
    expect(outcome.stderr).toMatch(says);
    expect(outcome.stderr).not.toContain(secret);
  }
});
