import { mkdirSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createContent } from '../../src/content/create-content.js';
import type { UploadRequest, UploadResult } from '../../src/content/ports.js';
import { ArtifactError } from '../../src/model/errors.js';
import { deferred } from '../../src/util/deferred.js';
import { dataObject, packObject } from '../../src/workspace/keys.js';
import { runs } from '../support/seed.js';
import { artifactId, MemoryJournal, noise, objectKey, useDirectory, WatchedStore } from './support.js';

const directory = useDirectory();
const stageId = '0a0b01HXXXXXXXXXXXXXXXXXXXXXXX';
const otherStageId = '0a0b01HYYYYYYYYYYYYYYYYYYYYYYY';

/** Small files that lie in one staging file one after the other, as in a slab, and what is sent of them. */
class Staged {
  readonly store = new WatchedStore();
  readonly content;
  readonly files = new Map<number, { at: number; bytes: Buffer }>();
  #end = 4096;
  #sealedTo = 0;

  constructor(name = 'state') {
    mkdirSync(`${directory()}/${name}`);
    this.content = createContent({
      store: this.store,
      journal: new MemoryJournal(),
      keys: { objectKey, packObject, dataObject },
      stateDirectory: `${directory()}/${name}`,
      memoryBytesMax: 256 << 20,
      diskBytesMax: 2 ** 40,
    });
  }

  async write(ino: number, bytes: Buffer): Promise<void> {
    const file = this.files.get(ino);
    // Over what it has, where that is as long, and no upload has seen it.
    const isOver = file?.bytes.length === bytes.length && file.at >= this.#sealedTo;
    const at = isOver ? file.at : this.#end;
    this.#end = Math.max(this.#end, at + bytes.length);
    await this.content.staging.write(1, at, bytes);
    this.files.set(ino, { at, bytes });
    this.content.uploader.changedAhead(artifactId, ino);
  }

  requests(): UploadRequest[] {
    return [...this.files].map(([ino, { at, bytes }]) => ({
      ino,
      path: `dir/file-${ino}`,
      size: bytes.length,
      extents: [{ start: 0, length: bytes.length, source: { type: 'local', file: 1, offset: at } }],
    }));
  }

  ahead(stage = stageId): Promise<void> {
    return this.content.uploader.sendAhead(artifactId, stage, this.requests());
  }

  upload(stage = stageId): Promise<UploadResult[]> {
    this.#sealedTo = this.#end;
    return this.content.uploader.upload(artifactId, stage, this.requests());
  }

