import { fstatSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, test } from 'vitest';
import { limits } from '../../../src/model/limits.js';
import type { OpenReply } from '../../../src/vfs/file-system.js';
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../../src/vfs/open-flags.js';
import { outcome } from '../support/user.js';
import { World } from '../support/world.js';

let { world, user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ world, user, artifacts } = await World.open());
  await user.mkdir('m');
  await user.mkdir('m/d');
  await user.write('m/d/f', 'text of v0');
  await user.symlink('d/f', 'm/l');
  await user.with('m/d/f', (id) =>
    user.fs.setXattr(user.context, id, 'user.a', Buffer.from('1'), { create: false, replace: false }),
  );
  await user.commit('m');
  await user.write('m/d/f', 'later');
});

test('V1: a version shows the tree as it was committed, whatever happens to the working view', async () => {
  await user.unlink('m/l');
  for (const root of ['m@v0', 'm/.artifact/versions/v0']) {
    expect(await user.ls(root)).toEqual(['d', 'l']);
    expect(await user.read(`${root}/d/f`)).toBe('text of v0');
    expect(await user.readlink(`${root}/l`)).toBe('d/f');
    expect(await user.stat(`${root}/d/f`)).toMatchObject({ kind: 'file', size: 10, mode: 0o644 });
    const xattr = user.with(`${root}/d/f`, (id) => user.fs.getXattr(user.context, id, 'user.a'));
    expect(Buffer.from(await xattr).toString()).toBe('1');
  }
});

test('V2: every change in a version is refused with EROFS', async () => {
  const { fs, context } = user;
  const flags = { create: false, replace: false };
  const changes: Record<string, () => Promise<unknown>> = {
    write: () => user.open('m@v0/d/f', O_WRONLY),
    readWrite: () => user.open('m@v0/d/f', O_RDWR),
    truncateAtOpen: () => user.open('m@v0/d/f', O_RDONLY | O_TRUNC),
    create: () => user.write('m@v0/new', ''),
    mkdir: () => user.mkdir('m@v0/d/new'),
    mknod: () => user.mknod('m@v0/fifo', 'fifo'),
    symlink: () => user.symlink('x', 'm@v0/s'),
    link: () => user.link('m/d/f', 'm@v0/hard'),
    unlink: () => user.unlink('m@v0/l'),
    rmdir: () => user.rmdir('m@v0/d'),
    renameWithin: () => user.rename('m@v0/l', 'm@v0/k'),
    renameOut: () => user.rename('m@v0/l', 'm/k'),
    renameIn: () => user.rename('m/d/f', 'm@v0/k'),
    chmod: () => user.with('m@v0/d/f', (id) => fs.setAttributes(context, id, { mode: 0o600 })),
    utimens: () => user.with('m@v0/d', (id) => fs.setAttributes(context, id, { mtime: 'now' })),
    setXattr: () => user.with('m@v0/d/f', (id) => fs.setXattr(context, id, 'user.b', Buffer.alloc(1), flags)),
    removeXattr: () => user.with('m@v0/d/f', (id) => fs.removeXattr(context, id, 'user.a')),
  };
  for (const [what, change] of Object.entries(changes)) expect(await outcome(change), what).toBe('ReadOnly');
  expect(await outcome(() => user.link('m@v0/d/f', 'm/hard'))).toBe('CrossDevice');
});

test('V3: a file of a version is one node wherever the version is shown, a directory one for each place', async () => {
  const places = ['m@v0', 'm@0', 'm@latest', 'm/.artifact/versions/v0'];
  const files = await Promise.all(places.map((root) => user.node(`${root}/d/f`)));
  const directories = await Promise.all(places.map((root) => user.node(`${root}/d`)));
  expect(new Set(files.map((f) => f.nodeId)).size).toBe(1);
  expect(new Set(directories.map((d) => d.nodeId)).size).toBe(places.length);
  expect(new Set(directories.map((d) => d.attributes.ino)).size).toBe(1);
  for (const entry of [...files, ...directories]) user.forget(entry);
  expect(user.fs.counts().nodes).toBe(1);
});

test('V4: the kernel may keep everything inside a version for ever, with pages, listings and no FLUSH', async () => {
  const ever = Number.POSITIVE_INFINITY;
  const file = await user.node('m@v0/d/f');
  expect(file).toMatchObject({ entrySeconds: ever, attrSeconds: ever });
  const opened = await user.fs.open(user.context, file.nodeId, O_RDONLY);
  expect(opened).toMatchObject({ keepCache: true, noFlush: true });
  user.fs.release(opened.handle);
  user.forget(file);
  const directory = await user.with('m@v0/d', (id) => user.fs.openDirectory(user.context, id, 0));
  expect(directory).toMatchObject({ keepCache: true, cacheDirectory: true });
  user.fs.releaseDirectory(directory.handle);
});

test('V5: NAME@latest and NAME@alias are asked for each time, and lead to another directory when they moved', async () => {
  const before = await user.node('m@latest');
  expect(before.entrySeconds).toBe(0);
  await user.commit('m', 'second\n');
  const after = await user.node('m@latest');
  expect(after.nodeId).not.toBe(before.nodeId);
  expect(await user.read('m@latest/d/f')).toBe('later');
  const pinned = await user.node('m@v0');
  expect(pinned.entrySeconds).toBeGreaterThan(0);
  for (const entry of [before, after, pinned]) user.forget(entry);
});

