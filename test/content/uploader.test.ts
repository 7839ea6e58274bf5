import { createHash } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createContent } from '../../src/content/create-content.js';
import { ExtentMap } from '../../src/content/extent-map.js';
import type { UploadProgress, UploadRequest, UploadResult } from '../../src/content/ports.js';
import { decodePack } from '../../src/content/upload/pack.js';
import type { Extent } from '../../src/model/entry.js';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import { deferred } from '../../src/util/deferred.js';
import { dataObject, packObject } from '../../src/workspace/keys.js';
import { runs } from '../support/seed.js';
import {
  artifactId,
  contentOf,
  MemoryJournal,
  noise,
  objectKey,
  useDirectory,
  WatchedStore,
  warningsDuring,
} from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;
const stageId = '0a0b01HXXXXXXXXXXXXXXXXXXXXXXX';

interface World {
  readonly store: WatchedStore;
  readonly journal: MemoryJournal;
  readonly root: string;
}

const newWorld = (name = 'state'): World => ({
  store: new WatchedStore(),
  journal: new MemoryJournal(),
  root: join(directory(), name),
});

/** A mount's byte side; making a second one on the same world is a restart. */
function start({ store, journal, root }: World) {
  mkdirSync(root, { recursive: true });
  return createContent({
    store,
    journal,
    keys: { objectKey, packObject, dataObject },
    stateDirectory: root,
    memoryBytesMax: 256 * MiB,
    diskBytesMax: 2 ** 40,
  });
}
type Started = ReturnType<typeof start>;

/** A staged file as the layer above keeps it. */
class StagedFile {
  readonly map = new ExtentMap();
  bytes: Buffer = Buffer.alloc(0);
  readonly file: number;
  readonly path: string;

  constructor(file: number, path = `dir/file-${file}`) {
    this.file = file;
    this.path = path;
  }

  async write(content: Started, offset: number, data: Buffer): Promise<void> {
    await content.staging.write(this.file, offset, data);
    const target = { artifactId, stageId, file: this.file, path: this.path };
    content.uploader.written(target, offset, data.length);
    this.map.set(offset, data.length, { type: 'local', file: this.file, offset });
    const grown = Buffer.alloc(Math.max(this.bytes.length, offset + data.length));
    this.bytes.copy(grown);
    data.copy(grown, offset);
    this.bytes = grown;
  }

  request(base?: UploadRequest['base']): UploadRequest {
    const request = { ino: this.file, path: this.path, size: this.bytes.length, extents: [...this.map] };
    return base === undefined ? request : { ...request, base };
  }
}

