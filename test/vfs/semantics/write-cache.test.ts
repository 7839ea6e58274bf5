import { Readable } from 'node:stream';
import { beforeEach, expect, test } from 'vitest';
import type { NodeEntry, NodeId } from '../../../src/vfs/file-system.js';
import { O_APPEND, O_WRONLY } from '../../../src/vfs/open-flags.js';
import { turns } from '../support/user.js';
import { World } from '../support/world.js';

let { user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ user, artifacts } = await World.open());
  await user.mkdir('m');
  await user.write('m/f', 'one');
  user.told.keepsWrites = true;
});

/** What the kernel keeps of `m/f`: it comes in, as pages do, when the kernel is asked for it. */
async function keep(text: string): Promise<{ asked: NodeId[]; close: () => Promise<void> }> {
  const entry = await user.node('m/f');
  const { handle } = await user.open('m/f', O_WRONLY);
  const asked: NodeId[] = [];
  user.told.writeBack = async (nodes) => {
    asked.push(...nodes);
    if (!nodes.includes(entry.nodeId)) return;
    const flags = { killPrivileges: false, fromCache: true };
    await user.fs.write(user.context, handle, 0, Buffer.from(text), flags);
  };
  const close = async (): Promise<void> => {
    await user.close(handle);
    user.forget(entry);
  };
  return { asked, close };
}

test('K14: what the kernel keeps of open files comes in before a commit, a discard and who looks from elsewhere', async () => {
  const artifact = await artifacts.find('m');
  await user.write('m/closed', 'x');
  const { asked, close } = await keep('written');
  await user.commit('m');
  expect(await user.read('m@v0/f')).toBe('written');
  expect(new Set(asked).size, 'of the open file only').toBe(1);
  const looks = [
    () => artifact.status(),
    () => artifact.diff(0, 'stage'),
    () => artifacts.files.stat(artifact, '', 'f'),
    () => artifact.discard(),
  ];
  for (const look of looks) {
    const before = asked.length;
    await look();
    expect(asked.length).toBeGreaterThan(before);
  }
  user.told.writeBack = async () => {};
  expect((await artifact.status()).stagedCount, 'what came in before the discard is gone').toBe(0);
  // A store that is away may hold it up.
  user.told.writeBack = () => new Promise(() => {});
  expect((await artifact.status()).stagedCount).toBe(0);
  await close();
});

test('K17: the time of what a killed program wrote is that of the last write when the kernel does not tell it', async () => {
  const entry = await user.node('m/f');
  const long = { s: 1_000_000_000, ns: 0 };
  const mtime = async (): Promise<number> => (await user.stat('m/f')).mtime.s;
  const write = async (tell: boolean): Promise<void> => {
    const { handle } = await user.open('m/f', O_WRONLY);
    await user.fs.write(user.context, handle, 0, Buffer.from('two'), {
      killPrivileges: false,
      fromCache: true,
    });
    if (tell) await user.fs.setAttributes(user.context, entry.nodeId, { mtime: long });
    await user.close(handle);
  };
  await write(true);
  expect(await mtime()).toBe(long.s);
  await write(false);
  expect(await mtime()).toBeGreaterThan(long.s);
  user.forget(entry);
});

test('K15: with the write cache a file changed around the kernel is another inode id with the same st_ino', async () => {
  const artifact = await artifacts.find('m');
  const directory = await user.node('m');
  const before = await user.node('m/f');
  await artifacts.files.write(artifact, 'f', Readable.from([Buffer.from('another size')]));
  await turns();
  expect(user.told.entries).toContain(`${directory.nodeId}/f`);
  const after = await user.node('m/f');
  expect(after.nodeId).not.toBe(before.nodeId);
  expect(after.attributes).toMatchObject({ ino: before.attributes.ino, size: 12 });

  // Who writes, and whose size is right, is not parted from who opens the file now.
  const { handle } = await user.open('m/f', O_WRONLY);
  await user.writeAt(handle, 0, 'Another size, longer');
  artifact.invalidate({ type: 'inode', inode: await inodeOf('f') });
  await turns();
  expect(await idOf('m/f')).toBe(after.nodeId);

  // What still comes in through the former id changes the file around the kernel, too.
  await user.close(handle);
  const flags = { killPrivileges: false, fromCache: true };
  const former = await user.fs.open(user.context, after.nodeId, O_WRONLY);
  await artifacts.files.write(artifact, 'f', Readable.from([Buffer.from('third')]));
  await turns();
  const third = await idOf('m/f');
  await user.fs.write(user.context, former.handle, 5, Buffer.from(' and more'), flags);
  await turns();
  expect(user.told.entries.filter((told) => told === `${directory.nodeId}/f`).length).toBeGreaterThan(1);
  expect(await user.read('m/f')).toBe('third and more');
  user.fs.release(former.handle);
  expect(third).not.toBe(after.nodeId);
  for (const entry of [directory, before, after] as NodeEntry[]) user.forget(entry);
  user.fs.checkInvariants();
  expect(user.fs.counts()).toMatchObject({ nodes: 1, files: 0 });
});

