import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Artifact, FilesByPath } from '../../src/artifacts/ports.js';
import {
  failure,
  type Machine,
  openMachine,
  removeTemporaryDirectories,
  Shell,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';

let store: GatedStore;
let machine: Machine;
let it_: Artifact;
let files: FilesByPath;

beforeEach(async () => {
  store = new GatedStore();
  machine = await openMachine({ store });
  it_ = machine.artifacts.create(machine.artifacts.root, 'it');
  files = machine.artifacts.files;
});

afterEach(async () => {
  await machine.close();
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

const bytesIn = async (stream: Readable): Promise<Buffer> => Buffer.concat(await stream.toArray());
const stream = (...chunks: (string | Buffer)[]): Readable =>
  Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
const stagingFiles = (): string[] => readdirSync(join(machine.stateDir, 'staging'));

test('files are written, listed, read in parts and removed by path', async () => {
  const mtime = { s: 1234, ns: 5 };
  expect(await files.write(it_, 'a/b/f', stream('some ', 'bytes'), { mode: 0o600, mtime })).toMatchObject({
    path: 'a/b/f',
    kind: 'file',
    size: 10,
    mode: 0o600,
    mtime,
  });
  await files.mkdir(it_, 'a/empty');
  await files.symlink(it_, 'a/link', 'b/f');
  await files.write(it_, 'z', stream(''));
  const paths = async (options: object = {}, ref = ''): Promise<string[]> =>
    (await files.list(it_, ref, '', options)).map((info) => info.path);
  expect(await paths()).toEqual(['a', 'z']);
  const all = ['a', 'a/b', 'a/b/f', 'a/empty', 'a/link', 'z'];
  expect(await paths({ recursive: true })).toEqual(all);
  for (const ref of ['', 'latest']) {
    if (ref !== '') await it_.commit({ message: 'm' });
    // Page by page, from wherever the page before ended.
    for (const limit of [1, 2, 3]) {
      const seen: string[] = [];
      for (;;) {
        const after = seen.at(-1);
        const page = await paths({ recursive: true, limit, ...(after === undefined ? {} : { after }) }, ref);
        seen.push(...page);
        if (page.length < limit) break;
      }
      expect(seen, `limit ${limit}`).toEqual(all);
    }
    expect((await bytesIn(await files.read(it_, ref, 'a/b/f'))).toString()).toBe('some bytes');
    expect((await bytesIn(await files.read(it_, ref, 'a/b/f', { offset: 5, length: 3 }))).toString()).toBe(
      'byt',
    );
    expect((await bytesIn(await files.read(it_, ref, 'a/b/f', { offset: 50 }))).toString()).toBe('');
    expect(await files.stat(it_, ref, 'a/link')).toMatchObject({ kind: 'symlink', target: 'b/f' });
    expect((await failure(files.stat(it_, ref, 'none'))).code).toBe('NotFound');
    expect((await failure(files.read(it_, ref, 'a'))).code).toBe('IsDirectory');
    expect((await failure(files.list(it_, ref, 'z'))).code).toBe('NotDirectory');
  }
  expect((await failure(files.stat(it_, '', '../x'))).code).toBe('InvalidName');
  expect((await failure(files.write(it_, 'a/b/f/below', stream('x')))).code).toBe('NotDirectory');
  expect((await failure(files.write(it_, 'a', stream('x')))).code).toBe('IsDirectory');
  expect((await failure(files.remove(it_, 'a'))).code).toBe('NotEmpty');
  await files.remove(it_, 'a', { recursive: true });
  expect(await paths({ recursive: true })).toEqual(['z']);
  expect((await failure(files.remove(it_, 'a'))).code).toBe('NotFound');
  expect((await bytesIn(await files.read(it_, 'v0', 'a/b/f'))).toString()).toBe('some bytes');
});

test('a large stream goes straight to the store, and its file into the version without another upload', async () => {
  const content = randomBytes(5 << 20);
  const progress: number[] = [];
  await files.write(it_, 'big', Readable.from([content.subarray(0, 3 << 20), content.subarray(3 << 20)]), {
    onProgress: (bytes) => progress.push(bytes),
  });
  expect(stagingFiles()).toEqual([]);
  expect(progress.at(-1)).toBe(content.length);
  expect((await it_.status()).bytesToUpload).toBe(0);
  expect((await bytesIn(await files.read(it_, '', 'big'))).equals(content)).toBe(true);
  expect((await it_.commit({ message: 'm' })).bytesUploaded).toBe(0);
  expect((await bytesIn(await files.read(it_, 'v0', 'big'))).equals(content)).toBe(true);
  // Edited here, most of it stays where it is.
  const shell = new Shell(it_);
  await shell.write('big', 'EDIT', 1 << 20);
  content.write('EDIT', 1 << 20);
  expect((await bytesIn(await files.read(it_, '', 'big'))).equals(content)).toBe(true);
});

test('when the store is away a large stream is kept in the stage', async () => {
  const content = randomBytes(4 << 20);
  store.isAway = true;
  await files.write(it_, 'big', stream(content.subarray(0, 2 << 20), content.subarray(2 << 20)));
  store.isAway = false;
  expect(stagingFiles().length).toBe(1);
  expect((await bytesIn(await files.read(it_, '', 'big'))).equals(content)).toBe(true);
  await it_.commit({ message: 'm' });
  expect((await bytesIn(await files.read(it_, 'latest', 'big'))).equals(content)).toBe(true);
});

test('a stream that breaks off changes nothing and leaves nothing behind', async () => {
  await files.write(it_, 'f', stream('as it was'));
  const broken = async function* (bytes: number): AsyncGenerator<Buffer> {
    yield Buffer.alloc(bytes, 1);
    throw new Error('the client went away');
  };
  for (const bytes of [10, 3 << 20]) {
    await expect(files.write(it_, 'f', Readable.from(broken(bytes)))).rejects.toThrow('the client went away');
    await expect(files.write(it_, 'new', Readable.from(broken(bytes)))).rejects.toThrow();
  }
  expect((await bytesIn(await files.read(it_, '', 'f'))).toString()).toBe('as it was');
  expect((await files.list(it_, '', '')).map(({ path }) => path)).toEqual(['f']);
  expect(stagingFiles().length).toBe(1);
});

test('a stream during which a commit runs ends up in the working view, not in the version', async () => {
  await new Shell(it_).write('small', '1');
  const content = randomBytes(3 << 20);
  let goOn = () => {};
  const paused = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const source = async function* (): AsyncGenerator<Buffer> {
    yield content.subarray(0, 2 << 20);
    await paused;
    yield content.subarray(2 << 20);
  };
  const writing = files.write(it_, 'big', Readable.from(source()));
  await new Promise((resolve) => setTimeout(resolve, 20));
  await it_.commit({ message: 'm' });
  goOn();
  await writing;
  expect((await files.list(it_, 'v0', '')).map(({ path }) => path)).toEqual(['small']);
  expect((await bytesIn(await files.read(it_, '', 'big'))).equals(content)).toBe(true);
  await it_.commit({ message: 'm' });
  expect((await bytesIn(await files.read(it_, 'v1', 'big'))).equals(content)).toBe(true);
});

test('small files that came by path share a staging file like others', async () => {
  for (const name of ['a', 'b', 'c']) await files.write(it_, name, stream(`content of ${name}`));
  expect(stagingFiles().length).toBe(1);
  await files.write(it_, 'b', stream('again'));
  await files.remove(it_, 'c');
  await files.write(it_, 'd', stream('D'.repeat(1000)));
  const read = async (path: string) => (await bytesIn(await files.read(it_, '', path))).toString();
  expect(await read('a')).toBe('content of a');
  expect(await read('b')).toBe('again');
  expect(await read('d')).toBe('D'.repeat(1000));
});

test('writing replaces the content of a file in place, under open readers too', async () => {
  const shell = new Shell(it_);
  const inode = await shell.write('f', 'old content');
  await shell.link('f', 'hard');
  it_.tree.retain(inode);
  const reader = it_.tree.open(inode);
  const told: string[] = [];
  it_.onInvalidate((what) => told.push(what.type));
  await files.write(it_, 'f', stream('new'));
  expect(told).toEqual(['inode']);
  expect((await reader.read(0, 100)).toString()).toBe('new');
  expect(await shell.read('hard')).toBe('new');
  reader.close();
  it_.tree.release(inode);
  expect(stagingFiles().length).toBe(1);
});
