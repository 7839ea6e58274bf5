import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkWorkspace, type Finding, rebuildCatalog } from '../../src/app/fsck.js';
import type { DaemonRecord } from '../../src/app/registry.js';
import { type App, startApp } from '../../src/app/start.js';
import { verifyWorkspace } from '../../src/app/verify.js';
import { catalogMigrations } from '../../src/catalog/schema.js';
import { loadConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/options.js';
import { ControlClient } from '../../src/http/client.js';
import { FileStore } from '../../src/store/file/file-store.js';
import { openDatabase } from '../../src/util/sqlite.js';
import { logKey } from '../../src/workspace/keys.js';

let directory: string;
let config: Config;
let app: App | null;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'artifactfs-fsck-'));
  const flags = { store: join(directory, 'store'), 'log-level': 'silent', 'refresh-interval': '0' };
  ({ config } = loadConfig({ flags, env: { HOME: directory }, cwd: directory }));
  app = await start();
  using client = new ControlClient(app.socketPath);
  await client.create({ path: 'model' });
  for (const [name, text] of [
    ['a', 'one'],
    ['b', 'two'],
  ] as const) {
    await client.write('model', name, Readable.from([Buffer.from(text)]));
    await client.commit('model', { message: name });
  }
});
afterEach(async () => {
  await app?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const start = () => startApp(config, { env: { HOME: directory } });

async function stop(): Promise<string> {
  const state = app?.stateDirectory ?? '';
  await app?.[Symbol.asyncDispose]();
  app = null;
  return join(state, 'catalog.db');
}

async function damages(daemon: DaemonRecord | null = null): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const one of checkWorkspace(config, daemon, {}))
    if (one.severity === 'damage') findings.push(one);
  return findings;
}

function change(path: string, sql: string): void {
  const db = openDatabase(path, { migrations: catalogMigrations });
  expect(db.prepare(sql).run().changes).toBeGreaterThan(0);
  db.close();
}

const daemonOf = ({ socketPath, stateDirectory, workspaceId }: App): DaemonRecord => ({
  pid: process.pid,
  startedMs: 0,
  version: '',
  store: config.store,
  workspaceId,
  stateDirectory,
  socketPath,
  mountPoint: null,
  transient: false,
});

test('a catalog that says what the store says is sound, in use and at rest', async () => {
  if (app === null) throw new Error('not started');
  using client = new ControlClient(app.socketPath);
  await client.list('model', { ref: 'v0', path: '' });
  expect(await damages(daemonOf(app))).toEqual([]);
  // Found by its lock, too.
  expect(await damages()).toEqual([]);
  await stop();
  expect(await damages()).toEqual([]);
});

test('rows of versions that were changed are told, and a catalog made anew is right again', async () => {
  const path = await stop();
  change(path, "UPDATE versions SET message = 'other' WHERE version = 1");
  expect(await damages()).toMatchObject([
    { code: 'catalog-differs', artifact: 'model', what: expect.stringContaining('v1 has another message') },
  ]);
  expect(await rebuildCatalog(config)).toBe(2);
  expect(await damages()).toEqual([]);
  app = await start();
  using client = new ControlClient(app.socketPath);
  expect((await client.log('model')).versions.map(({ message }) => message)).toEqual(['b', 'a']);
  expect((await client.list('model', { ref: '', path: '' })).files.map((file) => file.path)).toEqual([
    'a',
    'b',
  ]);
});

test('rows of trees that were changed are told', async () => {
  using client = new ControlClient(app?.socketPath ?? '');
  await client.list('model', { ref: 'v1', path: '' });
  const path = await stop();
  change(path, "UPDATE entries SET name = 'c' WHERE name = 'b'");
  expect(await damages()).toMatchObject([
    { code: 'catalog-differs', what: expect.stringContaining('range') },
  ]);
});

test('a catalog that knows more than the log has shows that the end of the log was lost', async () => {
  await stop();
  await using store = await FileStore.open(join(directory, 'store'));
  const ids = new Set<string>();
  for await (const { key } of store.list('a/')) ids.add(key.split('/')[1] ?? '');
  const model = [...ids].sort().at(-1) ?? '';
  await store.deleteMany([logKey(model, 2)]);
  const found = await damages();
  expect(found).toMatchObject([{ code: 'log-cut', artifact: 'model', key: logKey(model, 2) }]);
});

test('what was verified is remembered on this machine', async () => {
  for (const share of [1, 0.01]) {
    const running = verifyWorkspace(config, null, { share });
    let next = await running.next();
    while (!next.done) next = await running.next();
    expect(next.value).toMatchObject({ files: share === 1 ? 2 : 1, filesWithoutHash: 0 });
  }
  const db = openDatabase(join(app?.stateDirectory ?? '', 'verified.db'), { migrations: [''] });
  expect(db.prepare('SELECT count(*) FROM objects').pluck().get()).toBe(2);
  db.prepare("INSERT INTO objects VALUES ('a/gone', 1)").run();
  for await (const found of verifyWorkspace(config, null, { share: 0.01 })) expect(found).toBeUndefined();
  expect(db.prepare('SELECT count(*) FROM objects').pluck().get()).toBe(2);
  db.close();
});

test('the catalog of a daemon is not taken from it', async () => {
  await expect(rebuildCatalog(config)).rejects.toMatchObject({ code: 'Busy' });
});
