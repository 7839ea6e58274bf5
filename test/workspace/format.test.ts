import { describe, expect, it } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { rootCollectionId } from '../../src/model/ids.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { formatKey, logKey } from '../../src/workspace/keys.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { artifactId, MemoryJournal, publishRequest } from './helpers.js';

const valid = {
  kind: 'artifactfs.workspace',
  formatVersion: 1,
  workspaceId: '0123abcd-0000-4000-8000-000000000000',
  readerFeatures: [],
  writerFeatures: [],
  gcFeatures: [],
};

async function storeWith(format: unknown): Promise<MemoryStore> {
  const store = new MemoryStore();
  const text = typeof format === 'string' ? format : JSON.stringify(format);
  await store.put(formatKey, Buffer.from(text));
  return store;
}

const withCode = (code: string, message = '') =>
  expect.objectContaining({ code, message: expect.stringContaining(message) });

describe('opening a workspace', () => {
  it('regression: takes one that somebody else made between looking and making', async () => {
    const store = new MemoryStore();
    const get = store.get.bind(store);
    let made: Workspace | undefined;
    store.get = async (key, ...rest) => {
      const before = get(key, ...rest);
      await before.catch(() => undefined);
      store.get = get;
      made = await Workspace.open(store);
      return before;
    };
    expect((await Workspace.open(store)).workspaceId).toBe(made?.workspaceId);
  });

  it('creates one in an empty store, once', async () => {
    const store = new MemoryStore();
    const first = await Workspace.open(store);
    const second = await Workspace.open(store);
    expect(second.workspaceId).toBe(first.workspaceId);
    expect(first.rootCollectionId).toBe(rootCollectionId);
    expect(JSON.parse((await store.get(formatKey)).toString())).toEqual({
      ...valid,
      workspaceId: first.workspaceId,
    });
  });

  it('agrees when many create it at once', async () => {
    const store = new MemoryStore();
    const all = await Promise.all(Array.from({ length: 8 }, () => Workspace.open(store)));
    expect(new Set(all.map(({ workspaceId }) => workspaceId)).size).toBe(1);
  });

  it('takes what is there when the answer to its create was lost', async () => {
    class Lossy extends MemoryStore {
      override async putIfAbsent(...args: Parameters<MemoryStore['putIfAbsent']>): Promise<{ etag: string }> {
        await super.putIfAbsent(...args);
        throw new ArtifactError('StoreUnavailable', 'no answer');
      }
    }
    const store = new Lossy();
    const { workspaceId } = await Workspace.open(store);
    expect((await Workspace.open(store)).workspaceId).toBe(workspaceId);
  });

  it('does not create one when told not to', async () => {
    await expect(Workspace.open(new MemoryStore(), { create: false })).rejects.toThrow(withCode('NotFound'));
  });

  it('does not create one beside other objects unless told to', async () => {
    const store = new MemoryStore();
    await store.put('photos/1.jpg', Buffer.from('x'));
    await expect(Workspace.open(store)).rejects.toThrow(withCode('NotPermitted', 'photos/1.jpg'));
    await expect(Workspace.open(store, { create: true })).resolves.toBeDefined();
  });

  it('ignores what a probe left behind', async () => {
    const store = new MemoryStore();
    await store.put('.probe/1', Buffer.from('x'));
    await expect(Workspace.open(store)).resolves.toBeDefined();
  });

  it.each(['if-empty', true] as const)(
    'never makes a second identity for artifacts that are there (create %s)',
    async (create) => {
      const store = new MemoryStore();
      await store.put(logKey(artifactId, 1), Buffer.from('x'));
      await expect(Workspace.open(store, { create })).rejects.toThrow(withCode('Corrupt', formatKey));
    },
  );

  it.each<[string, unknown]>([
    ['torn', '{"kind":"artifactfs.work'],
    ['empty', ''],
    ['foreign', { version: 3 }],
    ['without an id', { ...valid, workspaceId: undefined }],
    ['without features', { ...valid, readerFeatures: undefined }],
  ])('names a format.json that is %s', async (_, format) => {
    await expect(Workspace.open(await storeWith(format))).rejects.toThrow(withCode('Corrupt', formatKey));
  });

  it('refuses a newer format, and reader features it does not know, by name', async () => {
    const newer = storeWith({ ...valid, formatVersion: 2 });
    await expect(Workspace.open(await newer)).rejects.toThrow(withCode('UnsupportedFormat', '2'));
    const featured = storeWith({ ...valid, readerFeatures: ['sparkle'] });
    await expect(Workspace.open(await featured)).rejects.toThrow(withCode('UnsupportedFormat', 'sparkle'));
  });

  it('only reads where it does not know a writer feature', async () => {
    const store = await storeWith({ ...valid, writerFeatures: ['sparkle'] });
    const workspace = await Workspace.open(store);
    expect(await workspace.readLog(artifactId, 0, '')).toEqual([]);
    const refused = withCode('UnsupportedFormat', 'sparkle');
    expect(() => workspace.requireWritable()).toThrow(refused);
    await expect(workspace.publish(publishRequest([]), new MemoryJournal())).rejects.toThrow(refused);
  });

  it('does not take an outage for an empty store', async () => {
    class Away extends MemoryStore {
      override get(): Promise<Buffer> {
        return Promise.reject(new ArtifactError('StoreUnavailable', 'no answer'));
      }
    }
    const store = new Away();
    await expect(Workspace.open(store)).rejects.toThrow(withCode('StoreUnavailable'));
  });
});
