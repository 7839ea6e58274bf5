import { beforeEach, expect, test } from 'vitest';
import { outcome } from '../support/user.js';
import { World } from '../support/world.js';

let { user, world } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ user, world } = await World.open());
  await user.mkdir('m');
  await user.mkdir('m/d');
  await user.mkdir('m/d/e');
  await user.write('m/d/e/f', 'text');
});

/** Looks the path up, lets the kernel forget it, and answers the node's id: what a file handle holds. */
async function handleOf(path: string): Promise<number> {
  const entry = await user.node(path);
  user.forget(entry);
  return entry.nodeId;
}

/** What open_by_handle_at makes of it: the inode number. */
async function open(id: number, name = '.'): Promise<bigint> {
  const entry = await user.fs.lookup(user.context, id, name);
  if (entry === undefined) throw new Error('a lookup of . finds something, or fails');
  user.forget(entry);
  return entry.attributes.ino;
}

test('H1: a handle leads to its file when the kernel has forgotten it, and after renames', async () => {
  await user.commit('m');
  for (const path of ['m', 'm/d', 'm/d/e/f', 'm@v0/d/e/f', 'm/.artifact/log', 'm/.artifact']) {
    const id = await handleOf(path);
    expect(await open(id), path).toBe((await user.stat(path)).ino);
    expect(await handleOf(path), path).toBe(id);
  }
  const id = await handleOf('m/d/e/f');
  const { ino } = await user.stat('m/d/e/f');
  // The kernel looks up what it moves.
  await user.with('m/d/e/f', () => user.rename('m/d/e/f', 'm/d/g'));
  expect(await open(id)).toBe(ino);
  await user.with('m/d', () => user.rename('m/d', 'm/moved'));
  expect(await open(id)).toBe(ino);
  await user.link('m/moved/g', 'm/second');
  const linked = await handleOf('m/second');
  await user.unlink('m/moved/g');
  expect([linked, await open(linked)]).toEqual([id, ino]);
  expect(user.fs.counts().nodes).toBe(1);
  user.fs.checkInvariants();
});

// That of a file forgotten long ago: test/vfs/forgotten-nodes.test.ts.
test('H2: the handle of a removed or replaced file is stale', async () => {
  const id = await handleOf('m/d/e/f');
  await user.write('m/d/e/g', 'other');
  await user.rename('m/d/e/g', 'm/d/e/f');
  expect(await outcome(() => open(id))).toBe('Stale');
  const removed = await handleOf('m/d/e/f');
  await user.unlink('m/d/e/f');
  expect(await outcome(() => open(removed))).toBe('Stale');
  const directory = await handleOf('m/d/e');
  await user.rmdir('m/d/e');
  expect(await outcome(() => open(directory))).toBe('Stale');
  expect(await outcome(() => open(2 ** 40))).toBe('Stale');
});

test('H3: handles end with the mount', async () => {
  await user.commit('m');
  const { generation } = await user.node('m');
  expect(generation).toBeGreaterThan(0);
  expect(generation).toBeLessThan(2 ** 32);
  const other = (await world.machine()).user;
  const there = await other.node('m');
  expect(there.generation).not.toBe(generation);
});

test('H4: the parent of a directory is found again', async () => {
  const id = await handleOf('m/d/e');
  expect(await open(id, '..')).toBe((await user.stat('m/d')).ino);
  expect(await open(await handleOf('m'), '..')).toBe(1n);
  expect(await open(1, '..')).toBe(1n);
  expect(user.fs.counts().nodes).toBe(1);
});
