import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { rootCollectionId } from '../../src/model/ids.js';
import { FileStore } from '../../src/store/file/file-store.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { openStore } from '../../src/store/open-store.js';
import { type Finding, findingPathsMax } from '../../src/workspace/fsck/findings.js';
import { fsck } from '../../src/workspace/fsck/fsck.js';
import { formatKey, logKey, objectKey, parseKey } from '../../src/workspace/keys.js';
import { encodeRecord, sha256Hex } from '../../src/workspace/record-codec.js';
import type { LogRecord, RecordBody } from '../../src/workspace/records.js';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';
import { failure, openMachine, removeTemporaryDirectories, Shell, unexpected } from './support/daemon.js';

const large = Buffer.alloc((1 << 20) + 7, 'weights ');

/** Two artifacts, one in a collection: `model` with three versions, `gallery/cells` with one. */
async function fill(store: ObjectStore): Promise<{ model: string; cells: string }> {
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const model = new Shell(artifacts.create(artifacts.root, 'model'));
  await model.mkdir('dir');
  await model.write('dir/weights.bin', large);
  await model.write('readme', 'one');
  await model.commit('first');
  await model.put('readme', 'two');
  await model.write('empty', '');
  await model.commit('second');
  await model.put('readme', 'three');
  await model.commit('third');
  const gallery = artifacts.create(artifacts.root, 'gallery', { type: 'collection' });
  await gallery.commit({ message: 'gallery' });
  const cells = new Shell(artifacts.create(gallery, 'cells'));
  await cells.write('cell', 'a cell');
  await cells.commit('cells');
  await machine.close();
  return { model: model.artifact.id, cells: cells.artifact.id };
}

async function found(store: ObjectStore, paths: string[] = []): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const one of fsck(store, { paths: paths.map((path) => [path]) })) findings.push(one);
  return findings;
}

const damages = (findings: readonly Finding[]) => findings.filter(({ severity }) => severity === 'damage');

/** Keys of one kind of an artifact's objects, with their sizes, in order. */
async function keysOf(store: ObjectStore, artifactId: string, type: 'data' | 'tree', name?: string | null) {
  const keys: string[] = [];
  for await (const { key } of store.list(`a/${artifactId}/`)) {
    const parsed = parseKey(key);
    if (parsed?.type === type && (name === undefined || (parsed.type === 'data' && parsed.name === name)))
      keys.push(key);
  }
  return keys;
}

const first = (keys: readonly string[]): string => keys[0] ?? '';

async function overwrite(store: ObjectStore, key: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  const bytes = await store.get(key);
  await store.deleteMany([key]);
  await store.put(key, change(Buffer.from(bytes)));
}

async function record(store: ObjectStore, artifactId: string, seq: number): Promise<LogRecord> {
  return JSON.parse((await store.get(logKey(artifactId, seq))).toString());
}

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.close());

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

let prefixes = 0;
const stores: Readonly<Record<string, () => Promise<ObjectStore>>> = {
  memory: async () => new MemoryStore(),
  file: async () => {
    const directory = mkdtempSync(join(tmpdir(), 'fsck-test-'));
    directories.push(directory);
    return FileStore.open(directory);
  },
  s3: () => {
    const { endpoint, accessKeyId, secretAccessKey, bucket } = server;
    const s3 = { endpoint, accessKeyId, secretAccessKey };
    return openStore(`s3://${bucket}/fsck-${prefixes++}`, { s3 });
  },
};

