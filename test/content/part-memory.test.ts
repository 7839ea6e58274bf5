import { expect, test } from 'vitest';
import { StoreDistance } from '../../src/content/store-distance.js';
import { TransferQueue } from '../../src/content/transfer-queue.js';
import { compose } from '../../src/content/upload/composed-upload.js';
import { ObjectUpload } from '../../src/content/upload/object-upload.js';
import { PartBuffers } from '../../src/content/upload/part-body.js';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import { WatchedStore } from './support.js';

const MiB = 1 << 20;
const key = 'a/object';

function makeUploads() {
  const store = new WatchedStore();
  const buffers = new PartBuffers();
  const queue = new TransferQueue(limits.uploadPartsMax, 64 * MiB);
  return { store, buffers, queue, journal: null, distance: new StoreDistance() };
}

const source = { readInto: (_offset: number, target: Buffer) => void target.fill(1) };

/** Fails each write, of the object or of one of its parts, from the nth on. */
function failWrites(store: WatchedStore, nth: number): void {
  let writes = 0;
  store.onWrite = () => {
    if (++writes >= nth) throw new ArtifactError('StoreUnavailable', 'store is away');
  };
}

/** Nothing is used: memory is taken in whole slabs, so all of each must be there. */
function expectAllIdle({ buffers }: { buffers: PartBuffers }): void {
  expect(buffers.idleBytes).toBeGreaterThan(0);
  expect(buffers.idleBytes % limits.partSlabBytes).toBe(0);
}

// Found by the soak: each part that failed took a piece of several slabs with it, which then stayed as they were.
test.each([
  ['an object in one piece', 5 * MiB - 3, 1],
  ['an object of one small piece', 100, 1],
  ['an object in parts', 21 * MiB, 1],
  ['an object of which some parts were sent', 21 * MiB, 2],
])('regression: the memory of %s that could not be sent is used again', async (_, size, failing) => {
  const parts = makeUploads();
  const target = { artifactId: 'a', stageId: 's', file: 1, path: 'f' };
  const upload = new ObjectUpload(parts, { target, object: 'o', key, partBytes: 8 * MiB, source });
  failWrites(parts.store, failing);
  await expect(upload.place(size)).rejects.toMatchObject({ code: 'StoreUnavailable' });
  expectAllIdle(parts);
  const before = parts.buffers.idleBytes;
  await expect(upload.place(size)).rejects.toMatchObject({ code: 'StoreUnavailable' });
  parts.store.onWrite = () => {};
  const verify = await upload.place(size);
  await verify();
  expect(parts.buffers.idleBytes).toBe(before);
});

test('regression: the memory of parts of a composed object that could not be sent is used again', async () => {
  const parts = makeUploads();
  const composition = {
    key,
    size: 12 * MiB,
    parts: [
      { start: 0, length: 5 * MiB, copy: null },
      { start: 5 * MiB, length: 7 * MiB, copy: null },
    ],
    keyOf: (object: string) => object,
    source,
  };
  failWrites(parts.store, 1);
  const composing = compose(parts, composition, new AbortController().signal, () => {});
  await expect(composing).rejects.toMatchObject({ code: 'StoreUnavailable' });
  expectAllIdle(parts);
});
