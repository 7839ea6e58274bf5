import { beforeEach, expect, test } from 'vitest';
import {
  O_APPEND,
  O_EXCL,
  O_EXEC,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
} from '../../../src/vfs/open-flags.js';
import { contextOf, outcome, User } from '../support/user.js';
import { Holds, slowDown, World } from '../support/world.js';

let { world, user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ world, user, artifacts } = await World.open());
  await user.mkdir('m');
});

test('W1: a new file, directory, link or node has the mode and owner of who made it', async () => {
  user.context = contextOf(5, 6);
  await user.openCreating('m/f', O_WRONLY, 0o640);
  await user.mkdir('m/d', 0o710);
  await user.mknod('m/fifo', 'fifo', 0o600);
  await user.mknod('m/dev', 'char', 0o660, 0x0103);
  await user.symlink('f', 'm/l');
  expect(await user.stat('m/f')).toMatchObject({
    kind: 'file',
    mode: 0o640,
    uid: 5,
    gid: 6,
    size: 0,
    nlink: 1,
  });
  expect(await user.stat('m/d')).toMatchObject({ kind: 'dir', mode: 0o710, uid: 5, gid: 6, nlink: 2 });
  expect(await user.stat('m/fifo')).toMatchObject({ kind: 'fifo', mode: 0o600 });
  expect(await user.stat('m/dev')).toMatchObject({ kind: 'char', rdev: 0x0103 });
  expect(await user.stat('m/l')).toMatchObject({ kind: 'symlink', mode: 0o777, size: 1 });
  expect(await user.readlink('m/l')).toBe('f');
});

test('W2: the umask is taken from the mode, but not from that of a symlink', async () => {
  user.context = { ...contextOf(), umask: 0o077 };
  await user.openCreating('m/f', O_WRONLY, 0o666);
  await user.mkdir('m/d', 0o777);
  await user.mkdir('m2', 0o775);
  await user.symlink('f', 'm/l');
  expect(await user.stat('m/f')).toMatchObject({ mode: 0o600 });
  expect(await user.stat('m/d')).toMatchObject({ mode: 0o700 });
  expect(await user.stat('m2')).toMatchObject({ mode: 0o700 });
  expect(await user.stat('m/l')).toMatchObject({ mode: 0o777 });
});

test('W3: a setgid directory hands its group to what is made in it, and the bit to directories', async () => {
  await user.mkdir('m/shared', 0o755);
  await user.with('m/shared', (id) => user.fs.setAttributes(user.context, id, { mode: 0o2775, gid: 99 }));
  user.context = contextOf(5, 6);
  await user.write('m/shared/f', '');
  await user.mkdir('m/shared/d', 0o755);
  expect(await user.stat('m/shared/f')).toMatchObject({ gid: 99, mode: 0o644 });
  expect(await user.stat('m/shared/d')).toMatchObject({ gid: 99, mode: 0o2755 });
});

test('W4: O_EXCL fails for a name that exists; without it create opens the file that came meanwhile', async () => {
  await user.write('m/f', 'old');
  await user.with('m', async (id) => {
    expect(await outcome(() => user.fs.create(user.context, id, 'f', 0o644, O_WRONLY | O_EXCL))).toBe(
      'Exists',
    );
    const made = await user.made(await user.fs.create(user.context, id, 'f', 0o600, O_WRONLY));
    await user.writeAt(made.open.handle, 0, 'X');
    await user.close(made.open.handle);
  });
  expect(await user.read('m/f')).toBe('Xld');
  expect(await user.stat('m/f')).toMatchObject({ mode: 0o644 });
});

test('W5: O_TRUNC empties the file when it is opened', async () => {
  await user.write('m/f', 'long text');
  const { handle } = await user.open('m/f', O_RDWR | O_TRUNC);
  expect((await user.stat('m/f')).size).toBe(0);
  await user.writeAt(handle, 0, 'ab');
  expect(await user.readAll(handle)).toBe('ab');
  await user.close(handle);
});

