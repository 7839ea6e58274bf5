// A store that overwrites what exists: read by all, written by the one machine that holds the lease.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type S3Store, testServer } from './support/s3.js';
import { type Machine, World } from './support/world.js';

let store: S3Store & { server: NonNullable<S3Store['server']> };
let world: World;
let [a, b]: Machine[] = [];

beforeAll(async () => {
  store = await testServer('--without', 'conditionalWrites');
  world = new World(store.options);
  [a, b] = [world.machine('a'), world.machine('b')];
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store.close();
});

// Also of a test that failed in between.
afterEach(async () => {
  for (const machine of machines())
    if (machine.isMounted()) await machine.artifactfs('unmount', '--force', machine.mnt);
});

const machines = (): [Machine, Machine] => {
  if (a === undefined || b === undefined) throw new Error('no machines');
  return [a, b];
};

test('one machine writes at a time; another is told which, may read, and writes when that one has let go or died', async () => {
  const [one, other] = machines();
  // In the background, as people mount: the banner is for them.
  const mounted = await one.artifactfs('mount', '--store', one.store, '--single-writer', one.mnt);
  expect(mounted.stdout).toContain('nobody else may write');
  await one.sh('mkdir "$MNT/x"; echo 1 > "$MNT/x/f"; echo one > "$MNT/x/.artifact/commit"');
  expect((await one.artifactfs('status')).stdout).toMatch(/one writer: .*nobody else may write/);

  const refused = await other.artifactfs('mount', '--store', other.store, '--single-writer', other.mnt);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain(`(mounted at ${one.mnt}) is the one writer of`);
  expect(refused.stderr).toContain('unmount it there');
  const settings = ['--store', other.store, '--single-writer'];
  await other.artifactfs('create', 'y', ...settings);
  const committed = await other.artifactfs('commit', 'y', ...settings);
  expect(committed.code).not.toBe(0);
  expect(committed.stderr).toContain('is the one writer of');
  const checked = await other.artifactfs('doctor', ...settings);
  expect(checked.stdout).toContain(`(mounted at ${one.mnt}) did so last, or does now`);

  await other.mount();
  expect(readFileSync(other.path('x/f'), 'utf8')).toBe('1\n');
  expect(() => writeFileSync(other.path('x/f'), '2')).toThrow(/EROFS/);
  expect((await other.artifactfs('status')).stdout).toContain('--single-writer lets one machine write');
  await other.unmount();

  expect((await one.artifactfs('unmount', one.mnt)).code).toBe(0);
  await other.mount('--single-writer');
  await other.sh('echo 2 > "$MNT/x/f"; echo two > "$MNT/x/.artifact/commit"');
  writeFileSync(other.path('x/staged'), 'kept');
  await other.kill();
  await one.mount('--single-writer');
  await one.sh('echo 3 > "$MNT/x/g"; echo three > "$MNT/x/.artifact/commit"');
  expect(readdirSync(one.path('x'))).toEqual(['f', 'g']);
  await one.unmount();
  await other.mount('--single-writer');
  await other.sh('echo four > "$MNT/x/.artifact/commit"');
  expect(readdirSync(other.path('x/.artifact/versions')).filter((name) => /^v\d$/.test(name))).toHaveLength(
    4,
  );
  await other.unmount();
  expect((await one.artifactfs('fsck', '--store', one.store)).code).toBe(0);
}, 300_000);

test('a lease that cannot be renewed ends the writing here in time', async () => {
  const [one] = machines();
  await one.mount('--single-writer');
  const { control } = store.server;
  await control.addFault({ on: 'PutObject', key: '/writer.json', effect: { kind: 'reset' } });
  const write = () => one.try('echo > "$MNT/x/late"');
  await expect
    .poll(async () => (await write()).stderr, { timeout: 90_000, interval: 500 })
    .toContain('Read-only');
  expect((await one.artifactfs('status')).stdout).toMatch(/read-only: .*could not be renewed/);
  expect(readFileSync(one.path('x/f'), 'utf8')).toBe('2\n');
  await control.clearFaults();
  await one.unmount();
}, 300_000);
