import { afterEach, expect, test } from 'vitest';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { Body, CallOptions, ObjectInfo, PutOptions, PutResult } from '../../src/store/object-store.js';
import { type StoreCall, WrappedStore } from '../../src/store/wrap/wrapped-store.js';
import { deferred } from '../../src/util/deferred.js';
import { noise } from '../content/support.js';
import { failure, openMachine, removeTemporaryDirectories, Shell } from './support/daemon.js';

afterEach(removeTemporaryDirectories);

/** Once a tree is there, says that data is a byte shorter than it is. */
class ShortStore extends WrappedStore {
  isHonest = false;
  readonly #tree = deferred();

  protected override around<T>(_call: StoreCall, run: () => Promise<T>): Promise<T> {
    return run();
  }

  override async put(key: string, body: Body, options?: PutOptions): Promise<PutResult> {
    const answer = await super.put(key, body, options);
    if (key.includes('/t/')) this.#tree.resolve();
    return answer;
  }

  override async head(key: string, options?: CallOptions): Promise<ObjectInfo> {
    const info = await super.head(key, options);
    if (this.isHonest || !key.includes('/d/')) return info;
    await this.#tree.promise;
    return { ...info, size: info.size - 1 };
  }
}

test.each([
  ['small', 1000],
  ['large', 9 << 20],
])(
  'no record is written before the store has all bytes of a %s file, though its tree is',
  async (_, size) => {
    const store = new ShortStore(new MemoryStore(`memory:verified-${size}`));
    const machine = await openMachine({ store });
    const { artifacts } = machine;
    const artifact = artifacts.create(artifacts.root, 'model');
    const shell = new Shell(artifact);
    await shell.write('file', noise(size, 1));
    const logKeys = async () => {
      const keys: string[] = [];
      for await (const { key } of store.list('a/')) if (key.includes('/log/')) keys.push(key);
      return keys;
    };
    expect(await failure(shell.commit())).toMatchObject({ code: 'Corrupt' });
    expect(await logKeys()).toEqual([]);
    store.isHonest = true;
    expect(await shell.commit()).toMatchObject({ version: 0 });
    expect(await logKeys()).toHaveLength(2); // its own, and that of its name
    await machine.close();
  },
);
