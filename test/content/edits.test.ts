import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createContent } from '../../src/content/create-content.js';
import { ExtentMap } from '../../src/content/extent-map.js';
import type { UploadResult } from '../../src/content/ports.js';
import { composeParts } from '../../src/content/upload/compose-plan.js';
import type { Extent } from '../../src/model/entry.js';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import type { CallOptions, CopySource, PartInfo } from '../../src/store/object-store.js';
import { dataObject, packObject } from '../../src/workspace/keys.js';
import { artifactId, MemoryJournal, noise, objectKey, useDirectory, WatchedStore } from './support.js';

const directory = useDirectory();
const KiB = 1 << 10;
const MiB = 1 << 20;
const stageId = '0a0b01HXXXXXXXXXXXXXXXXXXXXXXX';

class CopyingStore extends WatchedStore {
  copies = true;
  copiedBytes = 0;

  override copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
    options?: CallOptions,
  ): Promise<PartInfo> {
    if (!this.copies) throw new ArtifactError('Unsupported', 'this store copies nothing');
    this.copiedBytes += source.length;
    return super.copyPart(key, uploadId, part, source, options);
  }
}

function start(store: CopyingStore) {
  const stateDirectory = join(directory(), 'state');
  mkdirSync(stateDirectory, { recursive: true });
  return createContent({
    store,
    journal: new MemoryJournal(),
    keys: { objectKey, packObject, dataObject },
    stateDirectory,
    memoryBytesMax: 256 * MiB,
    diskBytesMax: 2 ** 40,
    cacheBytesMax: 8 * MiB,
  });
}
type Started = ReturnType<typeof start>;

/** A file that is changed and committed again and again. */
class CommittedFile {
  map = new ExtentMap();
  /** More than the largest file of these tests. */
  readonly #memory = Buffer.alloc(80 * MiB);
  #size = 0;
  readonly #content: Started;
  #file = 0;

  constructor(content: Started) {
    this.#content = content;
  }

  /** As if it had been committed with these extents. */
  is(extents: readonly Extent[], bytes: Buffer): void {
    this.map = ExtentMap.fromEntryExtents(extents);
    this.#put(0, bytes);
  }

  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#size);
  }

  #put(offset: number, data: Buffer): void {
    data.copy(this.#memory, offset);
    this.#size = Math.max(this.#size, offset + data.length);
  }

  async write(offset: number, data: Buffer): Promise<void> {
    const file = ++this.#file;
    await this.#content.staging.write(file, offset, data);
    this.map.set(offset, data.length, { type: 'local', file, offset });
    this.#put(offset, data);
  }

  async commit(): Promise<UploadResult> {
    const request = { ino: 1, path: 'dir/f', size: this.bytes.length, extents: [...this.map] };
    const [result] = await this.#content.uploader.upload(artifactId, stageId, [request]);
    if (result === undefined) throw new Error('no result');
    for (const file of this.map.localFiles()) this.#content.staging.remove(file);
    this.map = ExtentMap.fromEntryExtents(result.extents);
    return result;
  }
}