describe.each(Object.keys(stores))('on a %s store', (kind) => {
  let store: ObjectStore;
  let model: string;
  let cells: string;
  beforeEach(async () => {
    store = (await stores[kind]?.()) ?? new MemoryStore();
    ({ model, cells } = await fill(store));
  });
  afterEach(() => store[Symbol.asyncDispose]());

  test('a workspace as it was written is sound', async () => {
    const findings = fsck(store);
    let next = await findings.next();
    while (!next.done) {
      // What a commit replaced lies there until it is collected.
      expect(next.value).toMatchObject({ severity: 'info' });
      next = await findings.next();
    }
    expect(next.value).toMatchObject({ artifacts: 4, versions: 5 });
    expect(await found(store, ['gallery/cells'])).toEqual([]);
    expect((await failure(found(store, ['nothing']))).code).toBe('NotFound');
  });

  test('a data object that was deleted is named with the files and versions that need it', async () => {
    const key = first(await keysOf(store, model, 'data', 'weights.bin'));
    await store.deleteMany([key]);
    expect(damages(await found(store))).toMatchObject([
      {
        code: 'object-missing',
        artifact: 'model',
        key,
        versions: [0, 1, 2],
        files: ['dir/weights.bin'],
        fileCount: 1,
      },
    ]);
    expect(damages(await found(store, ['gallery']))).toEqual([]);
  });

  test('a data object that was truncated is named with what is missing of it', async () => {
    const key = first(await keysOf(store, model, 'data', 'weights.bin'));
    await overwrite(store, key, (bytes) => bytes.subarray(0, 1000));
    expect(damages(await found(store, ['model']))).toMatchObject([
      {
        code: 'object-truncated',
        key,
        offset: 1000,
        length: large.length - 1000,
        files: ['dir/weights.bin'],
      },
    ]);
  });

  test('a pack that was truncated concerns only the files behind the cut', async () => {
    const machine = await openMachine({ store });
    const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'packed'));
    await shell.write('a', 'first');
    await shell.write('b', 'second');
    await shell.commit();
    await machine.close();
    const key = first(await keysOf(store, shell.artifact.id, 'data'));
    await overwrite(store, key, (bytes) => bytes.subarray(0, 'first'.length));
    expect(damages(await found(store))).toMatchObject([{ code: 'object-truncated', key, files: ['b'] }]);
  });

  test('a tree object that was deleted takes the names of its versions', async () => {
    const { tree } = (await record(store, model, 2)) as { tree?: { object: string } };
    const key = objectKey(model, tree?.object ?? '');
    await store.deleteMany([key]);
    expect(damages(await found(store))).toMatchObject([
      { code: 'tree-missing', artifact: 'model', key, versions: [1], fileCount: 4 },
    ]);
  });

  test('a tree object that was truncated or overwritten is told apart', async () => {
    const { tree } = (await record(store, model, 3)) as { tree?: { object: string } };
    const key = objectKey(model, tree?.object ?? '');
    const whole = await store.get(key);
    await overwrite(store, key, (bytes) => bytes.subarray(0, -1));
    expect(damages(await found(store))).toMatchObject([{ code: 'tree-truncated', key, versions: [2] }]);
    await overwrite(store, key, () => Buffer.alloc(whole.length, 'x'));
    expect(damages(await found(store))).toMatchObject([{ code: 'tree-damaged', key, versions: [2] }]);
  });

  test('a record that is missing ends the log, and what was before it is still checked', async () => {
    const object = first(await keysOf(store, model, 'data', 'weights.bin'));
    await store.deleteMany([logKey(model, 2), object]);
    const findings = damages(await found(store));
    expect(findings).toMatchObject([
      { code: 'log-gap', artifact: 'model', key: logKey(model, 2) },
      { code: 'object-missing', key: object, versions: [0] },
    ]);
    expect(findings[0]?.means).toMatch(/^the records 2 to 3 count for nobody/);
  });

  test('a record that was edited breaks the chain after it', async () => {
    await overwrite(store, logKey(model, 1), (bytes) =>
      Buffer.from(bytes.toString().replace('"first"', '"FIRST"')),
    );
    expect(damages(await found(store))).toMatchObject([
      { code: 'log-broken-chain', key: logKey(model, 2), means: expect.stringContaining('records 1 and 2') },
    ]);
    await overwrite(store, logKey(model, 2), () => Buffer.from('{"kind":'));
    expect(damages(await found(store))).toMatchObject([{ code: 'log-unreadable', key: logKey(model, 2) }]);
  });

  test('a name whose artifact lost its log is damage', async () => {
    await store.deleteMany([logKey(cells, 1)]);
    expect(damages(await found(store))).toMatchObject([
      { code: 'artifact-missing', artifact: 'gallery/cells', key: logKey(cells, 1) },
    ]);
  });

  test('foreign keys and objects that nobody uses are named, and are no damage', async () => {
    await store.put('a/notes.txt', Buffer.from('mine'));
    await store.put(`a/${model}/d/what`, Buffer.from('mine'));
    const stray = `a/${model}/d/aaaa01ARZ3NDEKTSV4RRFFQ69G5FAV/1-stray`;
    await store.put(stray, Buffer.from('stray'));
    const findings = await found(store);
    expect(damages(findings)).toEqual([]);
    const keys = (code: string) => findings.filter((one) => one.code === code).map(({ key }) => key);
    expect(keys('foreign-key').sort()).toEqual([`a/${model}/d/what`, 'a/notes.txt'].sort());
    expect(keys('unreferenced')).toContain(stray);
  });

  test('format.json that is lost or torn is damage, and the rest is checked', async () => {
    await overwrite(store, formatKey, () => Buffer.from('{}'));
    expect(damages(await found(store))).toMatchObject([{ code: 'format-damaged', key: formatKey }]);
    await store.deleteMany([formatKey]);
    expect(damages(await found(store))).toMatchObject([{ code: 'format-missing' }]);
  });
});

