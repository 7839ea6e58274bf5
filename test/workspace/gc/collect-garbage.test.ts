import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { newArtifactId, newStageId, rootCollectionId } from '../../../src/model/ids.js';
import type { ObjectStore } from '../../../src/store/object-store.js';
import { openStore } from '../../../src/store/open-store.js';
import { collectGarbage, type GcOptions } from '../../../src/workspace/gc/collect-garbage.js';
import { leaseKey, objectKey, readerKey } from '../../../src/workspace/keys.js';
import { encodeLease } from '../../../src/workspace/lease.js';
import type { Manifest, RecordBody } from '../../../src/workspace/records.js';
import { Workspace } from '../../../src/workspace/workspace.js';
import { startS3Server } from '../../support/s3-server/server.js';
import { added, artifactId, changed, fileAt, MemoryJournal, publishRequest, readTree } from '../helpers.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function fileStore(): Promise<{ store: ObjectStore; directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-gc-'));
  const store = await openStore(pathToFileURL(directory).href, { create: true });
  cleanUps.push(async () => rmSync(directory, { recursive: true, force: true }));
  return { store, directory };
}

async function s3Store(): Promise<{ store: ObjectStore }> {
  const s3 = await startS3Server();
  const { endpoint, accessKeyId, secretAccessKey } = s3;
  const store = await openStore(`s3://${s3.bucket}/p`, {
    s3: { endpoint, accessKeyId, secretAccessKey, region: 'us-east-1', pathStyle: true },
  });
  cleanUps.push(
    () => s3.close(),
    async () => store[Symbol.asyncDispose](),
  );
  return { store };
}

/** An artifact `m` of three versions, each with one file in an object of its own and one that stays. */
async function history(store: ObjectStore, manifest: Manifest = {}) {
  const workspace = await Workspace.open(store);
  const journal = new MemoryJournal();
  const commit = async (text: string, base: Parameters<typeof publishRequest>[1], isFirst = false) => {
    const stageId = newStageId();
    const object = `d/${stageId}/1-f`;
    await store.put(objectKey(artifactId, object), Buffer.from(text));
    const entry = fileAt('f', 1_048_576, text, { extents: [{ object, offset: 0, length: text.length }] });
    const kept = `d/${stageId}/2-kept`;
    if (isFirst) await store.put(objectKey(artifactId, kept), Buffer.from('kept'));
    const keptEntry = fileAt('kept', 1_048_577, 'kept', {
      extents: [{ object: kept, offset: 0, length: 4 }],
    });
    const changes = isFirst ? [added(entry), added(keptEntry)] : [changed(last, entry)];
    last = entry;
    const request = publishRequest(changes, { stageId, inoPrefixes: [1], manifest, ...base });
    const { version, tree, records } = await workspace.publish(request, journal);
    const { record, hash } = records.at(-1) ?? { record: { seq: 0 }, hash: '' };
    return { seq: record.seq, hash, version, tree };
  };
  let last = fileAt('f', 1_048_576, '');
  const v0 = await commit('zero', {}, true);
  const v1 = await commit('the first', { base: v0 });
  const v2 = await commit('two', { base: v1 });
  const append = (id: string, body: RecordBody) => appendTo(workspace, id, body);
  await append(rootCollectionId, { type: 'link', name: 'm', artifactId });
  return { workspace, append, v0, v1, v2 };
}

async function appendTo(workspace: Workspace, id: string, body: RecordBody): Promise<void> {
  const head = (await workspace.readLog(id, 0, '')).at(-1);
  const request = {
    artifactId: id,
    commitId: crypto.randomUUID(),
    stageId: newStageId(),
    sinceSeq: head?.record.seq ?? 0,
    sincePrev: head?.hash ?? '',
  };
  await workspace.append(request, () => body, new MemoryJournal());
}

const noGrace: GcOptions = { paths: [], graceMs: 0, deadAfterMs: 1e12, dryRun: false };
const dayMs = 86_400_000;

async function keysOf(store: ObjectStore): Promise<Map<string, number>> {
  const keys = new Map<string, number>();
  for await (const { key, size } of store.list('')) keys.set(key, size);
  return keys;
}

const total = (keys: ReadonlyMap<string, number>) => [...keys.values()].reduce((sum, size) => sum + size, 0);
const logs = (keys: ReadonlyMap<string, number>) =>
  total(new Map([...keys].filter(([key]) => key.includes('/log/'))));

