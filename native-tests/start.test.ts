// What a mount asks of the store before it can be used, and what it does when the store is away.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
  // Nothing is committed without that proof, neither where nothing else can be written nor where all else can.
  writeFileSync(m.path('x/more'), 'staged');
  await isRefused();
  await store.server.control.clearFaults();
  await store.server.control.addFault({ on: 'PutObject', key: '/.probe/', effect: { kind: 'reset' } });
  await isRefused();
  await store.server.control.clearFaults();
  await m.sh('echo two > "$MNT/x/.artifact/commit"', { timeoutMs: 100_000 });
  await m.unmount();
}, 200_000);

async function isRefused(): Promise<void> {
  const refused = await m.try('echo two > "$MNT/x/.artifact/commit"', { timeoutMs: 100_000 });
  expect(refused.code).not.toBe(0);
  expect(readFileSync(m.path('x/.artifact/last-error'), 'utf8')).toMatch(/^StoreUnavailable: .*ECONNRESET/);
  const { base, stagedCount } = JSON.parse(readFileSync(m.path('x/.artifact/status'), 'utf8'));
  expect({ base, stagedCount }).toEqual({ base: 0, stagedCount: 1 });
}

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

test('a store that turns out to take no commits: nothing is staged any more, what was staged stays', async () => {
  await m.mount();
  writeFileSync(m.path('x/kept'), 'staged');
  await m.unmount();
  const denied = { kind: 'status', status: 403, code: 'AccessDenied' } as const;
  await store.server.control.addFault({ on: 'PutObject', key: '/.probe/', effect: denied });
  await m.mount();
  await expect.poll(() => m.output, { timeout: 100_000 }).toContain('nothing can be written');
  const changes = [
    () => writeFileSync(m.path('x/new'), 'refused'),
    () => writeFileSync(m.path('x/kept'), 'refused'),
    () => rmSync(m.path('x/f')),
    () => mkdirSync(m.path('another')),
  ];
  for (const change of changes) expect(change).toThrow(/EROFS/);
  expect(readFileSync(m.path('x/kept'), 'utf8')).toBe('staged');
  expect((await m.try('echo four > "$MNT/x/.artifact/commit"')).stderr).toMatch(/Read-only file system/);
  expect(readFileSync(m.path('x/.artifact/last-error'), 'utf8')).toMatch(
    /^ReadOnly: nothing can be written: /,
  );
  expect((await m.artifactfs('status')).stdout).toContain('the credentials do not allow to write');
  await m.unmount();
  await store.server.control.clearFaults();
  await m.mount();
  await m.sh('echo four > "$MNT/x/.artifact/commit"');
  await m.unmount();
}, 200_000);

test('a machine that never saw the store shows it without a proof; its first change waits for one', async () => {
  for (const on of ['PutObject', 'ListObjectsV2', 'CreateMultipartUpload'] as const)
    await store.server.control.addFault({ on, effect: { kind: 'reset' } });
  const stranger = world.machine();
  await stranger.mount('--refresh-interval=0');
  expect(readFileSync(stranger.path('x/f'), 'utf8')).toBe('committed\n');
  const refused = await stranger.try('echo more >> "$MNT/x/f"', { timeoutMs: 100_000 });
  expect(refused.stderr).toMatch(/Input\/output error/);
  expect(JSON.parse(readFileSync(stranger.path('x/.artifact/status'), 'utf8')).stagedCount).toBe(0);
  await store.server.control.clearFaults();

  await store.server.control.addFault({
    on: 'PutObject',
    key: '/.probe/',
    effect: { kind: 'delay', ms: 1000 },
  });
  await stranger.sh('mkdir "$MNT/y"; echo more >> "$MNT/x/f"', { timeoutMs: 100_000 });
  expect(proofOf(stranger)).toContain('create-if-absent');
  await store.server.control.clearFaults();
  await stranger.unmount();
}, 200_000);

