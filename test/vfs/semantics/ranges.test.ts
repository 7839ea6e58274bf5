import { beforeEach, expect, test } from 'vitest';
import type { AllocateRange } from '../../../src/vfs/file-system.js';
import { O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } from '../../../src/vfs/open-flags.js';
import { contextOf, outcome, type User } from '../support/user.js';
import { World } from '../support/world.js';

let { user, artifacts, world } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ user, artifacts, world } = await World.open());
  await user.mkdir('m');
});

const KiB = 1024;
const range = (
  how: AllocateRange['how'],
  offset: number,
  length: number,
  keepSize = false,
): AllocateRange => ({
  how,
  offset,
  length,
  keepSize,
});

/** Runs `use` with a handle of the file for reading and writing. */
async function opened<T>(path: string, use: (handle: number) => T | Promise<T>, flags = O_RDWR): Promise<T> {
  const { handle } = await user.openCreating(path, flags);
  try {
    return await use(handle);
  } finally {
    await user.close(handle);
  }
}

const allocate = (path: string, wanted: AllocateRange): Promise<void> =>
  opened(path, (handle) => user.fs.allocate(user.context, handle, wanted));

/** All of it, as programs ask again for the rest. */
async function copyAll(from: string, to: string): Promise<number> {
  let calls = 0;
  await opened(from, (source) =>
    opened(to, async (target) => {
      for (let at = 0; ; calls++) {
        const places = [
          { handle: source, offset: at },
          { handle: target, offset: at },
        ] as const;
        const count = await user.fs.copyRange(user.context, ...places, 1 << 30);
        if (count === 0) return;
        at += count;
      }
    }),
  );
  return calls;
}

test('F1: fallocate grows the file or keeps its size, holds no blocks, and knows how much room there is', async () => {
  await user.write('m/f', 'abc');
  await allocate('m/f', range('allocate', 1, 100));
  expect(await user.stat('m/f')).toMatchObject({ size: 101, blocks: 1 });
  expect(await user.read('m/f')).toBe(`abc${'\0'.repeat(98)}`);
  await allocate('m/f', range('allocate', 0, 1000, true));
  expect((await user.stat('m/f')).size).toBe(101);
  const free = 500 * 4096; // what statfs shows here
  await allocate('m/f', range('allocate', 0, free + 3));
  expect(await outcome(() => allocate('m/f', range('allocate', 0, free + 4)))).toBe('NoSpace');
  expect(await outcome(() => allocate('m/f', range('allocate', 2 ** 52, free + 1, true)))).toBe('NoSpace');
  expect((await user.stat('m/f')).size).toBe(free + 3);
});

test('F2: punching a hole makes zeros and gives blocks back', async () => {
  await user.write('m/f', 'x'.repeat(8 * KiB));
  await allocate('m/f', range('punch', 2 * KiB, 4 * KiB, true));
  expect(await user.stat('m/f')).toMatchObject({ size: 8 * KiB, blocks: 8 });
  expect(await user.read('m/f')).toBe('x'.repeat(2 * KiB) + '\0'.repeat(4 * KiB) + 'x'.repeat(2 * KiB));
  await allocate('m/f', range('punch', 7 * KiB, 2 ** 40, true));
  expect(await user.stat('m/f')).toMatchObject({ size: 8 * KiB, blocks: 6 });
});

test('F3: zeroing a range makes zeros, and grows the file unless it keeps its size', async () => {
  await user.write('m/f', 'x'.repeat(10));
  await allocate('m/f', range('zero', 8, 10, true));
  expect(await user.read('m/f')).toBe(`${'x'.repeat(8)}\0\0`);
  await allocate('m/f', range('zero', 5, 10));
  expect(await user.read('m/f')).toBe('x'.repeat(5) + '\0'.repeat(10));
});

test('F4: fallocate changes the times, and takes setuid and setgid away unless root calls it', async () => {
  const ranges = [
    range('allocate', 0, 2),
    range('allocate', 0, 50),
    range('punch', 0, 2, true),
    range('zero', 1, 2),
  ];
  for (const [i, wanted] of ranges.entries()) {
    const path = `m/f${i}`;
    await user.write(path, 'some text');
    await user.with(path, (id) =>
      user.fs.setAttributes(user.context, id, { mode: 0o6777, mtime: { s: 5, ns: 0 } }),
    );
    await allocate(path, wanted);
    const { mtime, ctime, mode } = await user.stat(path);
    expect(mtime).toEqual(ctime);
    expect(mtime.s).toBeGreaterThan(5);
    expect(mode).toBe(0o6777);
    user.context = contextOf(5, 6);
    await allocate(path, wanted);
    expect((await user.stat(path)).mode).toBe(0o777);
    user.context = contextOf();
  }
});

