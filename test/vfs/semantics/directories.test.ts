import { beforeEach, expect, test } from 'vitest';
import type { DirectoryEntry } from '../../../src/vfs/file-system.js';
import { Holds, slowDown, World } from '../support/world.js';

let { user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ user, artifacts } = await World.open());
  await user.mkdir('m');
});

const names = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `f${String(i).padStart(5, '0')}`);
/** Straight into the tree: thousands of look-ups would test nothing here. */
async function fill(count: number): Promise<string[]> {
  const { tree } = await artifacts.find('m');
  const all = names(count);
  for (const name of all) await tree.create(tree.root, name, { kind: 'file', mode: 0o644, uid: 0, gid: 0 });
  return all;
}
const openRoot = async (): Promise<number> =>
  (await user.with('m', (id) => user.fs.openDirectory(user.context, id, 0))).handle;

test('D1: a listing begins with . and .., with the inode numbers that stat shows', async () => {
  await user.mkdir('m/d');
  await user.write('m/d/f', 'x');
  const entries = await user.entries('m/d');
  expect(entries.map((e) => [e.name, e.kind])).toEqual([
    ['.', 'dir'],
    ['..', 'dir'],
    ['f', 'file'],
  ]);
  expect(entries.map((e) => e.ino)).toEqual([
    (await user.stat('m/d')).ino,
    (await user.stat('m')).ino,
    (await user.stat('m/d/f')).ino,
  ]);
  const root = await user.entries('');
  expect(root.find((e) => e.name === 'm')?.ino).toBe((await user.stat('m')).ino);
});

test('D2: a directory of any size is listed completely, each name once', async () => {
  for (const slow of [false, true]) {
    const count = slow ? 2000 : 2500;
    if (!slow) await fill(count);
    if (slow) slowDown((await artifacts.find('m')).tree);
    const handle = await openRoot();
    const listed = await user.readDirectory(handle, 0, 170);
    user.fs.releaseDirectory(handle);
    expect(listed.slice(2).map((e) => e.name)).toEqual(names(2500));
  }
});

test('D3: names removed while it is read do not hide others', async () => {
  const all = await fill(2300);
  const { tree } = await artifacts.find('m');
  const handle = await openRoot();
  const seen: string[] = [];
  for (let offset = 0; ; ) {
    const part: { name: string; nextOffset: number }[] = [];
    await user.fs.readDirectory(user.context, handle, offset, (e) => part.length < 90 && part.push(e) > 0);
    const last = part.at(-1);
    if (last === undefined) break;
    offset = last.nextOffset;
    for (const { name } of part) {
      if (name.startsWith('.')) continue;
      seen.push(name);
      await tree.unlink(tree.root, name);
    }
  }
  expect(seen).toEqual(all);
  user.fs.releaseDirectory(handle);
});

test('D4: an offset given before leads to the same place, also far back and in a directory opened anew', async () => {
  const all = await fill(3100);
  const handle = await openRoot();
  const listed = await user.readDirectory(handle, 0, 500);
  for (const at of [1, 2, 1001, 1002, 2002, 3101]) {
    const [entry] = await user.readDirectory(handle, offsetOf(listed, at), 1);
    expect(entry).toEqual(listed[at]);
  }
  expect(await user.readDirectory(handle, offsetOf(listed, 3102))).toEqual([]);
  user.fs.releaseDirectory(handle);
  const again = await openRoot();
  expect((await user.readDirectory(again, offsetOf(listed, 2502), 1))[0]?.name).toBe(all[2500]);
  user.fs.releaseDirectory(again);
});

/** What to give to read the entry at this index. */
const offsetOf = (listed: readonly DirectoryEntry[], index: number): number =>
  listed[index - 1]?.nextOffset ?? 0;

// The kernel keeps a listing for all who open the directory, and asks in the middle of it when it has lost a page.
test('regression: an offset that another reader was given hides no names, whatever has gone or come since', async () => {
  const all = await fill(2500);
  const known = await user.node('m');
  const filling = await openRoot();
  const kept = await user.readDirectory(filling, 0, 500);
  user.fs.releaseDirectory(filling);
  const { tree } = await artifacts.find('m');
  const reader = await openRoot();
  for (const name of all.slice(0, 1700)) await tree.unlink(tree.root, name);
  await tree.create(tree.root, 'f01500', { kind: 'file', mode: 0o644, uid: 0, gid: 0 });
  for (let i = 0; i < 3; i++) {
    const other = await openRoot();
    await user.readDirectory(other, 0, 500);
    user.fs.releaseDirectory(other);
  }
  const rest = await user.readDirectory(reader, offsetOf(kept, 1702), 500);
  expect(rest.map((e) => e.name)).toEqual(all.slice(1700));
  expect(rest.map((e) => e.nextOffset)).toEqual(kept.slice(1702).map((e) => e.nextOffset));
  user.fs.releaseDirectory(reader);
  user.forget(known);
});

