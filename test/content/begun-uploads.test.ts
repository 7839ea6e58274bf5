import { describe, expect, test } from 'vitest';
import { BegunUploads } from '../../src/content/upload/begun-uploads.js';
import { ArtifactError } from '../../src/model/errors.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { CallOptions } from '../../src/store/object-store.js';
import { RetryStore } from '../../src/store/wrap/retry.js';
import { MemoryJournal } from './support.js';

const mine = 'a/artifact/d/my-stage/';
const others = 'a/artifact/d/stage-of-another-machine/';
const lost = () => new ArtifactError('StoreUnavailable', 'no answer');

/** Does what it is told and then loses its answers, as often as told. */
class LossyStore extends MemoryStore {
  lostCreates = 0;
  failingAborts = 0;
  readonly aborted: string[] = [];

  override async createMultipart(key: string, options?: CallOptions): Promise<string> {
    const uploadId = await super.createMultipart(key, options);
    if (this.lostCreates-- > 0) throw lost();
    return uploadId;
  }

  override async abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    if (this.failingAborts-- > 0) throw lost();
    this.aborted.push(key);
    await super.abortMultipart(key, uploadId, options);
  }

  async keys(): Promise<string[]> {
    return (await this.unfinishedUploads('')).map(({ key }) => key).sort();
  }
}

function machine(store: MemoryStore, journal = new MemoryJournal(), goingOn: string[] = [], quietMs = 0) {
  const retrying = new RetryStore(store, { delayMsMin: 0 });
  const isGoingOn = (key: string) => goingOn.includes(key);
  return { journal, uploads: new BegunUploads(retrying, { journal, isGoingOn, quietMs }) };
}

async function finish(uploads: BegunUploads, key: string): Promise<void> {
  const uploadId = await uploads.createMultipart(key);
  const part = await uploads.uploadPart(key, uploadId, 1, Buffer.from('x'));
  await uploads.completeMultipart(key, uploadId, [part]);
}

// Found by the soak: for each answer that was lost the store kept an upload for ever.
describe('regression: uploads that nobody knows any more', () => {
  test('are aborted when there was quiet: those whose beginning was not answered', async () => {
    const store = new LossyStore();
    const { uploads, journal } = machine(store);
    store.lostCreates = 2;
    await finish(uploads, `${mine}1-f`);
    expect(journal.begun()).toEqual([mine]);
    await expect.poll(() => store.aborted).toEqual([`${mine}1-f`, `${mine}1-f`]);
    expect(await store.keys()).toEqual([]);
    await expect.poll(() => journal.begun()).toEqual([]);
    expect(String(await store.get(`${mine}1-f`))).toBe('x');
  });

  test('are aborted by the next process, if this one was killed before it knew them', async () => {
    const store = new LossyStore();
    const { uploads, journal } = machine(store);
    void uploads.createMultipart(`${mine}1-f`);
    await uploads[Symbol.asyncDispose]();
    await expect.poll(() => store.keys()).toEqual([`${mine}1-f`]);
    const next = machine(store, journal);
    next.uploads.resume();
    await expect.poll(() => store.keys()).toEqual([]);
    await expect.poll(() => journal.begun()).toEqual([]);
  });

  test('are aborted though the store was away when they were given up', async () => {
    const store = new LossyStore();
    const { uploads } = machine(store, new MemoryJournal(), [], 3_600_000);
    const uploadId = await uploads.createMultipart(`${mine}1-f`);
    store.failingAborts = 5;
    await expect(uploads.abortMultipart(`${mine}1-f`, uploadId)).rejects.toMatchObject({
      code: 'StoreUnavailable',
    });
    expect(await store.keys()).toEqual([`${mine}1-f`]);
    await uploads.sweep();
    expect(await store.keys()).toEqual([]);
  });
});

test('uploads that go on, and those of other machines, are left alone', async () => {
  const store = new LossyStore();
  const goingOn = [`${mine}of-an-earlier-process`];
  const { uploads, journal } = machine(store, new MemoryJournal(), goingOn);
  await store.createMultipart(`${mine}of-an-earlier-process`);
  await store.createMultipart(`${others}1-f`);
  const uploadId = await uploads.createMultipart(`${mine}2-f`);
  await uploads.sweep();
  expect(store.aborted).toEqual([]);
  expect(journal.begun()).toEqual([mine]);
  const part = await uploads.uploadPart(`${mine}2-f`, uploadId, 1, Buffer.from('x'));
  await uploads.completeMultipart(`${mine}2-f`, uploadId, [part]);
  await uploads.sweep();
  expect([store.aborted, journal.begun()]).toEqual([[], [mine]]);
  goingOn.pop();
  await uploads.sweep();
  expect([store.aborted, journal.begun()]).toEqual([[`${mine}of-an-earlier-process`], []]);
  expect(await store.keys()).toEqual([`${others}1-f`]);
});

test('a process that found nothing left asks the store nothing', async () => {
  const store = new LossyStore();
  const asked: string[] = [];
  store.unfinishedUploads = async (prefix) => {
    asked.push(prefix);
    return [];
  };
  const { uploads, journal } = machine(store);
  await finish(uploads, `${mine}1-f`);
  await expect.poll(() => journal.begun()).toEqual([]);
  expect(asked.length).toBeGreaterThan(0);
  const before = asked.length;
  const next = machine(store, journal);
  next.uploads.resume();
  await next.uploads.sweep();
  expect(asked).toHaveLength(before);
});