test('F5: data and holes are known to the byte, in versions too', async () => {
  await opened('m/f', async (handle) => {
    await user.writeAt(handle, 5, 'data');
    await user.writeAt(handle, 100, 'more');
  });
  await user.with('m/f', (id) => user.fs.setAttributes(user.context, id, { size: 200 }));
  const check = (path: string) =>
    opened(
      path,
      async (handle) => {
        const seek = (offset: number, what: 'data' | 'hole') =>
          user.fs.seek(user.context, handle, offset, what);
        expect(await seek(0, 'hole')).toBe(0);
        expect(await seek(0, 'data')).toBe(5);
        expect(await seek(6, 'data')).toBe(6);
        expect(await seek(6, 'hole')).toBe(9);
        expect(await seek(9, 'data')).toBe(100);
        expect(await seek(199, 'hole')).toBe(199);
        for (const [offset, what] of [
          [104, 'data'],
          [200, 'data'],
          [200, 'hole'],
          [2 ** 60, 'hole'],
        ] as const) {
          expect(await outcome(() => seek(offset, what))).toBe('NotSeekable');
        }
      },
      O_RDONLY,
    );
  await check('m/f');
  await user.commit('m');
  await check('m/f');
  await check('m@v0/f');
  await user.write('m/full', 'text');
  const end = await opened('m/full', (handle) => user.fs.seek(user.context, handle, 0, 'hole'));
  expect(end).toBe(4);
});

