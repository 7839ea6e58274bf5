import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Artifact, Inode } from '../../src/artifacts/ports.js';
import type { Time } from '../../src/model/entry.js';
import { limits } from '../../src/model/limits.js';
import {
  failure,
  type Machine,
  newStore,
  openMachine,
  readAll,
  removeTemporaryDirectories,
  Shell,
  steppingClock,
  unexpected,
} from './support/daemon.js';

let machine: Machine;
let artifact: Artifact;
let shell: Shell;
let made = 0;
const store = newStore();

beforeAll(async () => {
  machine = await openMachine({ store, clock: steppingClock() });
});

afterAll(async () => {
  await machine.close();
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

/** Each test in a fresh artifact; once new, once with everything committed before. */
function test_(
  name: string,
  prepare: (sh: Shell) => Promise<void>,
  body: (sh: Shell) => Promise<void>,
): void {
  for (const committed of [false, true]) {
    test(`${name} (${committed ? 'of a version' : 'staged'})`, async () => {
      artifact = machine.artifacts.create(machine.artifacts.root, `a${made++}`);
      shell = new Shell(artifact);
      await prepare(shell);
      if (committed) await shell.commit();
      await body(shell);
    });
  }
}

const ns = (time: Time): bigint => BigInt(time.s) * 1_000_000_000n + BigInt(time.ns);

interface Times {
  readonly mtime: bigint;
  readonly ctime: bigint;
  readonly atime: bigint;
}
const timesOf = (inode: Inode): Times => ({
  mtime: ns(inode.mtime),
  ctime: ns(inode.ctime),
  atime: ns(inode.atime),
});

/** Which of the times moved while `body` ran. */
async function moved(inode: Inode, body: () => Promise<unknown>): Promise<string> {
  const before = timesOf(inode);
  await body();
  const after = timesOf(inode);
  return (['mtime', 'ctime', 'atime'] as const).filter((which) => after[which] !== before[which]).join(' ');
}

test_(
  'times move as POSIX says',
  async (sh) => {
    await sh.mkdir('d');
    await sh.mkdir('e');
    await sh.write('d/f', 'content');
    await sh.write('d/x', 'other');
  },
  async (sh) => {
    const { tree } = artifact;
    const [d, e, f] = [await sh.get('d'), await sh.get('e'), await sh.get('d/f')];
    for (const inode of [d, e, f]) tree.retain(inode);
    expect(await moved(d, () => sh.create('d/new'))).toBe('mtime ctime');
    expect(await moved(d, () => sh.unlink('d/new'))).toBe('mtime ctime');
    expect(await moved(d, () => sh.mkdir('d/sub'))).toBe('mtime ctime');
    expect(await moved(d, () => sh.rmdir('d/sub'))).toBe('mtime ctime');
    expect(await moved(f, () => sh.write('d/f', 'C'))).toBe('mtime ctime');
    expect(await moved(d, () => sh.write('d/f', 'C'))).toBe('');
    expect(await moved(f, async () => tree.setAttributes(f, { size: 3 }))).toBe('mtime ctime');
    expect(await moved(f, async () => tree.setAttributes(f, { size: 3 }))).toBe('mtime ctime');
    expect(await moved(f, async () => tree.setAttributes(f, { mode: 0o600 }))).toBe('ctime');
    expect(await moved(f, async () => tree.setAttributes(f, { uid: 7, gid: 8 }))).toBe('ctime');
    expect(await moved(f, async () => tree.setXattr(f, 'user.a', Buffer.from('1')))).toBe('ctime');
    expect(await moved(f, () => sh.link('d/f', 'e/hard'))).toBe('ctime');
    expect(await moved(f, () => sh.unlink('e/hard'))).toBe('ctime');
    expect(await moved(f, () => sh.rename('d/f', 'd/g'))).toBe('ctime');
    expect(await moved(d, () => sh.rename('d/g', 'e/g'))).toBe('mtime ctime');
    expect(await moved(e, () => sh.rename('e/g', 'd/f'))).toBe('mtime ctime');
    expect(await moved(f, async () => readAll(artifact, f))).toBe('');
    expect(await moved(f, async () => tree.setAttributes(f, { atime: 'now' }))).toBe('ctime atime');
    const exact = { s: -5, ns: 123_456_789 };
    await tree.setAttributes(f, { atime: exact, mtime: exact });
    expect([f.atime, f.mtime]).toEqual([exact, exact]);
    await tree.setAttributes(f, { ctime: { s: 99, ns: 1 }, mtime: { s: 98, ns: 2 } });
    expect([f.ctime, f.mtime]).toEqual([
      { s: 99, ns: 1 },
      { s: 98, ns: 2 },
    ]);
    await sh.commit();
    expect([f.atime, f.mtime, f.ctime]).toEqual([exact, { s: 98, ns: 2 }, { s: 99, ns: 1 }]);
    for (const inode of [d, e, f]) tree.release(inode);
  },
);

test_(
  'rename over what exists',
  async (sh) => {
    await sh.mkdir('d');
    await sh.mkdir('full');
    await sh.write('full/f', '1');
    await sh.write('f', 'f');
    await sh.write('g', 'g');
    await sh.link('g', 'h');
  },
  async (sh) => {
    expect((await failure(sh.rename('f', 'd'))).code).toBe('IsDirectory');
    expect((await failure(sh.rename('d', 'f'))).code).toBe('NotDirectory');
    expect((await failure(sh.rename('d', 'full'))).code).toBe('NotEmpty');
    expect((await failure(sh.rename('full', 'full/sub'))).code).toBe('Loop');
    expect((await failure(sh.rename('f', 'g', { noReplace: true }))).code).toBe('Exists');
    expect((await failure(sh.rename('f', 'none', { exchange: true }))).code).toBe('NotFound');
    // Two names of one file: nothing happens.
    await sh.rename('g', 'h');
    expect(await sh.names()).toEqual(['d', 'f', 'full', 'g', 'h']);
    await sh.rename('full', 'd');
    expect(await sh.names('d')).toEqual(['f']);
    const g = await sh.get('g');
    expect(g.nlink).toBe(2);
    await sh.rename('f', 'g');
    expect((await sh.get('h')).nlink).toBe(1);
    expect(await sh.read('g')).toBe('f');
    await sh.rename('g', 'd', { exchange: true });
    expect(await sh.read('d')).toBe('f');
    expect(await sh.names('g')).toEqual(['f']);
    expect((await sh.get('')).nlink).toBe(3);
  },
);

test_(
  'link counts of directories',
  async (sh) => {
    for (const path of ['a', 'a/b', 'a/c', 'd']) await sh.mkdir(path);
  },
  async (sh) => {
    const nlinks = async () => Promise.all(['', 'a', 'd'].map(async (path) => (await sh.get(path)).nlink));
    expect(await nlinks()).toEqual([4, 4, 2]);
    await sh.rename('a/b', 'd/b');
    expect(await nlinks()).toEqual([4, 3, 3]);
    await sh.rmdir('a/c');
    expect(await nlinks()).toEqual([4, 2, 3]);
    await sh.write('f', '');
    await sh.rename('f', 'd/b', { exchange: true });
    expect(await nlinks()).toEqual([5, 2, 2]);
    expect((await failure(sh.link('a', 'x'))).code).toBe('NotPermitted');
  },
);

test_(
  'modes: setuid and setgid go with a change of owner or content; a setgid directory gives its group',
  async (sh) => {
    const f = await sh.create('f', 0o6755);
    await artifact.tree.setAttributes(f, { mode: 0o6755 });
    const d = await sh.mkdir('d', 0o2755);
    await artifact.tree.setAttributes(d, { gid: 42, mode: 0o2755 });
  },
  async (sh) => {
    const { tree } = artifact;
    const f = await sh.get('f');
    tree.retain(f);
    await tree.write(f, 0, Buffer.from('x'));
    expect(f.mode).toBe(0o6755);
    await tree.write(f, 0, Buffer.from('x'), true);
    expect(f.mode).toBe(0o755);
    await tree.setAttributes(f, { mode: 0o6744 });
    await tree.setAttributes(f, { uid: 5 });
    // Without the group's right to execute setgid means mandatory locking, and stays.
    expect(f.mode).toBe(0o2744);
    await tree.setAttributes(f, { uid: 6, mode: 0o4755 });
    expect(f.mode).toBe(0o4755);
    tree.release(f);
    expect(await sh.create('d/file')).toMatchObject({ gid: 42, mode: 0o644 });
    expect(await sh.mkdir('d/sub')).toMatchObject({ gid: 42, mode: 0o2755 });
  },
);

test_(
  'holes: what was never written reads as zeros and takes no space, also through a version',
  async (sh) => {
    await sh.write('sparse', 'end', 100_000);
  },
  async (sh) => {
    const inode = await sh.get('sparse');
    artifact.tree.retain(inode);
    expect(inode.size).toBe(100_003);
    expect(inode.allocated).toBe(3);
    await artifact.tree.setAttributes(inode, { size: 100_001 });
    await artifact.tree.setAttributes(inode, { size: 200_000 });
    await sh.write('sparse', 'mid', 50_000);
    await sh.commit();
    const expected = Buffer.alloc(200_000);
    expected.write('mid', 50_000);
    expected.write('e', 100_000);
    expect((await sh.bytes('sparse')).equals(expected)).toBe(true);
    artifact.tree.release(inode);
  },
);

test_(
  'removed directories take no new names, and removed files no new links',
  async (sh) => {
    await sh.mkdir('d');
    await sh.write('f', 'f');
  },
  async (sh) => {
    const { tree } = artifact;
    const [d, f] = [await sh.get('d'), await sh.get('f')];
    tree.retain(d);
    tree.retain(f);
    await sh.rmdir('d');
    await sh.unlink('f');
    expect((await failure(() => tree.create(d, 'x', { kind: 'file', mode: 0, uid: 0, gid: 0 }))).code).toBe(
      'NotFound',
    );
    expect((await failure(() => tree.link(f, tree.root, 'again'))).code).toBe('NotFound');
    expect(await tree.list(d, null, 10)).toEqual([]);
    expect(await tree.lookup(d, 'x')).toBe(undefined);
    await tree.setAttributes(f, { mode: 0o400 });
    await tree.setXattr(f, 'user.x', Buffer.from('1'));
    expect([f.mode, f.nlink, d.nlink]).toEqual([0o400, 0, 0]);
    expect(tree.xattrs(f)).toEqual(['user.x']);
    tree.release(d);
    tree.release(f);
  },
);

test('names, targets, sizes and attributes have limits', async () => {
  artifact = machine.artifacts.create(machine.artifacts.root, `a${made++}`);
  shell = new Shell(artifact);
  const { tree } = artifact;
  const long = 'é'.repeat(128);
  expect((await failure(shell.create(long))).code).toBe('NameTooLong');
  expect((await failure(() => tree.lookup(tree.root, long))).code).toBe('NameTooLong');
  await shell.create('é'.repeat(127));
  for (const bad of ['', '.', '..', 'a\0b', '\ud800']) {
    const init = { kind: 'file', mode: 0, uid: 0, gid: 0 } as const;
    expect((await failure(() => tree.create(tree.root, bad, init))).code, JSON.stringify(bad)).toBe(
      'InvalidName',
    );
  }
  expect((await failure(shell.symlink('l', 'x'.repeat(limits.symlinkTargetBytesMax + 1)))).code).toBe(
    'NameTooLong',
  );
  const f = await shell.create('f');
  tree.retain(f);
  expect((await failure(() => tree.setAttributes(f, { size: limits.fileSizeBytesMax + 1 }))).code).toBe(
    'TooLarge',
  );
  expect((await failure(() => tree.write(f, limits.fileSizeBytesMax, Buffer.from('x')))).code).toBe(
    'TooLarge',
  );
  await tree.setAttributes(f, { size: limits.fileSizeBytesMax });
  expect((await failure(() => tree.setXattr(f, 'user.x', Buffer.alloc(65_537)))).code).toBe('TooLarge');
  expect((await failure(() => tree.setXattr(f, 'x'.repeat(256), Buffer.alloc(1)))).code).toBe('NameTooLong');
  expect((await failure(() => tree.setXattr(f, 'user.none', null))).code).toBe('NoAttribute');
  await tree.setXattr(f, '__proto__', Buffer.from('proto'));
  expect(tree.xattrs(f)).toEqual(['__proto__']);
  expect(Buffer.from(tree.xattr(f, '__proto__') ?? '').toString()).toBe('proto');
  expect(tree.xattr(f, 'toString')).toBe(undefined);
  tree.release(f);
});

test('devices, fifos, sockets and symlinks go through a version', async () => {
  artifact = machine.artifacts.create(machine.artifacts.root, `a${made++}`);
  shell = new Shell(artifact);
  const { tree } = artifact;
  const make = (name: string, kind: 'fifo' | 'socket' | 'char' | 'block', rdev?: number) =>
    tree.create(tree.root, name, {
      kind,
      mode: 0o600,
      uid: 3,
      gid: 4,
      ...(rdev === undefined ? {} : { rdev }),
    });
  await make('fifo', 'fifo');
  await make('socket', 'socket');
  await make('char', 'char', 0x0102);
  await make('block', 'block', 0x0304);
  await shell.symlink('link', 'tärget');
  await shell.commit();
  await machine.close();
  machine = await openMachine({ store, stateDir: machine.stateDir });
  shell = new Shell(await machine.artifacts.find(artifact.path));
  expect(await shell.get('char')).toMatchObject({ kind: 'char', rdev: 0x0102, mode: 0o600, uid: 3, gid: 4 });
  expect(await shell.get('block')).toMatchObject({ kind: 'block', rdev: 0x0304 });
  expect(await shell.get('fifo')).toMatchObject({ kind: 'fifo', size: 0 });
  expect(await shell.get('link')).toMatchObject({ target: 'tärget', size: 7 });
});
