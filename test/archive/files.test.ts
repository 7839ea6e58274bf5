import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { exportFiles } from '../../src/archive/export-files.js';
import { importFiles } from '../../src/archive/import-files.js';
import { importTar } from '../../src/archive/import-tar.js';
import { readTar } from '../../src/archive/read-tar.js';
import { loadNative } from '../../src/fuse/native.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { NamedLogs, versionOf } from '../../src/workspace/fsck/named-logs.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { failure } from '../artifacts/support/daemon.js';
import { expectSound } from '../artifacts/support/filled.js';

const calls = loadNative();
let top: string;
beforeEach(() => {
  // On a disk: not every kernel gives files in memory attributes.
  top = mkdtempSync(join(import.meta.dirname, '../../build/archive-'));
});
afterEach(() => rmSync(top, { recursive: true }));

const at = (...names: string[]) => join(top, ...names);
const mtime = (path: string, s: number, ns: number) => expect(calls.setTimes(path, s, ns, s, ns)).toBe(0);

/** A directory with everything that a file can be here. */
function makeSource(): string {
  const source = at('source');
  mkdirSync(join(source, 'dir/empty'), { recursive: true });
  writeFileSync(join(source, 'small'), 'a few bytes');
  writeFileSync(join(source, 'dir/equal'), 'a few bytes');
  writeFileSync(join(source, 'none'), '');
  writeFileSync(join(source, 'dir/ü ?#&%41\n'), 'odd');
  writeFileSync(join(source, 'large'), Buffer.alloc((9 << 20) + 7, 'large content '));
  linkSync(join(source, 'large'), join(source, 'dir/hard'));
  symlinkSync('../no where', join(source, 'dir/link'));
  const sparse = openSync(join(source, 'sparse'), 'w');
  writeSync(sparse, 'begin', 0);
  writeSync(sparse, 'end', 20 << 20);
  closeSync(sparse);
  truncateSync(join(source, 'sparse'), 30 << 20);
  expect(calls.makeNode(join(source, 'fifo'), 0o010620, 0)).toBe(0);
  const label = calls.setXattr(join(source, 'small'), 'user.colour', Buffer.from([0, 0xff, 7]));
  expect(label).toBe(0);
  expect(calls.setXattr(join(source, 'dir'), 'user.on-directory', Buffer.from('x'))).toBe(0);
  chmodSync(join(source, 'small'), 0o4751);
  chmodSync(join(source, 'dir/empty'), 0o500);
  mtime(join(source, 'small'), 1_700_000_000, 123_456_789);
  mtime(join(source, 'dir/link'), -5, 1);
  mtime(join(source, 'dir'), 1_600_000_000, 5);
  mtime(source, 1_500_000_000, 6);
  return source;
}

/** What there is to see of every file below a directory. */
function seen(directory: string): Record<string, unknown> {
  const inos = new Map<bigint, string>();
  const all = readdirSync(directory, { recursive: true, withFileTypes: true });
  const paths = [
    '',
    ...all.map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1)),
  ].sort();
  return Object.fromEntries(
    paths.map((path) => {
      const place = join(directory, path);
      const stat = lstatSync(place, { bigint: true });
      const first = inos.get(stat.ino) ?? path;
      inos.set(stat.ino, first);
      const xattrs = calls.listXattrs(place);
      const values = Array.isArray(xattrs)
        ? xattrs.filter((name) => name.startsWith('user.')).map((name) => [name, calls.getXattr(place, name)])
        : [];
      const { mode, uid, gid, nlink, mtimeNs } = stat;
      const content = stat.isFile() ? readFileSync(place).toString('base64') : null;
      const target = stat.isSymbolicLink() ? readlinkSync(place) : null;
      return [path, { mode, uid, gid, nlink, mtimeNs, first, values, content, target }];
    }),
  );
}

async function exportOf(store: ObjectStore, name: string, directory: string, signal?: AbortSignal) {
  const { log, ref } = await new NamedLogs(store).find([name]);
  const { tree } = versionOf(log, ref);
  const options = signal === undefined ? {} : { signal };
  return exportFiles({ store, artifactId: log.place.artifactId, tree, directory, calls, ...options });
}

const importOf = async (store: ObjectStore, directory: string, path = 'model') =>
  importFiles(directory, calls, { target: await Workspace.open(store), path, message: 'as it was' });

test('a directory goes into the store and comes back as it was', async () => {
  const store = new MemoryStore();
  const source = makeSource();
  const imported = await importOf(store, source);
  expect(imported).toMatchObject({ path: 'model', files: 7, directories: 2, others: 2, notKept: [] });
  await expectSound(store);
  const exported = await exportOf(store, 'model', at('out'));
  expect(exported).toMatchObject({ files: 7, directories: 2, others: 2, notKept: [], bytes: imported.bytes });
  expect(seen(at('out'))).toEqual(seen(source));
  // Two pieces of some kilobytes, in a file of 30 MiB.
  expect(lstatSync(at('out/sparse')).blocks * 512).toBeLessThan(2 << 20);
  expect(readdirSync(top).sort()).toEqual(['out', 'source']);
});

test('equal small files are stored once, and holes not at all', async () => {
  const store = new MemoryStore();
  await importOf(store, makeSource());
  let bytes = 0;
  for await (const { key, size } of store.list('a/')) if (key.includes('/d/')) bytes += size;
  expect(bytes).toBeLessThan((9 << 20) + (1 << 20));
});