test('W6: an append by a program goes to the end of the file, wherever the kernel believed it to be', async () => {
  await user.write('m/f', 'one');
  for (const slow of [false, true]) {
    if (slow) slowDown((await artifacts.find('m')).tree);
    const a = await user.open('m/f', O_WRONLY | O_APPEND);
    const b = await user.open('m/f', O_WRONLY | O_APPEND);
    await Promise.all([user.writeAt(a.handle, 3, 'AA'), user.writeAt(b.handle, 3, 'BB')]);
    await user.close(a.handle);
    await user.close(b.handle);
  }
  expect(await user.read('m/f')).toBe('oneAABBAABB');
});

test('W7: pages written back through an append handle stay at their offsets', async () => {
  await user.write('m/f', '0123456789');
  const { handle } = await user.open('m/f', O_RDWR | O_APPEND);
  const data = Buffer.from('XY');
  await user.fs.write(user.context, handle, 2, data, { killPrivileges: false, fromCache: true });
  await user.fs.write(user.context, handle, 6, data, { killPrivileges: false });
  await user.close(handle);
  expect(await user.read('m/f')).toBe('01XY45XY89');
});

test('W8: an unlinked file lives until its last handle is closed', async () => {
  await user.write('m/f', 'kept');
  const { retained } = new Holds((await artifacts.find('m')).tree);
  const { handle } = await user.open('m/f', O_RDWR);
  await user.unlink('m/f');
  expect(await user.exists('m/f')).toBe(false);
  await user.writeAt(handle, 4, '!');
  expect(await user.readAll(handle)).toBe('kept!');
  expect([...retained.keys()].map((i) => i.kind)).toEqual(['file']);
  await user.close(handle);
  expect(retained.size).toBe(0);
});

test('W9: a handle for writing tells the artifact, until it is closed', async () => {
  const { opened } = new Holds((await artifacts.find('m')).tree);
  const { handle } = await user.openCreating('m/f');
  const reader = await user.open('m/f', 0);
  expect(opened.size).toBe(1);
  await user.close(handle);
  expect(opened.size).toBe(0);
  await user.close(reader.handle);
});

test('W10: hard links share one inode, and directories have one name', async () => {
  await user.write('m/f', 'x');
  await user.mkdir('m/d');
  await user.link('m/f', 'm/d/g');
  const [f, g] = [await user.stat('m/f'), await user.stat('m/d/g')];
  expect(g.ino).toBe(f.ino);
  expect(g.nlink).toBe(2);
  expect(await outcome(() => user.link('m/d', 'm/e'))).toBe('NotPermitted');
});

test('W11: chmod, chown and utimens change what was asked for; a changed owner drops setuid and setgid', async () => {
  await user.write('m/f', 'x');
  const set = (changes: Parameters<typeof user.fs.setAttributes>[2]): Promise<unknown> =>
    user.with('m/f', (id) => user.fs.setAttributes(user.context, id, changes));
  await set({ mode: 0o6755, mtime: { s: -5, ns: 123_456_789 }, atime: { s: 1, ns: 2 } });
  expect(await user.stat('m/f')).toMatchObject({
    mode: 0o6755,
    mtime: { s: -5, ns: 123_456_789 },
    atime: { s: 1, ns: 2 },
  });
  await set({ uid: 3, killPrivileges: true });
  expect(await user.stat('m/f')).toMatchObject({ mode: 0o755, uid: 3 });
  await set({ mode: 0o2644 });
  await set({ uid: 4, killPrivileges: true });
  expect(await user.stat('m/f'), 'setgid without group execution is no privilege').toMatchObject({
    mode: 0o2644,
  });
});