describe.each<[string, () => Promise<{ store: ObjectStore }>]>([
  ['a file store', fileStore],
  ['an S3 server', s3Store],
])('on %s', (_, open) => {
  it('frees exactly what no version reaches after versions have expired, and is done then', async () => {
    const { store } = await open();
    const { workspace, append, v1, v2 } = await history(store);
    await append(artifactId, { type: 'expire', versions: [0, 1] });
    const before = await keysOf(store);
    const { artifacts, failures } = await collectGarbage(workspace, noGrace);
    const after = await keysOf(store);
    expect(failures).toEqual([]);
    const freed = artifacts.reduce((sum, report) => sum + report.freed.bytes, 0);
    expect(total(before) - total(after)).toBe(freed);
    // Two files and the trees of two versions; the file that all share stays.
    expect(before.size - after.size).toBe(4);
    const { entries } = await readTree(await Workspace.open(store), v2.tree);
    for (const { extents } of entries.values())
      for (const { object } of extents ?? [])
        expect(after.has(objectKey(artifactId, object ?? ''))).toBe(true);
    expect(after.has(objectKey(artifactId, v1.tree.object))).toBe(false);
    const again = await collectGarbage(workspace, noGrace);
    expect(again.artifacts.map(({ freed: { objects } }) => objects)).toEqual([0, 0]);
    expect(await keysOf(store)).toEqual(after);
  });

  it('expires what the retention lets go, and tells in a dry run what it would do without doing it', async () => {
    const { store } = await open();
    const { workspace } = await history(store, { retention: { keepLast: 1 } });
    const before = await keysOf(store);
    const dry = await collectGarbage(workspace, { ...noGrace, dryRun: true });
    expect(await keysOf(store)).toEqual(before);
    const wet = await collectGarbage(workspace, { ...noGrace, paths: ['m'] });
    const [would] = dry.artifacts.filter(({ path }) => path === 'm');
    const [did] = wet.artifacts;
    expect(did?.expired).toEqual([0, 1]);
    expect([would?.expired, would?.condemned]).toEqual([did?.expired, did?.condemned]);
    expect(did?.freed).toEqual({
      objects: 4,
      bytes: did?.condemned.reduce((sum, { size }) => sum + size, 0),
    });
    const after = await keysOf(store);
    expect(total(before) - logs(before)).toBe(total(after) - logs(after) + (did?.freed.bytes ?? 0));
  });

  it('declares a stage dead of which nothing was heard, and only then deletes what it left', async () => {
    const { store } = await open();
    const { workspace } = await history(store);
    const stageId = newStageId();
    const left = objectKey(artifactId, `d/${stageId}/1-left`);
    await store.put(left, Buffer.from('left behind'));
    await collectGarbage(workspace, noGrace);
    expect((await keysOf(store)).has(left)).toBe(true);
    const { artifacts } = await collectGarbage(workspace, { ...noGrace, deadAfterMs: 0 });
    const report = artifacts.find((one) => one.artifactId === artifactId);
    expect(report).toMatchObject({ abandoned: [stageId], freed: { objects: 1, bytes: 11 } });
    expect((await keysOf(store)).has(left)).toBe(false);
  });

  it('keeps what a live stage is built on, and what a reader pins', async () => {
    const { store } = await open();
    const { workspace, append, v0, v1 } = await history(store);
    await append(artifactId, { type: 'expire', versions: [0, 1] });
    const stageId = newStageId();
    const facts = { host: 'ada', user: 'ada', mount: '/mnt', bytes: 1, state: 'staging' as const };
    const lease = encodeLease({ stageId, base: 0, versions: [], stages: [], ...facts });
    await store.put(leaseKey(artifactId, stageId), lease);
    const pin = { kind: 'artifactfs.reader', formatVersion: 1, versions: [1] };
    await store.put(readerKey(artifactId, 'mount-1'), Buffer.from(JSON.stringify(pin)));
    const { artifacts } = await collectGarbage(workspace, noGrace);
    expect(artifacts.every(({ freed }) => freed.objects === 0)).toBe(true);
    for (const { tree } of [v0, v1]) await readTree(await Workspace.open(store), tree);
    await store.deleteMany([leaseKey(artifactId, stageId), readerKey(artifactId, 'mount-1')]);
    expect((await collectGarbage(workspace, noGrace)).artifacts.map(({ freed }) => freed.objects)).toContain(
      4,
    );
  });

  it('takes everything of an artifact that was removed, and nothing of one that got its name back', async () => {
    const { store } = await open();
    const { workspace, append } = await history(store);
    await append(rootCollectionId, { type: 'unlink', name: 'm', artifactId });
    const { artifacts } = await collectGarbage(workspace, { ...noGrace, graceMs: dayMs });
    expect(artifacts.find((one) => one.artifactId === artifactId)).toMatchObject({ path: null, expired: [] });
    await append(rootCollectionId, { type: 'link', name: 'again', artifactId });
    expect((await collectGarbage(workspace, noGrace)).artifacts[1]).toMatchObject({
      path: 'again',
      expired: [],
    });
    await append(rootCollectionId, { type: 'unlink', name: 'again', artifactId });
    const taken = await collectGarbage(workspace, noGrace);
    expect(taken.artifacts[1]).toMatchObject({ path: null, expired: [0, 1, 2], freed: { objects: 7 } });
  });

  it('deletes no key that it does not know, and nothing where a gc feature is unknown', async () => {
    const { store } = await open();
    const { workspace, append } = await history(store);
    await append(artifactId, { type: 'expire', versions: [0] });
    const stranger = `a/${artifactId}/d/notes.txt`;
    await store.put(stranger, Buffer.from('mine'));
    await append(artifactId, { type: 'feature', gc: ['sparkle'] });
    const before = await keysOf(store);
    const refused = await collectGarbage(workspace, noGrace);
    expect(refused.failures).toMatchObject([{ path: 'm', error: { code: 'UnsupportedFormat' } }]);
    expect(await keysOf(store)).toEqual(before);
    expect(before.has(stranger)).toBe(true);
  });

  it('leaves one artifact alone that it cannot read, and collects the others', async () => {
    const { store } = await open();
    const { workspace, append } = await history(store);
    await append(artifactId, { type: 'expire', versions: [0] });
    const newer = newArtifactId();
    await append(newer, { type: 'feature', reader: ['sparkle'] });
    await append(rootCollectionId, { type: 'link', name: 'newer', artifactId: newer });
    const { failures, artifacts } = await collectGarbage(workspace, noGrace);
    expect(failures).toMatchObject([{ path: 'newer', error: { code: 'UnsupportedFormat' } }]);
    expect(artifacts).toMatchObject([{ path: '' }, { path: 'm', freed: { objects: 2 } }]);
  });

  it.each(['the root', 'another artifact'])(
    'takes no removed artifact while it cannot read the log of %s, which may name it',
    async (which) => {
      const { store } = await open();
      const { workspace, append } = await history(store);
      await append(rootCollectionId, { type: 'unlink', name: 'm', artifactId });
      const unreadable = which === 'the root' ? rootCollectionId : newArtifactId();
      await append(unreadable, { type: 'feature', reader: ['sparkle'] });
      const before = await keysOf(store);
      const { failures, artifacts } = await collectGarbage(workspace, noGrace);
      expect(failures).toMatchObject([
        { artifactId: unreadable, error: { code: 'UnsupportedFormat', message: expect.any(String) } },
      ]);
      expect(artifacts.find((one) => one.artifactId === artifactId)).toMatchObject({
        path: null,
        expired: [],
      });
      expect(await keysOf(store)).toEqual(before);
      await expect(collectGarbage(workspace, { ...noGrace, paths: ['m'] })).rejects.toMatchObject({
        code: which === 'the root' ? 'UnsupportedFormat' : 'NotFound',
      });
    },
  );

  it('deletes nothing in an artifact of which a version cannot be read', async () => {
    const { store } = await open();
    const { append, v2 } = await history(store);
    await append(artifactId, { type: 'expire', versions: [0] });
    await store.deleteMany([objectKey(artifactId, v2.tree.object)]);
    const before = await keysOf(store);
    const { failures } = await collectGarbage(await Workspace.open(store), noGrace);
    expect(failures).toMatchObject([{ path: 'm', error: { code: 'Corrupt' } }]);
    expect(await keysOf(store)).toEqual(before);
  });
});