async function bytesOf(store: WatchedStore, extents: readonly Extent[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (const { object, offset, length } of extents) {
    if (object === null) chunks.push(Buffer.alloc(length));
    else if (length > 0) chunks.push(await store.get(objectKey(artifactId, object), { offset, length }));
  }
  return Buffer.concat(chunks);
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const only = <T>(list: readonly T[]): T => {
  expect(list).toHaveLength(1);
  return list[0] as T;
};
/** Waits for something in the background; fails by the test's own time-out. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
const upload = (content: Started, ...files: StagedFile[]) =>
  content.uploader.upload(
    artifactId,
    stageId,
    files.map((file) => file.request()),
  );

async function checkAll(world: World, files: readonly StagedFile[], results: readonly UploadResult[]) {
  expect(results.map(({ ino }) => ino)).toEqual(files.map(({ file }) => file));
  for (const [i, file] of files.entries()) {
    const result = results[i];
    const stored = await bytesOf(world.store, result?.extents ?? []);
    expect(stored.equals(file.bytes), file.path).toBe(true);
    if (result?.sha256 !== undefined) expect(result.sha256).toBe(sha256(file.bytes));
  }
}

describe('upload', () => {
  test('of many files at a time is no leak of listeners, and leaves none', async () => {
    const world = newWorld();
    await using content = start(world);
    const files: StagedFile[] = [];
    for (let file = 1; file <= 30; file++) {
      const staged = new StagedFile(file);
      await staged.write(content, 0, noise(MiB, file));
      files.push(staged);
    }
    const { signal } = new AbortController();
    const requests = files.map((file) => file.request());
    const run = () => content.uploader.upload(artifactId, stageId, requests, { signal });
    expect(await warningsDuring(run)).toEqual([]);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('puts into the store what was staged, whatever the order, sizes and repetition of writes', async () => {
    const write = fc.record({
      file: fc.integer({ min: 1, max: 4 }),
      offset: fc.oneof(fc.constant(-1), fc.nat(3 * MiB), fc.constant(0)),
      length: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 12 * MiB })),
    });
    const steps = fc.array(
      fc.oneof({ weight: 8, arbitrary: write }, { weight: 1, arbitrary: fc.constant(null) }),
      {
        minLength: 1,
        maxLength: 14,
      },
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (plan) => {
        const world = newWorld(`run-${run++}`);
        await using content = start(world);
        const files = [1, 2, 3, 4].map((file) => new StagedFile(file));
        for (const [i, step] of plan.entries()) {
          if (step === null) {
            // A commit that failed after its upload: everything staged stays staged.
            await checkAll(world, files, await upload(content, ...files));
            continue;
          }
          const file = files[step.file - 1] as StagedFile;
          const offset = step.offset < 0 ? file.bytes.length : step.offset;
          await file.write(content, offset, noise(step.length, i));
        }
        await checkAll(world, files, await upload(content, ...files));
      }),
      { numRuns: runs(25) },
    );
  });

  test('small files go into one pack in tree order, with an index that says what is where', async () => {
    const world = newWorld();
    await using content = start(world);
    const files = ['b/2', 'b/1', 'a', 'c/d/3'].map((path, i) => new StagedFile(i + 1, path));
    for (const [i, file] of files.entries()) await file.write(content, 0, noise(1000 + i, i));
    const same = new StagedFile(9, 'zz');
    await same.write(content, 0, noise(1000, 0));
    const all = [...files, same];
    const results = await upload(content, ...all);
    await checkAll(world, all, results);
    expect(world.store.parts).toEqual([]);
    const { key } = only(world.store.puts);
    expect(key).toBe(objectKey(artifactId, `d/${stageId}/1.pack`));
    const entries = decodePack(key, await world.store.get(key));
    expect(entries.map(({ sha256: hash }) => hash)).toEqual(
      // In the root first; 'zz' has the bytes of 'b/2', which is stored once.
      [files[2], files[0], files[1], files[3]].map((file) => sha256(file?.bytes ?? Buffer.alloc(0))),
    );
    expect(results.every(({ sha256: hash }) => hash !== undefined)).toBe(true);
    expect(results[4]?.extents).toEqual(results[0]?.extents);
    const broken = Buffer.from(await world.store.get(key));
    broken[broken.length - 40] = 0;
    expect(() => decodePack(key, broken)).toThrow(expect.objectContaining({ code: 'Corrupt' }));
    expect(() => decodePack(key, Buffer.alloc(3))).toThrow(expect.objectContaining({ code: 'Corrupt' }));
  });

  test('packs are cut near 32 MiB', async () => {
    const world = newWorld();
    await using content = start(world);
    const files = Array.from({ length: 90 }, (_, i) => new StagedFile(i + 1));
    for (const [i, file] of files.entries()) await file.write(content, 0, noise(900_000, i));
    await checkAll(world, files, await upload(content, ...files));
    expect(world.store.puts).toHaveLength(3);
    for (const { length } of world.store.puts) expect(length).toBeLessThan(33 * MiB);
  });

  test('a file of some MiB is one PUT named after it; size 0 is nothing', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1, 'models/weights.bin');
    await file.write(content, 0, noise(3 * MiB, 1));
    const empty = new StagedFile(2);
    const results = await upload(content, file, empty);
    await checkAll(world, [file, empty], results);
    expect(only(world.store.puts).key).toBe(objectKey(artifactId, `d/${stageId}/1-weights.bin`));
    expect(results[0]?.sha256).toBe(sha256(file.bytes));
    expect(results[1]).toEqual({ ino: 2, extents: [], sha256: sha256(Buffer.alloc(0)) });
  });

  test('only the changed bytes of a committed file are sent; objects and holes stay', async () => {
    const world = newWorld();
    const base = noise(40 * MiB, 1);
    await world.store.putObject('d/old/1-f', base);
    await using content = start(world);
    const file = new StagedFile(1, 'f');
    file.map.set(0, base.length, { type: 'object', object: 'd/old/1-f', offset: 0 });
    file.bytes = Buffer.from(base);
    await file.write(content, 5 * MiB, noise(MiB, 2));
    await file.write(content, 20 * MiB, noise(MiB, 3));
    file.map.punch(30 * MiB, MiB);
    file.bytes.fill(0, 30 * MiB, 31 * MiB);
    const results = await upload(content, file);
    await checkAll(world, [file], results);
    expect(world.store.sentBytes).toBe(2 * MiB);
    const { extents, sha256: hash } = only(results);
    expect(hash).toBeUndefined();
    expect(extents.map(({ object }) => object)).toEqual([
      'd/old/1-f',
      `d/${stageId}/1-f`,
      'd/old/1-f',
      `d/${stageId}/1-f`,
      'd/old/1-f',
      null,
      'd/old/1-f',
    ]);
  });

  test('content equal to the base is not sent', async () => {
    const world = newWorld();
    await using content = start(world);
    const requests: UploadRequest[] = [];
    for (const [file, size] of [
      [1, 5000],
      [2, 3 * MiB],
      [3, 40 * MiB],
    ] as const) {
      const staged = new StagedFile(file);
      await staged.write(content, 0, noise(size, file));
      const extents = [{ object: `d/old/${file}`, offset: 7, length: size }];
      requests.push(staged.request({ size, sha256: sha256(staged.bytes), extents }));
    }
    // What streamed in the background before anybody could compare does not count.
    const before = world.store.parts.length;
    const results = await content.uploader.upload(artifactId, stageId, requests);
    expect(world.store.puts).toEqual([]);
    expect(before).toBeLessThanOrEqual(4);
    expect(results.map(({ extents }) => only(extents).object)).toEqual(['d/old/1', 'd/old/2', 'd/old/3']);
  });

  test('what was read of committed files to send them is let go', async () => {
    const world = newWorld();
    await using content = start(world);
    const files: StagedFile[] = [];
    for (const [i, size] of [40_000, 3 * MiB, 12 * MiB].entries()) {
      const base = noise(size, i);
      await world.store.putObject(`d/old/${i}-f`, base);
      const file = new StagedFile(i + 1, `f${i}`);
      file.map.set(0, size, { type: 'object', object: `d/old/${i}-f`, offset: 0 });
      file.bytes = Buffer.from(base);
      for (let at = 0; at < 1100; at++) {
        const offset = Math.floor((at * size) / 1100);
        await content.staging.write(i + 1, offset, noise(7, at));
        file.map.set(offset, 7, { type: 'local', file: i + 1, offset });
        noise(7, at).copy(file.bytes, offset);
      }
      files.push(file);
    }
    await checkAll(world, files, await upload(content, ...files));
    while (content.statistics().objectsInUse > 0) await nextTurn();
  });

  test('a file in more than 1,024 pieces becomes one object, its large hole stays', async () => {
    const world = newWorld();
    const base = noise(4 * MiB, 1);
    await world.store.putObject('d/old/1-f', base);
    await using content = start(world);
    const file = new StagedFile(1, 'f');
    file.map.set(0, base.length, { type: 'object', object: 'd/old/1-f', offset: 0 });
    file.bytes = Buffer.from(base);
    for (let i = 0; i < 1000; i++) {
      const data = noise(100, i);
      const offset = i * 4096;
      await content.staging.write(1, offset, data);
      file.map.set(offset, 100, { type: 'local', file: 1, offset });
      data.copy(file.bytes, offset);
    }
    const tail = noise(1000, 5);
    await file.write(content, 60 * MiB, tail);
    const results = await upload(content, file);
    await checkAll(world, [file], results);
    expect(only(results).extents).toEqual([
      { object: `d/${stageId}/1-f`, offset: 0, length: 4 * MiB },
      { object: null, offset: 0, length: 56 * MiB },
      { object: `d/${stageId}/1-f`, offset: 4 * MiB, length: 1000 },
    ]);
    expect(world.store.sentBytes).toBe(4 * MiB + 1000);
  });

  test('tells how far it is, in bytes and files', async () => {
    const world = newWorld();
    await using content = start(world);
    const large = new StagedFile(1);
    await large.write(content, 0, noise(20 * MiB, 1));
    const small = new StagedFile(2);
    await small.write(content, 0, noise(500, 2));
    const seen: UploadProgress[] = [];
    const requests = [large.request(), small.request()];
    await content.uploader.upload(artifactId, stageId, requests, { onProgress: (each) => seen.push(each) });
    const total = 20 * MiB + 500;
    expect(seen.at(-1)).toEqual({ filesDone: 2, filesTotal: 2, bytesDone: total, bytesTotal: total });
    for (const [i, { bytesDone }] of seen.entries()) {
      expect(bytesDone).toBeGreaterThanOrEqual(seen[i - 1]?.bytesDone ?? 0);
    }
    expect(seen.length).toBeGreaterThan(2);
  });
});

describe('streaming', () => {
  test('sends complete parts while the file is written, and the rest at upload', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    for (let i = 0; i < 41; i++) await file.write(content, i * MiB, noise(MiB, i));
    // A part is under way until it is hashed, too.
    await until(() => world.store.parts.length === 4 && content.uploader.status().activeParts === 0);
    expect(world.journal.all()).toHaveLength(1);
    expect(
      only(world.journal.all())
        .parts.map(({ part }) => part)
        .sort(),
    ).toEqual([1, 2, 3, 4]);
    expect(content.uploader.status()).toEqual({ backlogBytes: 9 * MiB, activeParts: 0, lastError: null });
    const results = await upload(content, file);
    await checkAll(world, [file], results);
    expect(only(results).sha256).toBe(sha256(file.bytes));
    expect(world.store.sentBytes).toBe(41 * MiB);
    // A commit that failed after this sends nothing again.
    await checkAll(world, [file], await upload(content, file));
    expect(world.store.sentBytes).toBe(41 * MiB);
  });

  test('follows a writer whose requests overtake each other', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    for (let i = 0; i < 24; i += 2) {
      await file.write(content, (i + 1) * MiB, noise(MiB, i + 1));
      await file.write(content, i * MiB, noise(MiB, i));
    }
    await until(() => world.store.parts.length === 2);
    await checkAll(world, [file], await upload(content, file));
  });

  describe('while parts are on their way', () => {
    /** A file of five parts and a bit, four of which were begun; the `held` one is not in the store before `release`. */
    async function begun(world: World, content: Started, held: number, failure?: Error) {
      const { promise, resolve } = deferred();
      let begunParts = 0;
      world.store.onWrite = async ({ part }) => {
        begunParts++;
        if (part !== held) return;
        await promise;
        world.store.onWrite = () => {};
        if (failure !== undefined) throw failure;
      };
      const file = new StagedFile(1);
      for (let i = 0; i < 41; i++) await file.write(content, i * MiB, noise(MiB, i));
      await until(() => begunParts === 4 && world.store.parts.length === 3);
      return { file, release: resolve };
    }

    test('the others are sent at upload, and nothing twice', async () => {
      const world = newWorld();
      await using content = start(world);
      const { file, release } = await begun(world, content, 1);
      const results = upload(content, file);
      await until(() => world.store.parts.length === 5);
      expect(world.store.parts.map(({ part }) => part).sort()).toEqual([2, 3, 4, 5, 6]);
      release();
      await checkAll(world, [file], await results);
      expect(only(await results).sha256).toBe(sha256(file.bytes));
      expect(world.store.sentBytes).toBe(41 * MiB);
    });

    test('one that fails is sent again by the upload that waits for it', async () => {
      const world = newWorld();
      await using content = start(world);
      const failure = new ArtifactError('StoreUnavailable', 'store is away');
      const { file, release } = await begun(world, content, 2, failure);
      const results = upload(content, file);
      await until(() => world.store.parts.length === 5);
      release();
      await checkAll(world, [file], await results);
      expect(only(await results).sha256).toBe(sha256(file.bytes));
    });

    test('one that the file no longer has is waited for, and left out', async () => {
      const world = newWorld();
      await using content = start(world);
      const { file, release } = await begun(world, content, 4);
      file.bytes = file.bytes.subarray(0, 17 * MiB);
      file.map.truncate(17 * MiB);
      const results = upload(content, file);
      release();
      await checkAll(world, [file], await results);
      expect(only(await results).sha256).toBe(sha256(file.bytes));
    });
  });

  test.each([
    ['known to be far', true],
    ['nothing is known of, and that is far,', false],
  ])('a store that is %s has parts at once while the file is written', async (_which, isKnown) => {
    const world = newWorld();
    world.store.createMultipart = async (...call) => {
      await setTimeout(4 * limits.nearStoreMsMax);
      return WatchedStore.prototype.createMultipart.apply(world.store, call);
    };
    await using content = start(world);
    const before = new StagedFile(1);
    for (let i = 0; i < 9; i++) await before.write(content, i * MiB, noise(MiB, i));
    if (isKnown) await upload(content, before);
    const { promise, resolve } = deferred();
    let parts = 0;
    world.store.onWrite = async () => {
      parts++;
      await promise;
    };
    const file = new StagedFile(2);
    for (let i = 0; i < 41; i++) await file.write(content, i * MiB, noise(MiB, i));
    // While somebody writes, a near one would get nothing: less than `uploadBacklogBytesMin` waits.
    const target = { artifactId, stageId, file: 2, path: file.path };
    while (parts < 4) {
      content.uploader.written(target, 41 * MiB - 100, 100);
      await new Promise((done) => setImmediate(done));
    }
    resolve();
    await checkAll(world, [file], await upload(content, file));
  });

  test('parts written over after they were sent, or while they were on their way, are sent again', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    let overwriting: Promise<void> | null = null;
    world.store.onWrite = async ({ part }) => {
      if (part !== 2 || overwriting !== null) return;
      overwriting = file.write(content, 9 * MiB, noise(1000, 77));
      await overwriting;
    };
    await file.write(content, 0, noise(40 * MiB, 1));
    await until(() => world.store.parts.length === 4);
    await file.write(content, 100, noise(50, 78));
    expect(
      only(world.journal.all())
        .parts.map(({ part }) => part)
        .sort(),
    ).toEqual([3, 4]);
    const results = await upload(content, file);
    await checkAll(world, [file], results);
    expect(only(results).sha256).toBe(sha256(file.bytes));
    expect(world.store.parts.map(({ part }) => part).sort()).toEqual([1, 1, 2, 2, 3, 4, 5]);
  });

  test('a file that shrank after parts were sent is right all the same', async () => {
    const world = newWorld();
    await using content = start(world);
    for (const [file, size] of [
      [1, 21 * MiB],
      [2, 3 * MiB],
      [3, 1000],
    ] as const) {
      const staged = new StagedFile(file);
      await staged.write(content, 0, noise(40 * MiB, file));
      await until(() => content.uploader.status().backlogBytes <= 8 * MiB * file);
      staged.map.truncate(size);
      staged.bytes = staged.bytes.subarray(0, size);
      await checkAll(world, [staged], await upload(content, staged));
    }
  });

  describe('on a store that wants every sent part', () => {
    const shrunk = async (world: World) => {
      world.store.leavesOutParts = false;
      await using content = start(world);
      const file = new StagedFile(1);
      await file.write(content, 0, noise(48 * MiB, 1));
      await until(() => world.store.parts.length === 5);
      file.map.truncate(21 * MiB);
      file.bytes = file.bytes.subarray(0, 21 * MiB);
      return file;
    };

    test('regression: a file that shrank is sent again in an upload of its own', async () => {
      const world = newWorld();
      const file = await shrunk(world);
      const { uploadId } = only(world.journal.all());
      await using content = start(world);
      await content.uploader.resume();
      const results = await upload(content, file);
      await checkAll(world, [file], results);
      expect(only(results).sha256).toBe(sha256(file.bytes));
      expect(world.store.aborted).toEqual([uploadId]);
      const row = only(world.journal.all());
      expect(row.uploadId).not.toBe(uploadId);
      expect(row.parts.map(({ part }) => part).sort()).toEqual([1, 2, 3]);
      expect(row.completedSize).toBe(21 * MiB);
    });

    test.each(['before the abort', 'after the abort', 'after the new upload', 'after its first part'])(
      'regression: a stop %s loses nothing',
      async (when) => {
        const world = newWorld();
        const file = await shrunk(world);
        const stop = new AbortController();
        const { store } = world;
        const stopped = () => {
          stop.abort();
          throw new ArtifactError('StoreUnavailable', 'stopped');
        };
        const abortMultipart = store.abortMultipart.bind(store);
        store.abortMultipart = async (key, uploadId) => {
          if (when === 'before the abort') stopped();
          await abortMultipart(key, uploadId);
          if (when === 'after the abort') stopped();
          if (when === 'after the new upload') store.onWrite = stopped;
          if (when === 'after its first part') {
            store.onWrite = () => {
              store.onWrite = stopped;
            };
          }
        };
        {
          await using content = start(world);
          await content.uploader.resume();
          const options = { signal: stop.signal };
          const failed = content.uploader.upload(artifactId, stageId, [file.request()], options);
          await expect(failed).rejects.toMatchObject({ code: 'Interrupted' });
        }
        Object.assign(store, { abortMultipart, onWrite: () => {} });
        await using content = start(world);
        await content.uploader.resume();
        await checkAll(world, [file], await upload(content, file));
        expect(only(world.journal.all()).completedSize).toBe(21 * MiB);
      },
    );
  });

  test('forgetting a file aborts its upload', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    await file.write(content, 0, noise(40 * MiB, 1));
    await until(() => world.store.parts.length === 4);
    content.staging.remove(1);
    await until(() => world.store.aborted.length === 1 && world.journal.rows.size === 0);
    expect(content.uploader.status().backlogBytes).toBe(0);
    expect(content.staging.usedBytes()).toBe(0);
  });

  test('a committed large file becomes cache when its staging file is removed', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    await file.write(content, 0, noise(20 * MiB + 5, 1));
    const { extents } = only(await upload(content, file));
    content.staging.remove(1);
    expect(readdirSync(join(world.root, 'staging'))).toEqual([]);
    world.store.gets = [];
    const map = ExtentMap.fromEntryExtents(extents);
    const reader = content.reader.open(artifactId, contentOf(map, file.bytes.length));
    for (let offset = 0; offset < file.bytes.length; offset += MiB) {
      const got = await reader.read(offset, MiB);
      expect(got.equals(file.bytes.subarray(offset, offset + MiB))).toBe(true);
    }
    expect(world.store.gets).toEqual([]);
    expect(content.statistics().disk.badBlocks).toBe(0);
  });
});