  /** What the store has of the files is what was written. */
  async check(results: readonly UploadResult[]): Promise<void> {
    expect(results.map(({ ino }) => ino)).toEqual([...this.files.keys()]);
    for (const { ino, extents } of results) {
      const parts = extents.map(({ object, offset, length }) =>
        this.store.get(objectKey(artifactId, object ?? ''), { offset, length }),
      );
      expect(Buffer.concat(await Promise.all(parts)).equals(this.files.get(ino)?.bytes ?? noise(1, 1))).toBe(
        true,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.content[Symbol.asyncDispose]();
  }
}

async function staged(count: number): Promise<Staged> {
  const made = new Staged();
  for (let ino = 1; ino <= count; ino++) await made.write(ino, noise(1000, ino));
  return made;
}

test('small files that were sent ahead are not sent by the upload, which still asks whether they are there', async () => {
  await using it = await staged(5);
  await it.ahead();
  expect(it.store.puts).toHaveLength(1);
  await it.ahead();
  expect(it.store.puts, 'nothing has changed').toHaveLength(1);
  const heads = it.store.heads;
  await it.check(await it.upload());
  expect(it.store.puts).toHaveLength(1);
  expect(it.store.heads).toBe(heads + 1);
});

test('of files that changed since, the upload sends what they have now, and of the others nothing', async () => {
  await using it = await staged(5);
  await it.ahead();
  await it.write(2, noise(1000, 12));
  await it.write(3, noise(500, 13));
  await it.write(6, noise(100, 14));
  await it.check(await it.upload());
  expect(it.store.puts).toHaveLength(2);
  expect(it.store.puts[1]?.length).toBeLessThan(2500);
});

test('a file that is written over while it is sent ahead goes with the upload', async () => {
  await using it = await staged(5);
  it.store.onWrite = async () => {
    it.store.onWrite = () => {};
    await it.write(2, noise(1000, 12));
  };
  await it.ahead();
  await it.check(await it.upload());
  expect(it.store.puts).toHaveLength(2);
  expect(it.store.puts[1]?.length).toBeLessThan(2000);
});

test('an upload waits for the pack that is on its way, and sends nothing of it again', async () => {
  await using it = await staged(5);
  const gate = deferred();
  it.store.onWrite = () => gate.promise;
  const sending = it.ahead();
  expect(it.content.uploader.takesAhead).toBe(false);
  const uploading = it.upload();
  gate.resolve();
  await it.check(await uploading);
  await sending;
  expect(it.store.puts).toHaveLength(1);
  expect(it.content.uploader.takesAhead).toBe(true);
});

test('an upload that is given up does not wait for the pack that is on its way', async () => {
  await using it = await staged(5);
  const gate = deferred();
  it.store.onWrite = () => gate.promise;
  const sending = it.ahead();
  const giveUp = new AbortController();
  const options = { signal: giveUp.signal };
  const uploading = it.content.uploader.upload(artifactId, stageId, it.requests(), options);
  await nextTurn();
  giveUp.abort(new ArtifactError('Interrupted', 'given up'));
  await expect(uploading).rejects.toMatchObject({ code: 'Interrupted' });
  gate.resolve();
  await sending;
});

test('a store that refuses a pack is left alone, and the upload sends everything', async () => {
  await using it = await staged(5);
  it.store.onWrite = () => {
    throw new ArtifactError('AccessDenied', 'made to refuse');
  };
  await it.ahead();
  expect(it.content.uploader.takesAhead).toBe(false);
  it.store.onWrite = () => {};
  await it.ahead();
  expect(it.store.puts).toEqual([]);
  await it.check(await it.upload());
  expect(it.store.puts).toHaveLength(1);
});

test('a pack that the store has lost fails the upload once, and is sent again by the next', async () => {
  await using it = await staged(5);
  await it.ahead();
  await it.store.deleteMany(it.store.puts.map(({ key }) => key));
  await expect(it.upload()).rejects.toMatchObject({ code: 'Corrupt' });
  await it.check(await it.upload());
});

test('what is of another stage, or may be equal to what the base has, is sent by the upload', async () => {
  await using it = await staged(2);
  await it.ahead();
  await it.check(await it.upload(otherStageId));
  expect(it.store.puts).toHaveLength(2);
  const [first] = await it.upload(otherStageId);
  const requests = it.requests().map((request) => ({
    ...request,
    base: { size: request.size, sha256: first?.sha256 ?? '', extents: first?.extents ?? [] },
  }));
  await it.ahead(stageId);
  const [again] = await it.content.uploader.upload(artifactId, stageId, requests);
  expect(again?.extents).toEqual(first?.extents);
});

test('files that were removed before they are read are left out', async () => {
  await using it = await staged(5);
  it.content.staging.remove(1);
  await it.ahead();
  expect(it.store.puts).toEqual([]);
  expect(it.content.uploader.takesAhead).toBe(true);
});

test('whatever is written before, while and after packs are sent ahead, the upload has what was written last', async () => {
  const write = fc.record({ ino: fc.integer({ min: 1, max: 6 }), length: fc.constantFrom(100, 100, 200) });
  const steps = fc.array(
    fc.oneof({ weight: 4, arbitrary: write }, fc.constantFrom('ahead', 'upload', 'turn')),
    {
      minLength: 1,
      maxLength: 30,
    },
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (plan) => {
      await using it = new Staged(`run-${run++}`);
      const sending: Promise<void>[] = [];
      for (const [i, step] of plan.entries()) {
        if (step === 'ahead') sending.push(it.ahead());
        else if (step === 'turn') await nextTurn();
        else if (step === 'upload') await it.check(await it.upload());
        else if (typeof step === 'object') await it.write(step.ino, noise(step.length, i));
      }
      await it.check(await it.upload());
      await Promise.all(sending);
    }),
    { numRuns: runs(60) },
  );
});