test('V8: aliases that others move lead elsewhere after a refresh, whatever letters they begin with', async () => {
  await user.commit('m', 'second');
  const other = await (await world.machine()).artifacts.find('m');
  for (const alias of ['best', 'Best', 'ä', '2nd']) {
    await other.setAlias(alias, 'v0');
    await user.write('m/.artifact/refresh', '1');
    const [link, before] = [`m/.artifact/aliases/${alias}`, await user.node(`m@${alias}`)];
    const linkBefore = await user.node(link);
    expect(await user.readlink(link)).toBe('../versions/v0');
    expect(before.entrySeconds).toBe(0);
    expect(linkBefore.entrySeconds).toBe(0);
    await other.setAlias(alias, 'v1', 0);
    await user.write('m/.artifact/refresh', '1');
    expect(await user.readlink(link)).toBe('../versions/v1');
    expect(await user.read(`m@${alias}/d/f`)).toBe('later');
    const [linkAfter, after] = [await user.node(link), await user.node(`m@${alias}`)];
    expect(linkAfter.nodeId).not.toBe(linkBefore.nodeId);
    expect(after.nodeId).not.toBe(before.nodeId);
    await other.setAlias(alias, null);
    await user.write('m/.artifact/refresh', '1');
    expect(await user.exists(link)).toBe(false);
    expect(await user.exists(`m@${alias}`)).toBe(false);
    for (const entry of [before, linkBefore, after, linkAfter]) user.forget(entry);
  }
});

test('V9: a version that expired is gone under each of its names, which the kernel is told; who is inside stays', async () => {
  await user.commit('m', 'second');
  const places = ['m@v0', 'm@0', 'm/.artifact/versions/v0'];
  // As a kernel holds what leads to what it knows.
  const around = [await user.node('m'), await user.node('m/.artifact/versions')];
  const roots = await Promise.all(places.map((place) => user.node(place)));
  const inside = await user.node('m@v0/d');
  const open = await user.open('m@v0/d/f', O_RDONLY);
  const other = await world.machine();
  await (await other.artifacts.find('m')).expire([0]);
  for (const place of places) expect(await user.exists(place), place).toBe(true);
  user.told.entries.length = 0;
  await artifacts.refresh();
  await user.fs.kernelTold();
  expect(user.told.entries.map((entry) => entry.replace(/^\d+\//, '')).sort()).toEqual(['m@0', 'm@v0', 'v0']);
  for (const place of places) expect(await user.exists(place), place).toBe(false);
  expect(await user.ls('m/.artifact/versions')).toEqual(['v1']);
  expect(await user.read('m/.artifact/log')).toContain('version v0 (expired)');
  expect(await user.readAll(open.handle, 100)).toBe('text of v0');
  user.fs.release(open.handle);
  for (const entry of [...roots, inside, ...around]) user.forget(entry);
  expect(user.fs.counts().nodes).toBe(1);
});

/** A kernel that reads local files, and has read them when it is given them. */
function passThrough() {
  const open = new Map<number, string>();
  let lastId = 0;
  user.told.localFiles = {
    open: (descriptor) => {
      expect(fstatSync(descriptor).size).toBe(limits.packFileBytesMax);
      open.set(++lastId, readFileSync(descriptor, 'latin1'));
      return lastId;
    },
    close: (id) => expect(open.delete(id)).toBe(true),
  };
  return open;
}

const large = 'abcdefgh'.repeat(limits.packFileBytesMax / 8);

/** Reads it through us, as often as it takes until it is verified; answers the reply that has an id. */
async function openedByKernel(path: string): Promise<OpenReply> {
  for (let tries = 0; tries < 5_000; tries++) {
    const opened = await user.open(path, O_RDONLY);
    if (opened.backingId !== undefined) return opened;
    expect((await user.readAll(opened.handle, 1 << 20)) === large).toBe(true);
    await user.close(opened.handle);
    await sleep(5);
  }
  throw new Error(`${path} is not passed through`);
}

test('V6: a large file of a version that is wholly cached and verified is read by the kernel itself, where it can', async () => {
  await user.write('m/large', large);
  await user.commit('m', 'large\n');
  const kernel = passThrough();
  const opened = await openedByKernel('m@v1/large');
  expect(opened).not.toHaveProperty('keepCache');
  expect(kernel.get(opened.backingId ?? 0) === large).toBe(true);
  await user.close(opened.handle);
  expect([...kernel.keys()]).toEqual([]);
  for (const path of ['m/large', 'm@v1/d/f']) {
    const reply = await user.open(path, O_RDONLY);
    expect(reply.backingId).toBeUndefined();
    await user.close(reply.handle);
  }
});

test('V7: who opens such a file first decides for all who have it open at the same time', async () => {
  await user.write('m/large', large);
  await user.commit('m', 'large\n');
  const kernel = passThrough();
  const known = await user.node('m@v1/large'); // as for the kernel, while it is open
  const first = await openedByKernel('m@v1/large');
  user.told.localFiles = undefined;
  const second = await user.open('m/.artifact/versions/v1/large', O_RDONLY);
  expect(second.backingId).toBe(first.backingId);
  await user.close(first.handle);
  expect([...kernel.keys()]).toEqual([second.backingId]);
  await user.close(second.handle);
  expect([...kernel.keys()]).toEqual([]);
  const third = await user.open('m@v1/large', O_RDONLY);
  expect(third.backingId).toBeUndefined();
  passThrough();
  const fourth = await user.open('m@v1/large', O_RDONLY);
  expect(fourth.backingId).toBeUndefined();
  await user.close(third.handle);
  await user.close(fourth.handle);
  const fifth = await openedByKernel('m@v1/large');
  await user.close(fifth.handle);
  user.forget(known);
});