describe('failures', () => {
  const failure = () => new ArtifactError('StoreUnavailable', 'store is away');

  test('in the background are shown, and upload works once the store does', async () => {
    const world = newWorld();
    await using content = start(world);
    world.store.onWrite = () => {
      throw failure();
    };
    const file = new StagedFile(1);
    await file.write(content, 0, noise(40 * MiB, 1));
    await until(() => content.uploader.status().lastError !== null);
    expect(content.uploader.status().lastError).toBe('dir/file-1: store is away');
    world.store.onWrite = () => {};
    await checkAll(world, [file], await upload(content, file));
    expect(content.uploader.status()).toEqual({ backlogBytes: 0, activeParts: 0, lastError: null });
  });

  test.each([1, 3, 7])(
    'of upload are thrown with nothing left running, and a second try sends only the rest (%i)',
    async (nth) => {
      const world = newWorld();
      await using content = start(world);
      const files = [1, 2, 3, 4].map((file) => new StagedFile(file));
      const sizes = [40 * MiB, 3 * MiB, MiB / 2, MiB / 4];
      for (const [i, file] of files.entries()) {
        // Not reported as written: nothing goes in the background.
        file.bytes = noise(sizes[i] ?? 0, i);
        await content.staging.write(file.file, 0, file.bytes);
        file.map.set(0, file.bytes.length, { type: 'local', file: file.file, offset: 0 });
      }
      let writes = 0;
      world.store.onWrite = () => {
        if (++writes === nth) throw failure();
      };
      await expect(upload(content, ...files)).rejects.toMatchObject({ code: 'StoreUnavailable' });
      expect(content.uploader.status().activeParts).toBe(0);
      const total = files.reduce((sum, file) => sum + file.bytes.length, 0);
      await checkAll(world, files, await upload(content, ...files));
      expect(world.store.sentBytes).toBeLessThan(total + 8 * MiB);
    },
  );

  test('an interrupted upload says so and can be taken up', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    await file.write(content, 0, noise(30 * MiB, 1));
    const abort = new AbortController();
    world.store.onWrite = ({ part }) => {
      if (part === 3) abort.abort();
    };
    const { signal } = abort;
    await expect(
      content.uploader.upload(artifactId, stageId, [file.request()], { signal }),
    ).rejects.toMatchObject({ code: 'Interrupted' });
    world.store.onWrite = () => {};
    await checkAll(world, [file], await upload(content, file));
  });

  test('an upload the store has forgotten begins again under a fresh key', async () => {
    const world = newWorld();
    await using content = start(world);
    const file = new StagedFile(1);
    await file.write(content, 0, noise(40 * MiB, 1));
    await until(() => world.store.parts.length === 4);
    const { object, uploadId } = only(world.journal.all());
    await world.store.abortMultipart(objectKey(artifactId, object), uploadId);
    const results = await upload(content, file);
    await checkAll(world, [file], results);
    expect(only(only(results).extents).object).not.toBe(object);
  });
});