test('regression: what was given of a listing is not held back for names that have to be waited for', async () => {
  await fill(2500);
  const { tree } = await artifacts.find('m');
  const handle = await openRoot();
  await user.readDirectory(handle, 0, 1002);
  slowDown(tree);
  const seen: string[] = [];
  const end = await user.fs.readDirectory(user.context, handle, 0, ({ name }) => seen.push(name) > 0);
  expect(end).toBeUndefined();
  expect(seen.length).toBeGreaterThan(2);
  user.fs.releaseDirectory(handle);
});

test('two listings share no offset but the first', async () => {
  await fill(3);
  const handle = await openRoot();
  const offsets = (await user.readDirectory(handle)).map((e) => e.nextOffset);
  await user.write('m/another', '');
  offsets.push(...(await user.readDirectory(handle)).map((e) => e.nextOffset));
  expect(new Set(offsets).size).toBe(5 + 6);
  expect(offsets.every((offset) => Number.isSafeInteger(offset))).toBe(true);
  user.fs.releaseDirectory(handle);
});

test('an offset leads to the same name also when names before it went, and when many came', async () => {
  const all = await fill(3100);
  const handle = await openRoot();
  const listed = await user.readDirectory(handle, 0, 500);
  const { tree } = await artifacts.find('m');
  for (const name of all.slice(0, 400)) await tree.unlink(tree.root, name);
  for (let i = 0; i < 1500; i++) {
    await tree.create(tree.root, `f00400-${i}`, { kind: 'file', mode: 0o644, uid: 0, gid: 0 });
  }
  for (const at of [502, 900, 1001, 1500, 2002, 3101]) {
    expect((await user.readDirectory(handle, offsetOf(listed, at), 1))[0]).toEqual(listed[at]);
  }
  const rest = await user.readDirectory(handle, offsetOf(listed, 302), 500);
  expect(rest.map((e) => e.name)).toEqual(all.slice(400));
  user.fs.releaseDirectory(handle);
});

test('D5: rewinding shows the directory as it is now', async () => {
  await user.write('m/a', '');
  const handle = await openRoot();
  expect((await user.readDirectory(handle)).length).toBe(3);
  await user.write('m/b', '');
  expect((await user.readDirectory(handle)).map((e) => e.name)).toEqual(['.', '..', 'a', 'b']);
  user.fs.releaseDirectory(handle);
});

test('D6: an open directory holds two pages at most, and nothing once closed', async () => {
  await fill(5000);
  const { retained } = new Holds((await artifacts.find('m')).tree);
  const handle = await openRoot();
  await user.readDirectory(handle, 0, 1000);
  expect(retained.size).toBeGreaterThan(0);
  expect(retained.size).toBeLessThanOrEqual(2000);
  user.fs.releaseDirectory(handle);
  expect(retained.size).toBe(0);
});

test('D7: with attributes, each entry taken counts as looked up, and an entry that did not fit does not', async () => {
  await user.write('m/a', 'x');
  await user.write('m/b', 'y');
  const handle = await openRoot();
  const before = user.fs.counts().nodes;
  const taken: number[] = [];
  await user.fs.readDirectoryPlus(user.context, handle, 0, (entry, node) => {
    if (entry.name === 'b') return false;
    if (node !== undefined) {
      expect(node.attributes.ino).toBe(entry.ino);
      taken.push(node.nodeId);
    }
    return true;
  });
  expect(taken.length).toBe(1);
  expect(user.fs.counts().nodes).toBe(before + 1);
  for (const id of taken) user.fs.forget(id, 1);
  user.fs.releaseDirectory(handle);
  expect(user.fs.counts().nodes).toBe(before);
});

test('D8: a name that changed since its page was read is given without a node', async () => {
  await user.write('m/a', 'x');
  await user.write('m/b', 'y');
  const known = await user.node('m');
  const handle = await openRoot();
  await user.readDirectory(handle, 0, 3);
  await user.rename('m/b', 'm/c');
  const given: [string, boolean][] = [];
  await user.fs.readDirectoryPlus(user.context, handle, 3, (entry, node) => {
    given.push([entry.name, node !== undefined]);
    return true;
  });
  expect(given).toEqual([['b', false]]);
  user.forget(known);
  user.fs.releaseDirectory(handle);
});
