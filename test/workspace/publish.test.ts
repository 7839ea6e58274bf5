import { describe, expect, it } from 'vitest';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { Workspace } from '../../src/workspace/workspace.js';
import {
  added,
  artifactId,
  checkTree,
  dirAt,
  fileAt,
  MemoryJournal,
  publishRequest,
  readTree,
  rootEntry,
} from './helpers.js';

describe('publish', () => {
  it('makes version 0 of a new artifact', async () => {
    const store = new MemoryStore();
    const workspace = await Workspace.open(store);
    const journal = new MemoryJournal();
    const request = publishRequest([added(dirAt('a', 2 ** 20)), added(fileAt('a/x', 2 ** 20 + 1, 'hello'))]);
    const result = await workspace.publish({ ...request, root: rootEntry({ nlink: 3 }) }, journal);
    expect(result.version).toBe(0);
    const { entries, metarange } = await readTree(workspace, result.tree);
    checkTree(entries, metarange);
    expect([...entries.keys()]).toEqual(['', 'a', 'a/x']);
    expect(journal.history).toEqual(['prepared', 'slot']);
    const keys = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys).toHaveLength(3);
    expect(await workspace.readLog(artifactId, 0, '')).toEqual(result.records);
  });
});