test('W12: truncate changes files only', async () => {
  await user.write('m/f', 'long text');
  const truncate = (path: string, size: number): Promise<string> =>
    outcome(() => user.with(path, (id) => user.fs.setAttributes(user.context, id, { size })));
  expect(await truncate('m/f', 4)).toBe('ok');
  expect(await user.read('m/f')).toBe('long');
  expect(await truncate('m', 0)).toBe('IsDirectory');
  await user.symlink('f', 'm/l');
  expect(await truncate('m/l', 0)).toBe('Invalid');
});

test('W13: what is not a file is not opened, and what is not a directory holds no names', async () => {
  await user.write('m/f', 'x');
  expect(await outcome(() => user.open('m', 0))).toBe('IsDirectory');
  expect(await outcome(() => user.stat('m/f/g'))).toBe('NotDirectory');
  expect(await outcome(() => user.mkdir('m/f/g'))).toBe('NotDirectory');
  expect(await outcome(() => user.ls('m/f'))).toBe('NotDirectory');
  expect(await outcome(() => user.readlink('m/f'))).toBe('Invalid');
});

test('W14: rename moves within the artifact, with NOREPLACE and EXCHANGE', async () => {
  await user.write('m/a', 'A');
  await user.write('m/b', 'B');
  await user.mkdir('m/d');
  expect(await outcome(() => user.rename('m/a', 'm/b', { noReplace: true, exchange: false }))).toBe('Exists');
  await user.rename('m/a', 'm/b', { noReplace: false, exchange: true });
  expect([await user.read('m/a'), await user.read('m/b')]).toEqual(['B', 'A']);
  await user.rename('m/b', 'm/d/c');
  await user.rename('m/d', 'm/e');
  expect(await user.read('m/e/c')).toBe('A');
  expect(await user.ls('m')).toEqual(['a', 'e']);
});

test('W15: extended attributes of user, trusted and security are kept, up to 64 KiB each', async () => {
  await user.write('m/f', 'x');
  const value = Buffer.from([0, 255, 1]);
  const { fs, context } = user;
  const plain = { create: false, replace: false };
  await user.with('m/f', async (id) => {
    for (const name of ['user.a', 'trusted.b', 'security.capability']) {
      await fs.setXattr(context, id, name, value, { create: true, replace: false });
      expect(Buffer.from(await fs.getXattr(context, id, name))).toEqual(value);
    }
    expect([...(await fs.listXattrs(context, id))].sort()).toEqual([
      'security.capability',
      'trusted.b',
      'user.a',
    ]);
    expect(
      await outcome(() => fs.setXattr(context, id, 'user.a', value, { create: true, replace: false })),
    ).toBe('Exists');
    expect(
      await outcome(() => fs.setXattr(context, id, 'user.z', value, { create: false, replace: true })),
    ).toBe('NoAttribute');
    expect(await outcome(() => fs.getXattr(context, id, 'user.z'))).toBe('NoAttribute');
    await fs.removeXattr(context, id, 'user.a');
    expect(await outcome(() => fs.removeXattr(context, id, 'user.a'))).toBe('NoAttribute');
    expect(await outcome(() => fs.setXattr(context, id, 'user.big', Buffer.alloc(65_537), plain))).toBe(
      'TooLarge',
    );
  });
});

test('W16: statfs shows the space of the state directory, asked for at most once a second', async () => {
  const { fs, context } = user;
  const statistics = await fs.statistics(context, 1);
  expect(statistics).toMatchObject({
    blockBytes: 4096,
    blocksFree: 600,
    blocksAvailable: 500,
    nameBytesMax: 255,
  });
  expect(await fs.statistics(context, 1)).toBe(statistics);
});

test('W17: st_ino is the same in every mount, different for every file and version', async () => {
  await user.write('m/f', 'x');
  await user.commit('m');
  const other = new User(artifacts);
  const paths = [
    'm',
    'm/f',
    'm@v0',
    'm@v0/f',
    'm/.artifact',
    'm/.artifact/commit',
    'm/.artifact/versions/v0/f',
  ];
  const inos = await Promise.all(paths.map(async (path) => (await user.stat(path)).ino));
  expect(await Promise.all(paths.map(async (path) => (await other.stat(path)).ino))).toEqual(inos);
  expect(inos[3]).toBe(inos[6]);
  expect(new Set(inos).size).toBe(paths.length - 1);
  expect((await user.stat('')).ino).toBe(1n);
});