describe('the grace', () => {
  /** Makes everything so much older by the store's clock, which a file store has from its files. */
  function age(directory: string, days: number): void {
    const seconds = Date.now() / 1000 - days * 86_400;
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) utimesSync(join(entry.parentPath, entry.name), seconds, seconds);
  }

  it.each([
    [6, 0],
    [8, 4],
  ])(
    'of seven days is kept by the clock of the store: after %i days %i objects go',
    async (days, objects) => {
      const { store, directory } = await fileStore();
      const { workspace, append } = await history(store);
      await append(artifactId, { type: 'expire', versions: [0, 1] });
      age(directory, days);
      const { artifacts } = await collectGarbage(workspace, { ...noGrace, graceMs: 7 * dayMs });
      const report = artifacts.find((one) => one.artifactId === artifactId);
      expect([report?.freed.objects, report?.waiting.objects]).toEqual([objects, 4 - objects]);
    },
  );

  it('begins with the record, however old the objects are', async () => {
    const { store, directory } = await fileStore();
    const { workspace, append } = await history(store);
    age(directory, 100);
    await append(artifactId, { type: 'expire', versions: [0, 1] });
    const { artifacts } = await collectGarbage(workspace, { ...noGrace, graceMs: 7 * dayMs });
    const report = artifacts.find((one) => one.artifactId === artifactId);
    expect([report?.freed.objects, report?.waiting.objects]).toEqual([0, 4]);
  });
});