test('F6: a copy shares what is committed and copies what is staged', async () => {
  const text = Array.from({ length: 40_000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');
  await user.write('m/f', text);
  await user.commit('m');
  const artifact = await artifacts.find('m');
  await copyAll('m/f', 'm/copy');
  expect((await artifact.status()).bytesToUpload).toBe(0);
  expect(await user.read('m/copy')).toBe(text);
  await opened('m/copy', (handle) => user.writeAt(handle, 10_000, 'STAGED'));
  await user.with('m/copy', (id) => user.fs.setAttributes(user.context, id, { mtime: { s: 1, ns: 0 } }));
  await copyAll('m/copy', 'm/third');
  const mixed = `${text.slice(0, 10_000)}STAGED${text.slice(10_006)}`;
  expect(await user.read('m/third')).toBe(mixed);
  expect((await artifact.status()).bytesToUpload).toBeLessThan(20);
  await user.commit('m');
  expect(await user.read('m@v1/third')).toBe(mixed);
  await user.with('m/f', (id) =>
    user.fs.setAttributes(user.context, id, { mode: 0o6777, mtime: { s: 1, ns: 0 } }),
  );
  user.context = contextOf(5, 6);
  await copyAll('m/third', 'm/f');
  const { mode, mtime, ctime } = await user.stat('m/f');
  expect({ mode, isNew: mtime.s > 1 && ctime.s >= mtime.s }).toEqual({ mode: 0o777, isNew: true });
  const within = (offset: number, to: number) =>
    opened('m/f', (handle) =>
      user.fs.copyRange(user.context, { handle, offset }, { handle, offset: to }, 100),
    );
  expect(await outcome(() => within(0, 50))).toBe('Invalid');
  expect(await within(0, 50_000)).toBe(100);
  expect(await within(60_000, 0)).toBe(0);
});

test('F7: between artifacts and from versions the kernel copies by reading and writing', async () => {
  await user.write('m/f', 'text');
  await user.commit('m');
  await user.mkdir('n');
  expect(await outcome(() => copyAll('m/f', 'n/f'))).toBe('CrossDevice');
  const source = await user.open('m@v0/f', O_RDONLY);
  const target = await user.openCreating('m/g');
  const places = [
    { handle: source.handle, offset: 0 },
    { handle: target.handle, offset: 0 },
  ] as const;
  expect(['CrossDevice', 'Unsupported']).toContain(
    await outcome(() => user.fs.copyRange(user.context, ...places, 4)),
  );
  await user.close(source.handle);
  await user.close(target.handle);
});

/** O_TMPFILE: the node is forgotten when `use` has ended. */
async function unnamed<T>(
  use: (id: number, handle: number) => T | Promise<T>,
  flags = O_RDWR,
  path = 'm',
): Promise<T> {
  const made = await user.with(path, (id) => user.fs.createUnnamed(user.context, id, 0o640, flags));
  try {
    return await use(made.nodeId, made.open.handle);
  } finally {
    await user.close(made.open.handle);
    user.forget(made);
  }
}

test('F8: a file without a name is nowhere but in its handle', async () => {
  const artifact = await artifacts.find('m');
  user.context = contextOf(5, 6);
  await unnamed(async (id, handle) => {
    await user.writeAt(handle, 0, 'x'.repeat(100_000));
    await user.fs.setAttributes(user.context, id, { size: 99_999 });
    const { attributes } = await user.fs.getAttributes(user.context, id);
    expect(attributes).toMatchObject({ kind: 'file', mode: 0o640, uid: 5, gid: 6, nlink: 0, size: 99_999 });
    expect(await user.readAll(handle, 50_000)).toHaveLength(99_999);
    expect(await user.ls('m')).toEqual([]);
    expect(await artifact.status()).toMatchObject({ stagedBytes: 0, openForWriting: [] });
    await user.write('m/other', 'y');
    await user.commit('m');
    expect(await user.readAll(handle, 50_000)).toHaveLength(99_999);
  });
  expect(await user.ls('m@v0')).toEqual(['other']);
  expect(await outcome(() => user.commit('m'))).toBe('NothingStaged');
  expect(user.fs.counts()).toEqual({ nodes: 1, files: 0, directories: 0 });
  expect(await outcome(() => unnamed(() => {}, O_RDWR, 'm/other'))).toBe('NotDirectory');
  expect(await outcome(() => unnamed(() => {}, O_RDWR, ''))).toBe('NotPermitted');
  expect(await outcome(() => unnamed(() => {}, O_RDWR, 'm@v0'))).toBe('ReadOnly');
});

test('F9: linkat gives it a name, with its bytes, attributes and inode; not with O_EXCL, nor to a removed file', async () => {
  const link = (id: number, name: string) =>
    user.with('m', (parent) => user.made(user.fs.link(user.context, id, parent, name) as never));
  for (const text of ['small', 'large'.repeat(20_000)]) {
    const name = `f${text.length}`;
    await unnamed(async (id, handle) => {
      await user.writeAt(handle, 0, text);
      await user.fs.setAttributes(user.context, id, { mode: 0o4711, uid: 7 });
      await user.fs.setXattr(user.context, id, 'user.k', Buffer.from('v'), { create: false, replace: false });
      const { attributes } = await user.fs.getAttributes(user.context, id);
      await link(id, name);
      expect(await user.stat(`m/${name}`)).toMatchObject({
        ino: attributes.ino,
        nlink: 1,
        mode: 0o4711,
        uid: 7,
      });
      await link(id, `${name}-2`);
      await user.writeAt(handle, text.length, '!');
      await user.unlink(`m/${name}-2`);
    });
    await user.commit('m');
    expect(await user.read(`m@latest/${name}`)).toBe(`${text}!`);
    expect(await user.stat(`m@latest/${name}`)).toMatchObject({ mode: 0o4711, uid: 7, nlink: 1 });
    const value = await user.with(`m@latest/${name}`, (id) => user.fs.getXattr(user.context, id, 'user.k'));
    expect(Buffer.from(value).toString()).toBe('v');
  }
  expect(await outcome(() => unnamed((id) => link(id, 'no'), O_RDWR | O_EXCL))).toBe('NotFound');
  const removed = await unnamed(async (id) => {
    await link(id, 'once');
    await user.unlink('m/once');
    return outcome(() => link(id, 'again'));
  });
  expect(removed).toBe('NotFound');
  await unnamed(async (id, handle) => {
    await user.writeAt(handle, 0, 'kept');
    await user.write('m/.artifact/discard', '1');
    await link(id, 'after-discard');
  });
  await user.commit('m');
  expect(await user.read('m@latest/after-discard')).toBe('kept');
});

test('F10: sizes beyond 2^53 - 1 are refused, and large sparse files are kept', async () => {
  await user.write('m/f', 'text');
  const most = 2 ** 53 - 1;
  const set = (size: number) => user.with('m/f', (id) => user.fs.setAttributes(user.context, id, { size }));
  expect(await outcome(() => set(most + 1))).toBe('TooLarge');
  expect(await outcome(() => allocate('m/f', range('zero', most, 1)))).toBe('TooLarge');
  expect(await outcome(() => opened('m/f', (handle) => user.writeAt(handle, most, 'x')))).toBe('TooLarge');
  await set(most);
  await opened('m/f', (handle) => user.writeAt(handle, 5 * 2 ** 30, 'far'));
  await user.commit('m');
  const other = (await world.machine()).user;
  expect(await other.stat('m/f')).toMatchObject({ size: most, blocks: 1 });
  const { handle } = await other.open('m/f', O_RDONLY);
  expect((await other.fs.read(other.context, handle, 5 * 2 ** 30 - 1, 5)).toString('latin1')).toBe('\0far\0');
  await other.close(handle);
});

test('F11: times are kept to the nanosecond, far back and far ahead, in every mount', async () => {
  const times = [
    { s: -1, ns: 999_999_999 },
    { s: -(2 ** 31) - 1, ns: 1 },
    { s: 2 ** 32 + 5, ns: 123_456_789 },
    { s: 253_402_300_800, ns: 0 },
    { s: Number.MAX_SAFE_INTEGER, ns: 999_999_999 },
    { s: Number.MIN_SAFE_INTEGER, ns: 1 },
  ];
  for (const [i, time] of times.entries()) {
    await user.write(`m/f${i}`, '');
    await user.with(`m/f${i}`, (id) => user.fs.setAttributes(user.context, id, { atime: time, mtime: time }));
    expect(await user.stat(`m/f${i}`)).toMatchObject({ atime: time, mtime: time });
  }
  await user.commit('m');
  const other: User = (await world.machine()).user;
  for (const [i, time] of times.entries()) {
    expect(await user.stat(`m@v0/f${i}`)).toMatchObject({ atime: time, mtime: time });
    expect(await other.stat(`m/f${i}`)).toMatchObject({ atime: time, mtime: time });
  }
});

test('F12: fsync covers a file, and syncfs all that is staged', async () => {
  const { tree } = await artifacts.find('m');
  const synced: string[] = [];
  const { sync, syncAll } = tree;
  tree.sync = (inode) => sync.call(tree, inode).then(() => void synced.push('file'));
  tree.syncAll = () => syncAll.call(tree).then(() => void synced.push('all'));
  await opened('m/f', async (handle) => {
    await user.writeAt(handle, 0, 'text');
    await user.fs.fsync(user.context, handle, true);
  });
  expect(synced).toEqual(['file']);
  await user.fs.syncFileSystem(user.context);
  expect(synced).toEqual(['file', 'all']);
});

test('F13: the target of a symlink has up to 4,095 bytes', async () => {
  const target = `${'ü'.repeat(2047)}x`;
  await user.symlink(target, 'm/l');
  expect(await user.readlink('m/l')).toBe(target);
  expect(await outcome(() => user.symlink(`${target}x`, 'm/l2'))).toBe('NameTooLong');
});

test('F14: in a removed directory nothing can be made', async () => {
  await user.mkdir('m/d');
  await user.write('m/f', '');
  await user.with('m/d', async (id) => {
    await user.rmdir('m/d');
    const { fs, context } = user;
    expect(await outcome(() => fs.create(context, id, 'x', 0o644, O_WRONLY))).toBe('NotFound');
    expect(await outcome(() => fs.makeDirectory(context, id, 'x', 0o755))).toBe('NotFound');
    expect(await outcome(() => fs.symlink(context, id, 'x', 'y'))).toBe('NotFound');
    expect(await outcome(() => fs.makeNode(context, id, 'x', 0o644, 'fifo', 0))).toBe('NotFound');
    expect(await outcome(() => fs.createUnnamed(context, id, 0o644, O_RDWR))).toBe('NotFound');
    await user.with('m/f', async (file) => {
      expect(await outcome(() => fs.link(context, file, id, 'x'))).toBe('NotFound');
    });
    expect((await fs.getAttributes(context, id)).attributes.nlink).toBe(0);
  });
});
