import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openCatalog } from '../../src/catalog/open-catalog.js';
import { catalogMigrations } from '../../src/catalog/schema.js';
import type { Entry } from '../../src/model/entry.js';
import type { ArtifactError } from '../../src/model/errors.js';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { openDatabase } from '../../src/util/sqlite.js';
import { logKey } from '../../src/workspace/keys.js';
import { readLog } from '../../src/workspace/log.js';
import { encodeRecord } from '../../src/workspace/record-codec.js';
import type { RecordBody } from '../../src/workspace/records.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { MemoryJournal } from '../workspace/helpers.js';
import { FakeTrees, imageEntries } from './fake-trees.js';

const artifactId = '01890000-0000-7000-8000-000000000001';
let directory = '';
let path = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'artifactfs-catalog-'));
  path = join(directory, 'catalog.db');
});
afterEach(() => rmSync(directory, { recursive: true }));

const entries = imageEntries(3000);
const cuts = [1000, 2000];

async function walkAll(catalog: ReturnType<typeof openCatalog>, trees: FakeTrees): Promise<Entry[]> {
  const tree = await catalog.tree(artifactId, trees.publish(entries, cuts));
  const found: Entry[] = [];
  for await (const entry of tree.walk('')) found.push(entry);
  return found;
}

async function fill(): Promise<void> {
  const trees = new FakeTrees();
  using catalog = openCatalog(path, trees);
  await walkAll(catalog, trees);
}

describe('the file', () => {
  test('answers after a restart without the store', async () => {
    await fill();
    const trees = new FakeTrees();
    using catalog = openCatalog(path, trees);
    expect(catalog.stats()).toMatchObject({ entries: 3000, ranges: 3 });
    expect(catalog.stats().diskBytes).toBeGreaterThan(500_000);
    expect(await walkAll(catalog, trees)).toEqual(entries);
    expect([trees.fetched, trees.metarangesFetched]).toEqual([[], 0]);
    catalog.checkInvariants();
  });

  test('after a restart the workspace knows features that lie before the head', async () => {
    const store = new MemoryStore();
    const journal = new MemoryJournal();
    const start = async () => {
      const workspace = await Workspace.open(store);
      const catalog = openCatalog(path, workspace);
      const append = (body: RecordBody) => {
        const head = catalog.artifact(artifactId);
        const position = { sinceSeq: head?.headSeq ?? 0, sincePrev: head?.headHash ?? '' };
        const request = { artifactId, commitId: newCommitId(), stageId: newStageId(), ...position };
        return workspace.append(request, () => body, journal);
      };
      return { workspace, catalog, append };
    };
    {
      const { catalog: mine, append } = await start();
      using catalog = mine;
      const feature = { type: 'feature', writer: ['sparkle', 'sparkle'], gc: ['dust'] } as const;
      catalog.apply(artifactId, await append(feature));
      catalog.apply(artifactId, await append({ type: 'noop' }));
    }
    const { workspace, catalog: again, append } = await start();
    using catalog = again;
    expect(catalog.artifact(artifactId)?.headSeq).toBe(2);
    const refused = { code: 'UnsupportedFormat', message: expect.stringContaining('sparkle') };
    await expect(append({ type: 'noop' })).rejects.toMatchObject(refused);
    const elsewhere = { artifactId: '01890000-0000-7000-8000-000000000002', sinceSeq: 0, sincePrev: '' };
    const ids = { commitId: newCommitId(), stageId: newStageId() };
    await workspace.append({ ...elsewhere, ...ids }, () => ({ type: 'noop' }), journal);
    expect(await workspace.readLog(artifactId, 0, '')).toHaveLength(2);
  });

  test('forgets an artifact of which a newer build has read past what this one can read', async () => {
    const store = new MemoryStore();
    const workspace = await Workspace.open(store);
    const other = '01890000-0000-7000-8000-000000000002';
    const bodies: RecordBody[] = [
      { type: 'meta', manifest: { before: true } },
      { type: 'feature', reader: ['sparkle'] },
      { type: 'meta', manifest: { after: true } },
    ];
    {
      // It knows no features, as a build that knows all does not mind them.
      using newer = openCatalog(path, new FakeTrees());
      for (const [id, written] of [
        [artifactId, bodies],
        [other, bodies.slice(0, 1)],
      ] as const) {
        let hash = '';
        for (const [i, body] of written.entries()) {
          const header = { seq: i + 1, prev: hash, commitId: newCommitId(), host: 'h', user: 'u', time: i };
          const bytes = encodeRecord(header, body);
          await store.put(logKey(id, i + 1), bytes);
          hash = createHash('sha256').update(bytes).digest('hex');
        }
        newer.apply(id, await readLog(store, id, 0, ''));
      }
      expect(newer.artifact(artifactId)).toMatchObject({ headSeq: 3, manifest: { after: true } });
    }
    using catalog = openCatalog(path, workspace);
    expect(catalog.artifact(artifactId)).toBeUndefined();
    expect(catalog.artifact(other)?.headSeq).toBe(1);
    const { records, damage } = await workspace.readIntactLog(artifactId, 0, '');
    expect(damage).toMatchObject({ code: 'UnsupportedFormat', message: expect.stringContaining('sparkle') });
    expect(catalog.apply(artifactId, records)).toMatchObject({ headSeq: 1, manifest: { before: true } });
    catalog.checkInvariants();
  });

  test('may be deleted, also while it is in use', async () => {
    await fill();
    const trees = new FakeTrees();
    {
      using catalog = openCatalog(path, trees);
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
      expect(await walkAll(catalog, trees)).toEqual(entries);
    }
    using catalog = openCatalog(path, trees);
    expect(await walkAll(catalog, trees)).toEqual(entries);
    expect(trees.fetched).toHaveLength(3);
  });

  test('keeps at a restart what was used last', async () => {
    const trees = new FakeTrees();
    {
      using catalog = openCatalog(path, trees);
      await walkAll(catalog, trees);
      const tree = await catalog.tree(artifactId, trees.publish(entries, cuts));
      await tree.lookup(entries[0]?.dir ?? '', entries[0]?.name ?? '');
    }
    using catalog = openCatalog(path, trees, { entriesMax: 1000 });
    await catalog.settled();
    const tree = await catalog.tree(artifactId, trees.publish(entries, cuts));
    expect(tree.lookup(entries[0]?.dir ?? '', entries[0]?.name ?? '')).toEqual(entries[0]);
    expect(catalog.stats()).toMatchObject({ entries: 1000, ranges: 1 });
    catalog.checkInvariants();
  });

  const spoilt: [string, string, () => void][] = [
    ['holds something else', 'Corrupt', () => writeFileSync(path, 'x'.repeat(100_000))],
    ['was cut off', 'Corrupt', () => writeFileSync(path, readFileSync(path).subarray(0, 5000))],
    ['has a spoilt schema', 'Corrupt', () => writeFileSync(path, readFileSync(path).fill(0xa5, 100, 8192))],
    [
      'was written by a newer artifactfs',
      'UnsupportedFormat',
      () => openDatabase(path, { migrations: [...catalogMigrations, 'CREATE TABLE future (x)'] }).close(),
    ],
  ];
  test.each(spoilt)('that %s is moved aside and rebuilt, and its owner is told', async (_, code, spoil) => {
    await fill();
    spoil();
    const wanted = readFileSync(path);
    const told: [ArtifactError, string][] = [];
    const trees = new FakeTrees();
    using catalog = openCatalog(path, trees, { onRebuild: (...args) => void told.push(args) });
    expect(told).toHaveLength(1);
    expect(told[0]?.[0].code).toBe(code);
    expect(told[0]?.[0].message).toContain(path);
    expect(readFileSync(told[0]?.[1] ?? '').equals(wanted)).toBe(true);
    expect(await walkAll(catalog, trees)).toEqual(entries);
    expect(trees.fetched).toHaveLength(3);
    catalog.checkInvariants();
  });

  test('with damaged pages fails look-ups as Corrupt, and is rebuilt at the next start', async () => {
    await fill();
    const bytes = readFileSync(path);
    bytes.fill(0xa5, 20 * 8192);
    writeFileSync(path, bytes);
    const trees = new FakeTrees();
    {
      using catalog = openCatalog(path, trees);
      await expect(walkAll(catalog, trees)).rejects.toMatchObject({ code: 'Corrupt' });
    }
    let rebuilt = 0;
    using catalog = openCatalog(path, trees, { onRebuild: () => rebuilt++ });
    expect(await walkAll(catalog, trees)).toEqual(entries);
    expect([rebuilt, trees.fetched.length, existsSync(`${path}.damaged`)]).toEqual([1, 3, false]);
  });

  test('is not rebuilt because of a full or foreign place', () => {
    let rebuilt = 0;
    const open = () =>
      openCatalog(join(directory, 'no/catalog.db'), new FakeTrees(), { onRebuild: () => rebuilt++ });
    expect(open).toThrow(expect.objectContaining({ code: 'NotFound' }));
    using _first = openCatalog(path, new FakeTrees());
    expect(rebuilt).toBe(0);
  });
});