// An append goes where the kernel believes the end to be, which it takes from nobody for an id that it knows already: by the
// former id it would land on what others wrote since.
test('regression: no name leads to a former id of a file for good, and none is opened by it', async () => {
  const artifact = await artifacts.find('m');
  const directory = await user.node('m');
  const former = await user.node('m/f');
  await artifacts.files.write(artifact, 'f', Readable.from([Buffer.from('another size')]));
  // Before the kernel has heard that the name means another id.
  const flags = { noReplace: false, exchange: false };
  await user.fs.rename(user.context, directory.nodeId, 'f', directory.nodeId, 'g', flags);
  await turns();
  expect(user.told.entries).toContain(`${directory.nodeId}/g`);

  const linked = await user.fs.link(user.context, former.nodeId, directory.nodeId, 'h');
  expect(linked.nodeId).not.toBe(former.nodeId);
  expect(linked.attributes).toMatchObject({ ino: former.attributes.ino, size: 12, nlink: 2 });

  const opening = async () => user.fs.open(user.context, former.nodeId, O_WRONLY | O_APPEND);
  await expect(opening()).rejects.toMatchObject({ code: 'Stale' });
  const current = await user.fs.open(user.context, linked.nodeId, O_WRONLY);
  user.fs.release(current.handle);
  for (const entry of [directory, former, linked] as NodeEntry[]) user.forget(entry);
  user.fs.checkInvariants();
});

test('who has a file open by an id that is a former one since opens it by that again, as by /proc/self/fd', async () => {
  const artifact = await artifacts.find('m');
  const former = await user.node('m/f');
  const first = await user.fs.open(user.context, former.nodeId, O_WRONLY);
  await artifacts.files.write(artifact, 'f', Readable.from([Buffer.from('another size')]));
  await turns();
  expect(await idOf('m/f')).not.toBe(former.nodeId);
  const again = await user.fs.open(user.context, former.nodeId, O_WRONLY);
  for (const { handle } of [first, again]) user.fs.release(handle);
  user.forget(former);
  user.fs.checkInvariants();
});

// The kernel counts the names of the inode id that it knows under them, and believes its count of the others.
test('regression: a file that the kernel knows by two ids is told to both when its names are more or fewer', async () => {
  const artifact = await artifacts.find('m');
  const directory = await user.node('m');
  await user.link('m/f', 'm/g');
  await user.write('m/other', 'x');
  const before = await user.node('m/f');
  await artifacts.files.write(artifact, 'f', Readable.from([Buffer.from('another size')]));
  await turns();
  const after = await user.node('m/g');
  expect(after.nodeId).not.toBe(before.nodeId);
  const link = () => user.fs.link(user.context, after.nodeId, directory.nodeId, 'h');
  const rename = () =>
    user.fs.rename(user.context, directory.nodeId, 'other', directory.nodeId, 'h', {
      noReplace: false,
      exchange: false,
    });
  const unlink = () => user.fs.unlink(user.context, directory.nodeId, 'f');
  for (const [change, nlink] of [
    [link, 3],
    [rename, 2],
    [unlink, 1],
  ] as const) {
    user.told.inodes.length = 0;
    await change();
    await turns();
    expect(user.told.inodes).toEqual(expect.arrayContaining([before.nodeId, after.nodeId]));
    for (const { nodeId } of [before, after])
      expect((await user.fs.getAttributes(user.context, nodeId)).attributes.nlink).toBe(nlink);
  }
  for (const entry of [directory, before, after, after]) user.forget(entry);
  user.fs.checkInvariants();
});

test('regression: a file with several names does not keep those that were removed', async () => {
  const artifact = await artifacts.find('m');
  const directory = await user.node('m');
  const entry = await user.node('m/f');
  await user.link('m/f', 'm/g');
  for (const name of ['m/t0', 'm/t1', 'm/t2']) {
    await user.link('m/f', name);
    await user.unlink(name);
  }
  await user.link('m/g', 'm/h');
  await user.unlink('m/f');
  user.told.entries.length = 0;
  await artifacts.files.write(artifact, 'g', Readable.from([Buffer.from('another size')]));
  await turns();
  const told = new Set(user.told.entries);
  expect([...told].sort()).toEqual([`${directory.nodeId}/g`, `${directory.nodeId}/h`]);
  for (const one of [directory, entry]) user.forget(one);
});

test('K16: with the write cache an append goes where the kernel says, which knows the end better', async () => {
  const { handle } = await user.open('m/f', O_WRONLY | O_APPEND);
  await user.writeAt(handle, 6, 'two');
  await user.close(handle);
  expect(await user.read('m/f')).toBe('one\0\0\0two');
});

test('K18: with the write cache fsync tells the kernel what blocks an open file has, when they changed', async () => {
  const entry = await user.node('m/f');
  const { handle } = await user.open('m/f', O_WRONLY);
  const syncTells = async (): Promise<boolean> => {
    user.told.inodes.length = 0;
    await user.fs.fsync(user.context, handle, false);
    await turns();
    return user.told.inodes.includes(entry.nodeId);
  };
  await user.writeAt(handle, 0, 'x'.repeat(10_000));
  expect(await syncTells()).toBe(true);
  expect((await user.fs.getAttributes(user.context, entry.nodeId)).attributes.blocks).toBe(20);
  expect(await syncTells(), 'nothing changed').toBe(false);
  await user.writeAt(handle, 0, 'y'.repeat(5_000));
  expect(await syncTells(), 'written over').toBe(false);
  await user.writeAt(handle, 10_000, 'more');
  expect(await syncTells()).toBe(true);
  user.told.keepsWrites = false;
  await user.writeAt(handle, 10_004, 'y'.repeat(10_000));
  expect(await syncTells(), 'a kernel that keeps none knows it').toBe(false);
  await user.close(handle);
  user.forget(entry);
});

async function inodeOf(name: string) {
  const { tree } = await artifacts.find('m');
  const inode = await tree.lookup(tree.root, name);
  if (inode === undefined) throw new Error(`${name} is not there`);
  return inode;
}

async function idOf(path: string): Promise<NodeId> {
  return user.with(path, (id) => id);
}