describe('what a hand-made log says', () => {
  let store: MemoryStore;
  let model: string;
  beforeEach(async () => {
    store = new MemoryStore();
    ({ model } = await fill(store));
  });

  async function appended(body: RecordBody): Promise<void> {
    const { commitId, host, user, time } = await record(store, model, 3);
    const prev = sha256Hex(await store.get(logKey(model, 3)));
    const bytes = encodeRecord({ seq: 4, prev, commitId, host, user, time: time + 1 }, body);
    await store.put(logKey(model, 4), bytes);
  }

  test('a version out of its turn is a contradiction', async () => {
    const { seq: _, prev: __, ...commit } = await record(store, model, 3);
    if (commit.type !== 'commit') throw new Error('no commit');
    await appended({ ...commit, version: 9 });
    expect(damages(await found(store))).toMatchObject([{ code: 'log-contradiction', key: logKey(model, 4) }]);
  });

  test('a record without effect is told', async () => {
    await appended({ type: 'alias', alias: 'best', expected: 7, version: 0 });
    const findings = await found(store);
    expect(damages(findings)).toEqual([]);
    expect(findings).toContainEqual(
      expect.objectContaining({ code: 'record-without-effect', key: logKey(model, 4) }),
    );
  });

  test('objects of expired versions may be gone', async () => {
    await appended({ type: 'expire', versions: [0, 1, 2] });
    for (const type of ['data', 'tree'] as const) await store.deleteMany(await keysOf(store, model, type));
    expect(await found(store, ['model'])).toEqual([]);
  });

  test('a reader feature that is not known leaves the artifact unchecked', async () => {
    await appended({ type: 'feature', reader: ['from-the-future'] });
    const findings = await found(store);
    expect(damages(findings)).toEqual([]);
    expect(findings).toContainEqual(expect.objectContaining({ severity: 'warning', code: 'newer-format' }));
  });

  test('an artifact without a name is told, and checked', async () => {
    for (const seq of [1, 2, 3, 4]) await store.deleteMany([logKey(rootCollectionId, seq)]);
    await store.deleteMany(await keysOf(store, model, 'data', 'weights.bin'));
    const findings = await found(store);
    expect(findings).toContainEqual(expect.objectContaining({ code: 'unnamed-artifact', artifactId: model }));
    expect(damages(findings)).toMatchObject([{ code: 'object-missing', artifactId: model }]);
  });

  test('of many files only the first are named, and all are counted', async () => {
    const machine = await openMachine({ store });
    const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'many'));
    for (let i = 0; i < findingPathsMax + 5; i++) await shell.write(`f${i}`, `text ${i}`);
    await shell.commit();
    await machine.close();
    await store.deleteMany(await keysOf(store, shell.artifact.id, 'data'));
    const [damage] = damages(await found(store));
    expect(damage).toMatchObject({ code: 'object-missing', fileCount: findingPathsMax + 5 });
    expect(damage?.files).toHaveLength(findingPathsMax);
  });
});