test('nothing is overwritten, and an export that fails or is interrupted leaves nothing', async () => {
  const store = new MemoryStore();
  await importOf(store, makeSource());
  mkdirSync(at('full'));
  writeFileSync(at('full/mine'), 'mine');
  expect((await failure(exportOf(store, 'model', at('full')))).code).toBe('Exists');
  expect((await failure(exportOf(store, 'model', at('full/mine')))).code).toBe('Exists');
  expect(readFileSync(at('full/mine'), 'utf8')).toBe('mine');
  const aborted = AbortSignal.abort(new Error('enough'));
  await expect(exportOf(store, 'model', at('out'), aborted)).rejects.toThrow();
  for await (const { key } of store.list('a/')) if (/-(large|hard)$/.test(key)) await store.deleteMany([key]);
  await expect(exportOf(store, 'model', at('out'))).rejects.toThrow();
  expect(readdirSync(top).sort()).toEqual(['full', 'source']);
  mkdirSync(at('empty'));
  await expect(exportOf(store, 'nothing', at('empty'))).rejects.toThrow();
  expect(existsSync(at('empty'))).toBe(true);
});

test('bytes that are not those of the file table are not exported', async () => {
  const store = new MemoryStore();
  await importOf(store, makeSource());
  for await (const { key } of store.list('a/'))
    if (key.includes('/d/')) {
      const bytes = Buffer.from(await store.get(key));
      bytes[3] = 0x21;
      await store.put(key, bytes);
    }
  expect((await failure(exportOf(store, 'model', at('out')))).code).toBe('Corrupt');
  expect(existsSync(at('out'))).toBe(false);
});

test('an import that fails leaves nothing in the store', async () => {
  const store = new MemoryStore();
  const source = makeSource();
  await importOf(store, source);
  const before: string[] = [];
  for await (const { key } of store.list('a/')) before.push(key);
  expect((await failure(importOf(store, source))).code).toBe('Exists');
  const signal = AbortSignal.abort(new Error('enough'));
  const target = await Workspace.open(store);
  await expect(importFiles(source, calls, { target, path: 'b', message: '', signal })).rejects.toThrow();
  const after: string[] = [];
  for await (const { key } of store.list('a/')) after.push(key);
  expect(after).toEqual(before);
});

async function importTarOf(store: ObjectStore, tar: Buffer, path = 'from-tar') {
  async function* once() {
    yield tar;
  }
  const target = await Workspace.open(store);
  return importTar(readTar('the tar', once()), { target, path, message: 'a tar' });
}

const tarOf = (source: string, ...flags: string[]) =>
  execFileSync('tar', ['-C', source, ...flags, '-cf', '-', '.'], { maxBuffer: 64 << 20 });

test('a tar of any program becomes one version, gzipped or not', async () => {
  const store = new MemoryStore();
  const source = makeSource();
  rmSync(join(source, 'sparse'));
  calls.setXattr(join(source, 'small'), 'user.colour', Buffer.from('red'));
  mtime(join(source, 'small'), 1_700_000_000, 123_456_789);
  mtime(source, 1_500_000_000, 6);
  const flags = ['--format=pax', '--xattrs'];
  expect(await importTarOf(store, tarOf(source, ...flags))).toMatchObject({ files: 6, notKept: [] });
  await exportOf(store, 'from-tar', at('out'));
  expect(seen(at('out'))).toEqual(seen(source));
  await importTarOf(store, tarOf(source, '--gzip', '--format=pax', '--xattrs'), 'gzipped');
  await exportOf(store, 'gzipped', at('gzipped'));
  expect(seen(at('gzipped'))).toEqual(seen(source));
  await importTarOf(store, tarOf(source, '--format=gnu'), 'gnu');
  await expectSound(store);
});

test('what a tar has that cannot be kept is said, and what cannot be read refused', async () => {
  const store = new MemoryStore();
  const source = makeSource();
  const kept = await importTarOf(store, tarOf(source, '--format=pax', '--xattrs'));
  expect(kept.notKept).toEqual([{ what: 'attribute user.colour', count: 1, first: 'small' }]);
  const sparse = tarOf(source, '--sparse', '--format=gnu');
  expect((await failure(importTarOf(store, sparse, 'b'))).code).toBe('Unsupported');
  expect((await failure(importTarOf(store, tarOf(source, '--sparse', '--format=pax'), 'b'))).code).toBe(
    'Unsupported',
  );
  const tar = tarOf(source);
  for (const length of [100, 512, 10_240, tar.length >> 1])
    expect((await failure(importTarOf(store, tar.subarray(0, length), 'b'))).code).toBe('Corrupt');
  expect((await failure(importTarOf(store, Buffer.alloc(10_240, 'no tar'), 'b'))).code).toBe('Corrupt');
  expect([...(await new NamedLogs(store).root()).state.children.keys()]).toEqual(['from-tar']);
});

test('a name in a tar that leads out of it is refused', async () => {
  const store = new MemoryStore();
  writeFileSync(at('x'), 'x');
  mkdirSync(at('inner'));
  const tar = execFileSync('tar', ['-C', at('inner'), '-P', '-cf', '-', '../x']);
  expect((await failure(importTarOf(store, tar))).code).toBe('InvalidName');
});
