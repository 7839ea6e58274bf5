import { afterEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { Body, CallOptions, PartInfo, PutOptions, PutResult } from '../../src/store/object-store.js';
import { type StoreCall, WrappedStore } from '../../src/store/wrap/wrapped-store.js';
import { noise } from '../content/support.js';
import { failure, openMachine, removeTemporaryDirectories, Shell, shellOf } from './support/daemon.js';

afterEach(removeTemporaryDirectories);

type Loss = 'missing' | 'cut';

/** Answers that it has the first data object, and has it not, or not all of it. */
class LosingStore extends WrappedStore {
  lostKey: string | null = null;
  readonly #loss: Loss;
  /** By upload id: an upload that was completed may be completed again, as the S3 protocol has it. */
  readonly #completed = new Map<string, PutResult>();

  constructor(inner: MemoryStore, loss: Loss) {
    super(inner);
    this.#loss = loss;
  }

  protected override around<T>(_call: StoreCall, run: () => Promise<T>): Promise<T> {
    return run();
  }

  override async put(key: string, body: Body, options?: PutOptions): Promise<PutResult> {
    const answer = await super.put(key, body, options);
    await this.#lose(key);
    return answer;
  }

  override async completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    const before = this.#completed.get(uploadId);
    if (before !== undefined) return before;
    const answer = await super.completeMultipart(key, uploadId, parts, options);
    this.#completed.set(uploadId, answer);
    await this.#lose(key);
    return answer;
  }

  async #lose(key: string): Promise<void> {
    if (!key.includes('/d/') || this.lostKey !== null) return;
    this.lostKey = key;
    if (this.#loss === 'missing') await this.inner.deleteMany([key]);
    else await this.inner.put(key, Buffer.from('cut'));
  }
}

async function logKeys(store: LosingStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('a/')) if (key.includes('/log/')) keys.push(key);
  return keys;
}

describe.each<Loss>(['missing', 'cut'])('an object that the store took is %s', (loss) => {
  describe.each([
    ['a pack of small files', 1000],
    ['a file sent in one request', 3 << 20],
    ['a file sent in parts', (20 << 20) + 5],
  ])('%s', (_, size) => {
    test.each([
      ['', false],
      [', also by another process', true],
    ])('regression: the commit fails, and the next one sends it again%s', async (_, restarts) => {
      const store = new LosingStore(new MemoryStore(), loss);
      let machine = await openMachine({ store });
      const { artifacts, stateDir } = machine;
      let shell = new Shell(artifacts.create(artifacts.root, 'model'));
      const bytes = noise(size, 1);
      await shell.write('file', bytes);

      const error = await failure(shell.commit());
      expect(error).toMatchObject({ code: 'Corrupt', details: { key: store.lostKey } });
      expect(error.details.hint).toMatch(/^commit again/);
      expect(error.message).toContain(loss === 'missing' ? 'does not have it' : 'has 3 bytes of it');
      expect(await logKeys(store)).toEqual([]);
      expect(await shell.artifact.status()).toMatchObject({ committing: null, stagedCount: 1 });
      expect((await shell.bytes('file')).equals(bytes)).toBe(true);

      if (restarts) {
        await machine.close();
        machine = await openMachine({ store, stateDir });
        shell = await shellOf(machine, 'model');
        expect((await shell.bytes('file')).equals(bytes)).toBe(true);
      }
      expect(await shell.commit()).toMatchObject({ version: 0 });
      expect(await logKeys(store)).toHaveLength(2); // its own, and that of its name
      await machine.close();

      const reader = await openMachine({ store });
      expect((await (await shellOf(reader, 'model')).bytes('file')).equals(bytes)).toBe(true);
      await reader.close();
    });
  });
});
