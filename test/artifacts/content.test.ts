import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Inode, WorkingTree } from '../../src/artifacts/ports.js';
import { isCode } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import { runs } from '../support/seed.js';
import {
  failure,
  type Machine,
  openMachine,
  readAll,
  removeTemporaryDirectories,
  Shell,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';

let store: GatedStore;
let machine: Machine;
let shell: Shell;
let tree: WorkingTree;

beforeEach(async () => {
  store = new GatedStore();
  machine = await openMachine({ store });
  use(machine);
});

function use(next: Machine): void {
  machine = next;
  const { artifacts } = next;
  const artifact = artifacts.staged()[0] ?? artifacts.create(artifacts.root, 'it');
  shell = new Shell(artifact);
  tree = artifact.tree;
}

afterEach(async () => {
  await machine.close();
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

const stagingFiles = (): string[] => readdirSync(join(machine.stateDir, 'staging'));

test('small files share a staging file, which goes with the last of them', async () => {
  for (let i = 0; i < 100; i++) await shell.write(`f${i}`, `content of ${i}`);
  expect(stagingFiles().length).toBe(1);
  for (let i = 0; i < 50; i++) await shell.unlink(`f${i}`);
  expect(await shell.read('f99')).toBe('content of 99');
  await machine.close();
  use(await openMachine({ store, stateDir: machine.stateDir }));
  for (let i = 50; i < 99; i++) await shell.unlink(`f${i}`);
  expect(await shell.read('f99')).toBe('content of 99');
  expect(stagingFiles().length).toBe(1);
  await shell.unlink('f99');
  expect(stagingFiles().length).toBe(0);
});

test('what was removed before it was synced is no failure of a sync', async () => {
  await shell.write('large', 'x'.repeat(limits.slabFileBytesMax + 1));
  await shell.write('other', 'y'.repeat(limits.slabFileBytesMax + 1));
  await shell.unlink('large');
  await tree.syncAll();
  const other = await shell.find('other');
  if (other === undefined) throw new Error('other is missing');
  const syncing = tree.sync(other);
  await shell.unlink('other');
  await syncing;
  await tree.syncAll();
});

test('what comes in late from a kernel that keeps writes leaves the times that it gave', async () => {
  await shell.write('f', 'first');
  const inode = await shell.find('f');
  if (inode === undefined) throw new Error('f is missing');
  const given = { s: 1_000_000_000, ns: 7 };
  await tree.setAttributes(inode, { mtime: given, ctime: given });
  await tree.write(inode, 0, Buffer.from('later'), false, true);
  tree.allocate(inode, { offset: 0, length: 2, how: 'punch', keepSize: true }, { keepTimes: true });
  tree.allocate(inode, { offset: 0, length: 90, how: 'zero', keepSize: false }, { keepTimes: true });
  await tree.copyRange({ inode, offset: 2 }, { inode, offset: 20 }, 3, { keepTimes: true });
  expect([inode.mtime, inode.ctime]).toEqual([given, given]);
  await tree.write(inode, 0, Buffer.from('own'));
  expect(inode.mtime.s).toBeGreaterThan(given.s);
});

test('the times of content that a kernel did not tell, because the program was killed, are those of the write', async () => {
  const inode = await shell.write('f', 'first');
  const long = { s: 1_000_000_000, ns: 7 };
  const told = { s: 1_100_000_000, ns: 7 };
  const session = async (mtime?: typeof told): Promise<void> => {
    tree.opened(inode, true);
    await tree.write(inode, 0, Buffer.from('early'), false, true);
    if (mtime !== undefined) await tree.setAttributes(inode, { mtime, ctime: mtime });
    // Of two requests that the kernel sends at the same time any may come first.
    await tree.write(inode, 0, Buffer.from('later'), false, true);
    tree.closed(inode, true);
  };
  await tree.setAttributes(inode, { mtime: long, ctime: long });
  await session(told);
  expect(inode.mtime).toEqual(told);
  await session();
  expect(inode.mtime.s).toBeGreaterThan(told.s);
  expect(inode.ctime).toEqual(inode.mtime);
  const { mtime } = inode;
  await machine.close();
  use(await openMachine({ store, stateDir: machine.stateDir }));
  expect((await shell.find('f'))?.mtime).toEqual(mtime);
});

test('a copy of a whole committed file has its hash, also in the version; one that is not whole has none', async () => {
  await shell.write('source', 'content that is hashed');
  await shell.artifact.commit({ message: 'one' });
  const source = await shell.find('source');
  if (source === undefined) throw new Error('source is missing');
  const { size } = source;
  const copy = async (name: string, length: number): Promise<Inode> => {
    const inode = await shell.write(name, '');
    await tree.copyRange({ inode: source, offset: 0 }, { inode, offset: 0 }, length);
    return inode;
  };
  await copy('whole', 1 << 20);
  await copy('part', size - 1);
  await tree.write(await copy('changed', size), 0, Buffer.from('C'));
  await tree.write(await copy('longer', size), size, Buffer.from('!'));
  await shell.artifact.commit({ message: 'two' });
  const { files } = machine.artifacts;
  const hash = async (name: string): Promise<string | undefined> =>
    (await files.stat(shell.artifact, 'latest', name)).sha256;
  const whole = await hash('source');
  expect(whole).toMatch(/^[0-9a-f]{64}$/);
  expect(await hash('whole')).toBe(whole);
  for (const name of ['part', 'changed', 'longer']) expect(await hash(name), name).not.toBe(whole);
});

test('the space of small files that come and go is used again', async () => {
  const held = await shell.write('held', 'x');
  tree.retain(held);
  await shell.unlink('held');
  tree.release(held);
  for (let i = 0; i < 50; i++) {
    await shell.write('temporary', Buffer.alloc(30_000, i));
    await shell.unlink('temporary');
  }
  const { staging } = await import('node:fs').then(({ statSync }) => ({
    staging: stagingFiles().map((name) => statSync(join(machine.stateDir, 'staging', name)).size),
  }));
  expect(staging.reduce((sum, size) => sum + size, 0)).toBeLessThan(50_000);
});

test('a small file that grows takes its bytes to a staging file of its own', async () => {
  await shell.write('other', 'other');
  const expected = Buffer.alloc(200_000);
  for (let at = 0; at < expected.length; at += 5000) {
    const chunk = Buffer.alloc(5000, at / 5000);
    chunk.copy(expected, at);
    await shell.write('f', chunk, at);
  }
  expect(stagingFiles().length).toBe(2);
  await shell.unlink('other');
  expect((await shell.bytes('f')).equals(expected)).toBe(true);
  await machine.close();
  use(await openMachine({ store, stateDir: machine.stateDir }));
  expect(stagingFiles().length).toBe(1);
  expect((await shell.bytes('f')).equals(expected)).toBe(true);
  await shell.commit();
  expect((await shell.bytes('f')).equals(expected)).toBe(true);
});

test('writes at once to one file all land', async () => {
  const inode = await shell.create('f');
  const expected = Buffer.alloc(64 * 20_000);
  await Promise.all(
    Array.from({ length: 64 }, (_, i) => {
      const chunk = Buffer.alloc(20_000, i + 1);
      chunk.copy(expected, i * 20_000);
      return tree.write(inode, i * 20_000, chunk);
    }),
  );
  expect((await shell.bytes('f')).equals(expected)).toBe(true);
});

test('a failed transaction leaves names, attributes and bytes as they were', async () => {
  await shell.mkdir('d');
  await shell.write('d/f', 'content');
  await shell.commit();
  const { core } = tree as unknown as { core: { db: { dirents: object; inodes: object } } };
  const failing = (table: object, method: string): (() => void) => {
    const own = Object.getPrototypeOf(table)[method] as (...args: unknown[]) => unknown;
    Object.defineProperty(table, method, {
      configurable: true,
      value: () => {
        throw new Error('the disk is full');
      },
    });
    return () => Object.defineProperty(table, method, { configurable: true, value: own });
  };
  const before = async () => [
    await shell.names(),
    await shell.names('d'),
    await shell.read('d/f'),
    (await shell.get('')).nlink,
    (await shell.get('d')).mtime,
    (await shell.get('d/f')).mode,
  ];
  const expected = await before();
  const inode = await shell.get('d/f');
  tree.retain(inode);
  const attempts: (() => Promise<unknown> | unknown)[] = [
    () => shell.mkdir('new'),
    () => shell.create('d/new'),
    () => shell.rename('d', 'e'),
    () => shell.rename('d/f', 'g'),
    () => shell.unlink('d/f'),
    () => shell.link('d/f', 'hard'),
    () => tree.write(inode, 2, Buffer.from('XX')),
    () => tree.setAttributes(inode, { mode: 0o600, size: 1 }),
    () => tree.setXattr(inode, 'user.x', Buffer.from('1')),
  ];
  for (const method of ['put', 'putAttributes', 'putContent']) {
    for (const attempt of attempts) {
      const restore = failing(core.db.inodes, method);
      const outcome = await Promise.resolve()
        .then(attempt)
        .then(() => 'done')
        .catch((error: Error) => error.message);
      restore();
      expect(outcome).toContain('disk is full');
      expect(await before()).toEqual(expected);
      expect(tree.xattrs(inode)).toEqual([]);
    }
    // The rows are there now: the next round changes rows instead of making them.
    if (method === 'put') {
      await tree.setAttributes(inode, { mode: 0o644 });
      attempts.splice(0, attempts.length, () => tree.setAttributes(inode, { mode: 0o600 }));
    } else {
      attempts.splice(0, attempts.length, () => tree.write(inode, 2, Buffer.from('XX')));
    }
  }
  tree.release(inode);
  await shell.write('d/f', 'C');
  expect(await shell.read('d/f')).toBe('Content');
});

test('sync waits for the bytes also when somebody else is syncing them', async () => {
  const inode = await shell.write('f', 'content');
  await Promise.all([tree.sync(inode), tree.sync(inode), tree.syncAll()]);
  await machine.close();
  use(await openMachine({ store, stateDir: machine.stateDir }));
  await tree.syncAll();
  const gone = await shell.write('gone', 'x'.repeat(100_000));
  const syncing = tree.sync(gone);
  await shell.unlink('gone');
  await syncing;
  await tree.syncAll();
  expect(await shell.read('f')).toBe('content');
});

test('a committed file with more holes than an entry of a version holds can be committed', async () => {
  const block = 512;
  const holes = limits.extentsPerFileMax;
  const bytes = Buffer.alloc(2 * holes * block, 'x');
  await shell.write('f', bytes);
  await shell.commit();
  const inode = await shell.get('f');
  for (let i = 0; i < holes; i++) {
    tree.allocate(inode, { how: 'punch', offset: 2 * i * block, length: block, keepSize: true });
    bytes.fill(0, 2 * i * block, (2 * i + 1) * block);
  }
  await shell.commit();
  expect((await readAll(shell.artifact, await shell.get('f'))).equals(bytes)).toBe(true);
});

const unlessNothingStaged = (error: unknown): void => {
  if (!isCode(error, 'NothingStaged')) throw error;
};

type SparseOp =
  | { op: 'write'; at: number; length: number }
  | { op: 'punch' | 'zero' | 'allocate'; at: number; length: number; keepSize: boolean }
  | { op: 'truncate'; at: number }
  | { op: 'copy'; at: number; to: number; length: number }
  | { op: 'commit' };

const at = fc.integer({ min: 0, max: 60_000 });
const length = fc.integer({ min: 1, max: 20_000 });
const sparseOp: fc.Arbitrary<SparseOp> = fc.oneof(
  fc.record({ op: fc.constant('write' as const), at, length }),
  fc.record({
    op: fc.constantFrom('punch' as const, 'zero' as const, 'allocate' as const),
    at,
    length,
    keepSize: fc.boolean(),
  }),
  fc.record({ op: fc.constant('truncate' as const), at }),
  fc.record({ op: fc.constant('copy' as const), at, to: at, length }),
  fc.record({ op: fc.constant('commit' as const) }),
);

test('holes, growing, shared ranges and copies are what an array of bytes says', async () => {
  let files = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(sparseOp, { maxLength: 12 }), async (ops) => {
      const inode = await shell.create(`f${files++}`);
      tree.retain(inode);
      let bytes = Buffer.alloc(0);
      let data: boolean[] = [];
      for (const [i, op] of ops.entries()) {
        // Twice in a row there is nothing to commit.
        if (op.op === 'commit') await shell.commit().catch(unlessNothingStaged);
        else ({ bytes, data } = await both(inode, op, i, bytes, data));
        expect(inode.size).toBe(bytes.length);
        expect((await readAll(shell.artifact, inode)).equals(bytes)).toBe(true);
        checkSeek(inode, data);
      }
      tree.release(inode);
    }),
    { numRuns: runs(60) },
  );
});

async function both(
  inode: Inode,
  op: Exclude<SparseOp, { op: 'commit' }>,
  i: number,
  old: Buffer,
  oldData: readonly boolean[],
): Promise<{ bytes: Buffer<ArrayBuffer>; data: boolean[] }> {
  const sized = (size: number) => {
    const bytes = Buffer.alloc(size);
    old.copy(bytes);
    return { bytes, data: Array.from({ length: size }, (_, n) => oldData[n] ?? false) };
  };
  switch (op.op) {
    case 'write': {
      await tree.write(inode, op.at, Buffer.alloc(op.length, i + 1));
      const { bytes, data } = sized(Math.max(old.length, op.at + op.length));
      bytes.fill(i + 1, op.at, op.at + op.length);
      return { bytes, data: data.fill(true, op.at, op.at + op.length) };
    }
    case 'punch':
    case 'zero': {
      tree.allocate(inode, { how: op.op, offset: op.at, length: op.length, keepSize: op.keepSize });
      const end = op.at + op.length;
      const { bytes, data } = sized(
        op.op === 'punch' || op.keepSize ? old.length : Math.max(old.length, end),
      );
      bytes.fill(0, Math.min(op.at, bytes.length), Math.min(end, bytes.length));
      return { bytes, data: data.fill(false, op.at, end) };
    }
    case 'allocate':
      tree.allocate(inode, { how: 'allocate', offset: op.at, length: op.length, keepSize: op.keepSize });
      return sized(op.keepSize ? old.length : Math.max(old.length, op.at + op.length));
    case 'truncate':
      await tree.setAttributes(inode, { size: op.at });
      return sized(op.at);
    case 'copy': {
      const count = Math.max(0, Math.min(op.length, old.length - op.at));
      if (Math.abs(op.at - op.to) < count) {
        const error = await failure(() =>
          tree.copyRange({ inode, offset: op.at }, { inode, offset: op.to }, op.length),
        );
        expect(error.code).toBe('Invalid');
        return sized(old.length);
      }
      for (let done = 0; done < count; ) {
        const from = { inode, offset: op.at + done };
        const copied = await tree.copyRange(from, { inode, offset: op.to + done }, count - done);
        expect(copied).toBeGreaterThan(0);
        done += copied;
      }
      const { bytes, data } = sized(count === 0 ? old.length : Math.max(old.length, op.to + count));
      if (count > 0) old.copy(bytes, op.to, op.at, op.at + count);
      // Whether a copied hole stays one depends on where its bytes were.
      for (let n = 0; n < count; n++) data[op.to + n] = tree.seek(inode, op.to + n, 'hole') !== op.to + n;
      return { bytes, data };
    }
  }
}

function checkSeek(inode: Inode, data: readonly boolean[]): void {
  for (const from of [0, 1000, 30_000, data.length - 1]) {
    if (from < 0 || from >= data.length) continue;
    const firstData = data.indexOf(true, from);
    const firstHole = data.indexOf(false, from);
    expect(tree.seek(inode, from, 'hole')).toBe(firstHole < 0 ? data.length : firstHole);
    if (firstData >= 0) expect(tree.seek(inode, from, 'data')).toBe(firstData);
    else expect(() => tree.seek(inode, from, 'data')).toThrow();
  }
  expect(() => tree.seek(inode, data.length, 'hole')).toThrow();
}

test('a shared staging file of an earlier daemon goes when all that was in it is written over', async () => {
  for (const name of ['f', 'g']) await shell.write(name, 'first');
  await machine.close();
  use(await openMachine({ store, stateDir: machine.stateDir }));
  const [before] = stagingFiles();
  for (const name of ['f', 'g']) await shell.write(name, 'other');
  expect(stagingFiles()).not.toContain(before);
  expect([await shell.read('f'), await shell.read('g')]).toEqual(['other', 'other']);
  await shell.commit();
  expect(stagingFiles()).toEqual([]);
});

test('a staging file of a commit that failed goes when all of it is written over', async () => {
  const large = (byte: number) => Buffer.alloc(limits.slabFileBytesMax + 1, byte);
  await shell.write('small', 'first');
  await shell.write('large', large(1));
  store.isAway = true;
  await failure(shell.commit());
  store.isAway = false;
  const before = stagingFiles();
  await shell.write('small', 'other');
  await shell.write('large', large(2));
  expect(stagingFiles().filter((name) => before.includes(name))).toEqual([]);
  await shell.commit();
  expect(stagingFiles()).toEqual([]);
  expect(await shell.read('small')).toBe('other');
  expect((await shell.bytes('large')).equals(large(2))).toBe(true);
});

test('what is discarded is not uploaded any more, also of an open file', async () => {
  const inode = await shell.write('large', Buffer.alloc(20 << 20, 1));
  tree.opened(inode, false);
  await expect.poll(() => machine.uploads().backlogBytes).toBeGreaterThan(0);
  await shell.artifact.discard();
  await expect.poll(() => machine.uploads().backlogBytes).toBe(0);
  expect(stagingFiles()).not.toEqual([]);
  expect(await readAll(shell.artifact, inode)).toHaveLength(20 << 20);
  tree.closed(inode, false);
  await expect.poll(stagingFiles).toEqual([]);
});

// Found by the soak: the bytes stayed on disk for as long as the kernel remembered the names.
test('regression: what is discarded is on disk only while it is open, not while the kernel knows it', async () => {
  for (const name of ['small', 'large']) {
    const known = await shell.write(name, Buffer.alloc(name === 'large' ? 3 << 20 : 100, 1));
    tree.retain(known);
    await shell.artifact.discard();
    expect(stagingFiles()).toEqual([]);
    expect(known.nlink).toBe(0);
    for (const use of [
      () => tree.opened(known, false),
      () => tree.open(known),
      () => tree.write(known, 0, Buffer.of(1)),
    ])
      expect((await failure(async () => use())).code).toBe('Stale');

    const open = await shell.write(name, Buffer.alloc(name === 'large' ? 3 << 20 : 100, 2));
    tree.retain(open);
    tree.opened(open, true);
    await shell.artifact.discard();
    expect((await readAll(shell.artifact, open)).at(-1)).toBe(2);
    expect(stagingFiles()).not.toEqual([]);
    if (name === 'large') await tree.write(open, 1, Buffer.of(3));
    tree.closed(open, true);
    expect(stagingFiles()).toEqual([]);
    for (const inode of [known, open]) tree.release(inode);
    expect(stagingFiles()).toEqual([]);
  }
});