test('W18: the name .artifact belongs to the control directory in the artifact itself, and is free below', async () => {
  await user.mkdir('m/d');
  await user.write('m/f', 'x');
  await user.with('m', async (id) => {
    const { fs, context } = user;
    expect(await outcome(() => fs.makeDirectory(context, id, '.artifact', 0o755))).toBe('NotPermitted');
    expect(await outcome(() => fs.create(context, id, '.artifact', 0o644, O_WRONLY))).toBe('NotPermitted');
    expect(await outcome(() => fs.removeDirectory(context, id, '.artifact'))).toBe('NotPermitted');
    expect(await outcome(() => user.rename('m/f', 'm/.artifact'))).toBe('NotPermitted');
    expect(await outcome(() => user.rename('m/d/../d', 'm/.artifact'))).not.toBe('ok');
  });
  await user.mkdir('m/d/.artifact');
  expect(await user.ls('m/d')).toEqual(['.artifact']);
  expect(await outcome(() => user.rename('m/d', 'm/.artifact'))).toBe('NotPermitted');
});

test('W19: a program that runs is not emptied', async () => {
  await user.write('m/f', 'program');
  const first = await user.open('m/f', O_RDONLY | O_EXEC);
  const second = await user.open('m/f', O_RDONLY | O_EXEC);
  await user.close(first.handle);
  expect(await outcome(() => user.open('m/f', O_RDONLY | O_TRUNC))).toBe('Executing');
  expect((await user.stat('m/f')).size).toBe(7);
  await user.close(second.handle);
  const { handle } = await user.open('m/f', O_RDONLY | O_TRUNC);
  expect((await user.stat('m/f')).size).toBe(0);
  await user.close(handle);
});

test('W20: a file that is open is written on after others have renamed it, or removed one of its names', async () => {
  await user.write('m/log', 'log ');
  await user.write('m/known', 'linked ');
  await user.link('m/known', 'm/other');
  await user.commit('m');
  const log = await user.open('m/log', O_WRONLY);
  const linked = await user.open('m/known', O_WRONLY);
  const { user: another } = await world.machine();
  await another.rename('m/log', 'm/log.1');
  await another.unlink('m/known');
  await another.commit('m');
  await user.write('m/.artifact/refresh', '1');
  await user.writeAt(log.handle, 4, 'goes on');
  await user.writeAt(linked.handle, 7, 'goes on');
  for (const { handle } of [log, linked]) await user.close(handle);
  expect(await user.read('m/log.1')).toBe('log goes on');
  expect(await user.read('m/other')).toBe('linked goes on');
  await user.commit('m');
  await another.write('m/.artifact/refresh', '1');
  expect(await another.read('m/log.1')).toBe('log goes on');
  expect(await another.read('m/other')).toBe('linked goes on');
});

test('W21: reading changes no time', async () => {
  await user.write('m/f', 'text');
  await user.mkdir('m/d');
  await user.symlink('f', 'm/l');
  const long = { s: 1_000_000_000, ns: 1 };
  const paths = ['m/f', 'm/d', 'm/l'];
  for (const path of paths)
    await user.with(path, (id) => user.fs.setAttributes(user.context, id, { atime: long }));
  const before = await Promise.all(paths.map((path) => user.stat(path)));
  await user.read('m/f');
  await user.ls('m/d');
  await user.readlink('m/l');
  for (const [index, path] of paths.entries()) {
    const { atime, mtime, ctime } = await user.stat(path);
    expect({ atime, mtime, ctime }).toEqual({
      atime: long,
      mtime: before[index]?.mtime,
      ctime: before[index]?.ctime,
    });
  }
});