test('a machine that never saw the store stages nothing where that takes no commits, and mounts it read-only from then on', async () => {
  const denied = { kind: 'status', status: 403, code: 'AccessDenied' } as const;
  await store.server.control.addFault({ on: 'PutObject', key: '/.probe/', effect: denied });
  const stranger = world.machine();
  await stranger.mount();
  expect(readFileSync(stranger.path('x/f'), 'utf8')).toBe('committed\n');
  const changes = ['mkdir "$MNT/y"', 'echo more >> "$MNT/x/f"', 'rm "$MNT/x/f"', 'mv "$MNT/x/f" "$MNT/x/g"'];
  const outcomes = await Promise.all(changes.map((change) => stranger.try(change, { timeoutMs: 100_000 })));
  for (const { stderr } of outcomes) expect(stderr).toMatch(/Read-only file system/);
  const created = await stranger.artifactfs('create', stranger.path('z'));
  expect(created.stderr).toContain('nothing can be written');
  const status = JSON.parse(readFileSync(stranger.path('.artifactfs/status'), 'utf8'));
  expect(status.readOnly).toContain('the credentials do not allow to write');
  expect(status.staged).toEqual([]);
  await stranger.unmount();
  expect(proofOf(stranger)).toBe('');

  await stranger.mount();
  expect(stranger.output).toContain('nothing can be written');
  await stranger.unmount();
  await store.server.control.clearFaults();
  await stranger.mount();
  await stranger.sh('echo more >> "$MNT/x/f"');
  await stranger.unmount();
}, 200_000);

/** What is remembered of the store's proof. */
function proofOf({ env }: Machine): string {
  const state = join(env['XDG_STATE_HOME'] ?? '', 'artifactfs');
  const found = readdirSync(state).filter((name) => existsSync(join(state, name, 'store-proof.json')));
  expect(found).toHaveLength(1);
  return readFileSync(join(state, found[0] ?? '', 'store-proof.json'), 'utf8');
}

test('what another machine committed while nothing was mounted here shows without a poll', async () => {
  const other = world.machine();
  await other.mount();
  expect(readdirSync(other.path('x'))).toContain('f');
  await other.unmount();
  await m.mount();
  await m.sh('echo > "$MNT/x/while-away"; echo five > "$MNT/x/.artifact/commit"');
  await m.unmount();
  await other.mount('--refresh-interval=3600');
  await expect.poll(() => readdirSync(other.path('x')), { timeout: 60_000 }).toContain('while-away');
  await other.unmount();
}, 200_000);

test('a machine that never saw the store is not mounted while it is away', async () => {
  await store.server.control.addFault({ effect: { kind: 'reset' } });
  const stranger = world.machine();
  const outcome = await stranger.artifactfs('mount', '--store', stranger.store, stranger.mnt);
  expect(outcome.code).toBe(6);
  await store.server.control.clearFaults();
}, 200_000);

test('a program that was replaced while it ran is told from a store that is away, and goes on when it is back', async () => {
  const upgraded = world.machine().withOwnProgram();
  await upgraded.mount();
  await upgraded.sh('mkdir "$MNT/proved"; rmdir "$MNT/proved"');
  await upgraded.unmount();
  await upgraded.mount();
  // A known store: what writes to it is not loaded yet.
  const chunks = join(upgraded.directory, 'program', 'dist', 'bin');
  const gone = readdirSync(chunks).filter((name) => /^s3-sdk.*\.js$/.test(name));
  expect(gone).toHaveLength(1);
  for (const name of gone) renameSync(join(chunks, name), join(chunks, `away-${name}`));
  writeFileSync(upgraded.path('x/upgraded'), 'staged');
  expect((await upgraded.try('echo four > "$MNT/x/.artifact/commit"')).code).not.toBe(0);
  const said = readFileSync(upgraded.path('x/.artifact/last-error'), 'utf8');
  expect(said).toMatch(/^Internal: .*cannot be loaded.*\n.*unmount and mount again/);
  for (const name of gone) renameSync(join(chunks, `away-${name}`), join(chunks, name));
  await upgraded.sh('echo four > "$MNT/x/.artifact/commit"');
  await upgraded.unmount();
}, 200_000);