describe('a process killed while it writes', () => {
  const child = fileURLToPath(new URL('./loading-child.ts', import.meta.url));
  const loader = fileURLToPath(new URL('../support/typescript-loader.mjs', import.meta.url));

  async function killAfter(lines: number): Promise<void> {
    const loading: ChildProcess = spawn(process.execPath, ['--import', loader, child, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(loading, 'exit');
    let seen = 0;
    if (loading.stdout !== null) {
      for await (const _ of createInterface({ input: loading.stdout })) {
        if (++seen === lines) loading.kill('SIGKILL');
      }
    }
    expect(await ended).toEqual([null, 'SIGKILL']);
  }

  test('leaves a catalog that has whole ranges only, and goes on from there', async () => {
    // Until a kill has hit a range half-way, without which nothing would be proved.
    let halfWay = 0;
    for (let kills = 0; kills < 10 && (kills < 2 || halfWay === 0); kills++) {
      await killAfter(3 + kills);
      const db = openDatabase(path, { migrations: catalogMigrations });
      if (db.prepare('SELECT 1 FROM ranges WHERE sha256 IS NULL').get() !== undefined) halfWay++;
      db.close();
      const trees = new FakeTrees();
      using catalog = openCatalog(path, trees);
      const known = catalog.stats().ranges;
      await catalog.settled();
      catalog.checkInvariants();
      expect(await walkAll(catalog, trees)).toEqual(entries);
      expect(trees.fetched.length).toBe(known >= 3 ? 0 : 3);
    }
    expect(halfWay).toBeGreaterThan(0);
  });
});