describe('resume', () => {
  test('after a kill only what is missing is sent', async () => {
    const world = newWorld();
    const file = new StagedFile(1);
    {
      await using content = start(world);
      await file.write(content, 0, noise(100 * MiB, 1));
      await until(() => world.store.parts.length === 11);
    }
    const before = world.store.sentBytes;
    // The store lost one part, the journal never heard of another.
    world.journal.dropPart(1, 4);
    await using content = start(world);
    await content.uploader.resume();
    await checkAll(world, [file], await upload(content, file));
    expect(before).toBe(88 * MiB);
    expect(world.store.sentBytes - before).toBe(8 * MiB + 12 * MiB);
  });

  test('a part whose bytes are not the local ones any more is sent again', async () => {
    const world = newWorld();
    const file = new StagedFile(1);
    {
      await using content = start(world);
      await file.write(content, 0, noise(40 * MiB, 1));
      await until(() => world.store.parts.length === 4);
    }
    await using content = start(world);
    // As when the daemon was killed between the write and its report.
    const late = noise(100, 9);
    await content.staging.write(1, 12 * MiB, late);
    late.copy(file.bytes, 12 * MiB);
    await content.uploader.resume();
    await checkAll(world, [file], await upload(content, file));
    expect(world.store.parts.map(({ part }) => part).sort()).toEqual([1, 2, 2, 3, 4, 5]);
  });

  test('a finished object is used again after a restart, unless the file changed', async () => {
    const world = newWorld();
    const file = new StagedFile(1);
    const small = new StagedFile(2);
    {
      await using content = start(world);
      await file.write(content, 0, noise(30 * MiB, 1));
      await small.write(content, 0, noise(2 * MiB, 2));
      await upload(content, file, small);
    }
    const before = world.store.sentBytes;
    await using content = start(world);
    await content.uploader.resume();
    await checkAll(world, [file, small], await upload(content, file, small));
    expect(world.store.sentBytes).toBe(before);
    await file.write(content, 5, noise(10, 3));
    await checkAll(world, [file, small], await upload(content, file, small));
    expect(world.store.sentBytes).toBe(before + 30 * MiB);
  });

  test('uploads of files that are gone are aborted', async () => {
    const world = newWorld();
    const file = new StagedFile(1);
    {
      await using content = start(world);
      await file.write(content, 0, noise(40 * MiB, 1));
      await until(() => world.store.parts.length === 4);
    }
    const { uploadId } = only(world.journal.all());
    {
      const world2 = { ...world, root: join(directory(), 'fresh') };
      await using content = start(world2);
      await content.uploader.resume();
      await until(() => world.journal.rows.size === 0);
    }
    expect(world.store.aborted).toEqual([uploadId]);
  });
});