async function stored(store: WatchedStore, extents: readonly Extent[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (const { object, offset, length } of extents) {
    if (object === null) chunks.push(Buffer.alloc(length));
    else chunks.push(await store.get(objectKey(artifactId, object), { offset, length }));
  }
  return Buffer.concat(chunks);
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('a committed file that is changed', () => {
  test('and stays small is sent whole, with its hash', async () => {
    const store = new CopyingStore();
    await using content = start(store);
    const file = new CommittedFile(content);
    await file.write(0, noise(100 * KiB, 1));
    await file.commit();
    await file.write(50 * KiB, noise(KiB, 2));
    const { extents, sha256: hash } = await file.commit();
    expect(extents).toHaveLength(1);
    expect(hash).toBe(sha256(file.bytes));
    expect((await stored(store, extents)).equals(file.bytes)).toBe(true);
  });

  test('by 2,000 appends has few pieces, and each byte was sent a few times', async () => {
    const store = new CopyingStore();
    await using content = start(store);
    const file = new CommittedFile(content);
    // These were there before, and are never sent again.
    const base = noise(5 * MiB, 7);
    await store.putObject('d/old/1-f', base);
    file.is([{ object: 'd/old/1-f', offset: 0, length: base.length }], base);
    let extentsMost = 0;
    let appended = 0;
    for (let i = 0; i < 2000; i++) {
      // Mostly lines; now and then more, so that pieces of all sizes come to lie beside each other.
      const line = noise(i % 50 === 0 ? 300 * KiB : 100, i);
      await file.write(file.bytes.length, line);
      appended += line.length;
      const { extents } = await file.commit();
      extentsMost = Math.max(extentsMost, extents.length);
    }
    expect(extentsMost).toBeLessThan(20);
    expect(store.sentBytes).toBeLessThan(2000 * 2 * limits.blockBytes + 8 * appended);
    expect((await stored(store, [...(await file.commit()).extents])).equals(file.bytes)).toBe(true);
  });

  test('in its middle sends what was changed', async () => {
    const store = new CopyingStore();
    await using content = start(store);
    const file = new CommittedFile(content);
    const base = noise(64 * MiB, 1);
    await store.putObject('d/old/1-f', base);
    file.is([{ object: 'd/old/1-f', offset: 0, length: base.length }], base);
    await file.write(31 * MiB + 5, noise(MiB, 2));
    const { extents } = await file.commit();
    expect(store.sentBytes).toBe(MiB);
    expect(extents).toHaveLength(3);
    expect((await stored(store, extents)).equals(file.bytes)).toBe(true);
  });
});

/** More pieces than a file may have, between two large ones that are in the store. */
async function shattered(store: CopyingStore, content: Started): Promise<CommittedFile> {
  const base = noise(40 * MiB, 1);
  await store.putObject('d/old/1-f', base);
  const file = new CommittedFile(content);
  file.is([{ object: 'd/old/1-f', offset: 0, length: base.length }], base);
  for (let i = 0; i <= limits.extentsPerFileMax / 2; i++)
    await file.write(17 * MiB + i * 8 * KiB, noise(KiB, i));
  return file;
}

describe('a file of too many pieces', () => {
  test('is put together by the store, which is sent little', async () => {
    const store = new CopyingStore();
    await using content = start(store);
    const file = await shattered(store, content);
    const { extents } = await file.commit();
    expect(extents).toHaveLength(1);
    expect((await stored(store, extents)).equals(file.bytes)).toBe(true);
    expect(store.copiedBytes).toBeGreaterThan(30 * MiB);
    expect(store.sentBytes + store.copiedBytes).toBe(40 * MiB);
  });

  test('is sent whole where the store cannot copy', async () => {
    const store = new CopyingStore();
    store.copies = false;
    await using content = start(store);
    const file = await shattered(store, content);
    const { extents } = await file.commit();
    expect((await stored(store, extents)).equals(file.bytes)).toBe(true);
    expect(store.aborted).toHaveLength(1);
  });

  test('leaves nothing behind when putting it together fails', async () => {
    const store = new CopyingStore();
    await using content = start(store);
    const file = await shattered(store, content);
    store.onWrite = ({ part }) => {
      if (part > 0) throw new ArtifactError('StoreUnavailable', 'the store is away');
    };
    await expect(file.commit()).rejects.toMatchObject({ code: 'StoreUnavailable' });
    expect(store.aborted).toHaveLength(1);
    store.onWrite = () => {};
    expect((await stored(store, (await file.commit()).extents)).equals(file.bytes)).toBe(true);
  });
});

test('a composition has all bytes once, in parts that every store takes, copied from within one piece', () => {
  const piece = fc.record({
    length: fc.integer({ min: 1, max: 600 * MiB }),
    kind: fc.constantFrom('object', 'local', 'hole'),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 60 }), (list) => {
      const map = new ExtentMap();
      let size = 0;
      for (const [i, { length, kind }] of list.entries()) {
        if (kind === 'object') map.set(size, length, { type: 'object', object: `d/${i}`, offset: 3 });
        if (kind === 'local') map.set(size, length, { type: 'local', file: i + 1, offset: 0 });
        size += length;
      }
      let at = 0;
      const parts = composeParts([...map], size);
      for (const [i, { start, length, copy }] of parts.entries()) {
        expect(start).toBe(at);
        at += length;
        if (i < parts.length - 1) expect(length).toBeGreaterThanOrEqual(limits.storePartBytesMin);
        expect(length).toBeLessThanOrEqual(5 * 2 ** 30);
        if (copy === null) continue;
        const [from, ...rest] = map.pieces(start, length);
        expect(rest).toEqual([]);
        expect(from).toEqual({ start, length, source: { type: 'object', ...copy } });
      }
      expect(at).toBe(size);
    }),
  );
});
