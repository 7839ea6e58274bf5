import { expect, it } from 'vitest';
import { limits } from '../../src/model/limits.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { storedJson } from '../../src/workspace/stored-json.js';

// Found by the soak: half of format.json, which had no checksum, ended a mount.
it('regression: JSON that was cut on its way is asked for again, and at last given as it is', async () => {
  let cut = 0;
  let gets = 0;
  class CuttingStore extends MemoryStore {
    override async get(...args: Parameters<MemoryStore['get']>): Promise<Buffer> {
      const bytes = await super.get(...args);
      gets++;
      return cut-- > 0 ? bytes.subarray(0, bytes.length >> 1) : bytes;
    }
  }
  const store = new CuttingStore();
  await store.put('format.json', Buffer.from('{"kind": "whole"}'));
  cut = limits.storeDamagedGetsMax - 1;
  expect(String(await storedJson(store, 'format.json'))).toBe('{"kind": "whole"}');
  gets = 0;
  cut = limits.storeDamagedGetsMax;
  expect(String(await storedJson(store, 'format.json'))).toBe('{"kind":');
  expect(gets).toBe(limits.storeDamagedGetsMax);
});
