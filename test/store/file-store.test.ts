import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compareNames } from '../../src/model/entry.js';
import { limits } from '../../src/model/limits.js';
import { fileError } from '../../src/store/file/file-errors.js';
import { FileStore } from '../../src/store/file/file-store.js';
import { keyToPath } from '../../src/store/file/key-path.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { runs } from '../support/seed.js';
import { expectCode, listAll } from './contract.js';

const loader = new URL('../support/typescript-loader.mjs', import.meta.url).href;
const crashChild = fileURLToPath(new URL('crash-child.ts', import.meta.url));

let dir: string;
let store: FileStore;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'artifactfs-file-'));
  store = await FileStore.open(dir);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('the files', () => {
  it('lie where the key says, readable by their owner only', async () => {
    await store.put('a/b/weights.bin', Buffer.from('x'));
    await store.putIfAbsent('a/format.json', Buffer.from('{}'));
    expect(await readFile(join(dir, 'a/b/weights.bin'), 'utf8')).toBe('x');
    for (const path of ['a/b/weights.bin', 'a/format.json'])
      expect((await stat(join(dir, path))).mode & 0o777).toBe(0o600);
    for (const path of ['a', 'a/b']) expect((await stat(join(dir, path))).mode & 0o777).toBe(0o700);
  });

  it('leave nothing in the hidden folders when all is done', async () => {
    await store.put('a', Buffer.from('x'));
    await store.putIfAbsent('b', Buffer.from('x'));
    await expectCode('Exists', store.putIfAbsent('b', Buffer.from('y')));
    const uploadId = await store.createMultipart('c');
    await store.completeMultipart('c', uploadId, [
      await store.uploadPart('c', uploadId, 1, Buffer.from('x')),
    ]);
    await store.abortMultipart('d', await store.createMultipart('d'));
    expect(await readdir(join(dir, '.tmp'))).toEqual([]);
    expect(await readdir(join(dir, '.uploads'))).toEqual([]);
  });

  it('take their empty folders with them', async () => {
    await store.put('a/b/c/1', Buffer.from('x'));
    await store.put('a/2', Buffer.from('x'));
    await store.deleteMany(['a/b/c/1']);
    expect(await readdir(join(dir, 'a'))).toEqual(['2']);
    await store.deleteMany(['a/2']);
    expect(await readdir(dir)).toEqual(['.tmp']);
  });

  it('are put while their folder is removed', async () => {
    const results = [];
    for (let i = 0; i < 200; i++) {
      results.push(store.put(`f/g/${i % 5}`, Buffer.from('x')), store.deleteMany([`f/g/${(i + 2) % 5}`]));
    }
    await Promise.all(results);
    await store.put('f/g/0', Buffer.from('still works'));
    expect(String(await store.get('f/g/0'))).toBe('still works');
  });

  it('that are strangers are not listed', async () => {
    await store.put('a', Buffer.from('x'));
    await writeFile(join(dir, '.stranger'), 'x');
    await symlink('a', join(dir, 'link'));
    expect(await listAll(store, '')).toEqual(['a']);
  });
});

describe('keys', () => {
  it('cannot be folders too', async () => {
    await store.put('a', Buffer.from('x'));
    await store.put('b/c', Buffer.from('x'));
    await expectCode('Invalid', store.put('a/b', Buffer.from('x')));
    await expectCode('Invalid', store.putIfAbsent('a/b', Buffer.from('x')));
    await expectCode('Invalid', store.put('b', Buffer.from('x')));
    await expectCode('Invalid', store.putIfAbsent('b', Buffer.from('x')));
    await expectCode('NotFound', store.get('a/b'));
    await expectCode('NotFound', store.get('b'));
    await expectCode('NotFound', store.head('b'));
    await expectCode('NotFound', store.get('b', { offset: 0, length: 1 }));
  });

  it('never lead out of the directory or into its hidden folders', async () => {
    await store.put('../escape', Buffer.from('x'));
    await store.put('.uploads/x', Buffer.from('x'));
    await store.put('.tmp', Buffer.from('x'));
    expect(await listAll(store, '')).toEqual(['../escape', '.tmp', '.uploads/x']);
    await expect(stat(join(dir, '../escape'))).rejects.toThrow('ENOENT');
  });

  it('have paths that are distinct, short in every name and inside', () => {
    const segment = fc.oneof(
      fc.constantFrom(
        '',
        '.',
        '..',
        '%',
        '%2E',
        '%+',
        '.x',
        'a'.repeat(199),
        'a'.repeat(201),
        'é'.repeat(150),
      ),
      fc.string({ unit: 'binary', maxLength: 300 }),
    );
    const key = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));
    fc.assert(
      fc.property(key, key, (a, b) => {
        const path = keyToPath(a);
        for (const name of path.split('/')) {
          expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255);
          expect(name).not.toBe('');
          expect(name.startsWith('.')).toBe(false);
        }
        if (a !== b) expect(keyToPath(b)).not.toBe(path);
      }),
    );
  });

  it('are listed as the memory store lists them', async () => {
    const name = fc.stringMatching(/^[a-c.!%é😀]{1,4}$/u);
    const long = fc.integer({ min: 195, max: 230 }).map((length) => 'a'.repeat(length));
    const key = fc
      .array(fc.oneof(name, long), { minLength: 1, maxLength: 3 })
      // A folder never has the name of a file: files end in one of their own.
      .map((segments) => `${segments.join('/')}${segments.length}=`);
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { maxLength: 12 }), key, key, async (keys, prefix, after) => {
        const model = new MemoryStore();
        for (const one of keys) {
          await model.put(one, Buffer.from('x'));
          await store.put(one, Buffer.from('x'));
        }
        const cut = prefix.slice(0, 2);
        expect(await listAll(store, '')).toEqual([...keys].sort(compareNames));
        expect(await listAll(store, cut, after)).toEqual(await listAll(model, cut, after));
        await store.deleteMany(keys);
      }),
      { numRuns: runs(40) },
    );
  });
});

describe('the directory', () => {
  it('must exist, unless it is to be made', async () => {
    const missing = join(dir, 'x/y');
    await expectCode('StoreMissing', FileStore.open(missing));
    await expectCode('StoreMissing', FileStore.open('/dev/null'));
    await FileStore.open(missing, { create: true });
    await FileStore.open(missing);
    expect((await stat(missing)).mode & 0o777).toBe(0o700);
  });

  it('that goes away is StoreMissing for every operation, and is not made again', async () => {
    await store.put('a', Buffer.from('x'));
    const uploadId = await store.createMultipart('m');
    await rm(dir, { recursive: true });
    await expectCode('StoreMissing', store.get('a'));
    await expectCode('StoreMissing', store.head('a'));
    await expectCode('StoreMissing', store.put('a', Buffer.from('x')));
    await expectCode('StoreMissing', store.put('b/c', Buffer.from('x')));
    await expectCode('StoreMissing', store.putIfAbsent('b', Buffer.from('x')));
    await expectCode('StoreMissing', store.createMultipart('b'));
    await expectCode('StoreMissing', store.uploadPart('m', uploadId, 1, Buffer.from('x')));
    await expectCode('StoreMissing', store.listParts('m', uploadId));
    await expectCode('StoreMissing', store.deleteMany(['a']));
    await expectCode('StoreMissing', listAll(store, ''));
    await expectCode('StoreMissing', store.probe());
    await expect(stat(dir)).rejects.toThrow('ENOENT');
  });

  it('names itself without secrets', () => expect(store.url).toBe(`file://${dir}`));
});

it('keeps the old object when the writer of a new one is killed', async () => {
  await store.put('key', Buffer.from('old'));
  expect(await killed('put', dir)).toBe('SIGKILL');
  expect(await readdir(join(dir, '.tmp'))).toHaveLength(1); // it was in the middle
  expect(await listAll(store, '')).toEqual(['key']);
  expect(String(await store.get('key'))).toBe('old');
});

describe('what the system refuses', () => {
  it('has the port’s words', () => {
    const codes = {
      ENOSPC: 'NoSpace',
      EDQUOT: 'NoSpace',
      EACCES: 'StoreDenied',
      EROFS: 'StoreDenied',
      EIO: 'StoreUnavailable',
      EMFILE: 'StoreUnavailable',
      EFBIG: 'TooLarge',
    };
    for (const [errno, code] of Object.entries(codes))
      expect(
        fileError('file:///x', 'writing a', Object.assign(new Error(errno), { code: errno })),
      ).toMatchObject({
        code,
        message: `writing a in file:///x failed: ${errno}`,
      });
  });

  // The kernel's own full device, where there is one.
  if (process.platform === 'linux')
    it('on a full disk is NoSpace', () => {
      const write = () => {
        try {
          writeFileSync('/dev/full', 'x');
        } catch (error) {
          throw fileError('file:///x', 'writing', error);
        }
      };
      expect(write).toThrow(expect.objectContaining({ code: 'NoSpace' }));
    });

  it('when a process may not write is StoreDenied, and the probe says not writable', async () => {
    await store.put('a', Buffer.from('x'));
    await chmod(dir, 0o755);
    await chmod(join(dir, 'a'), 0o644);
    await rm(join(dir, '.tmp'), { recursive: true });
    await chmod(dir, 0o555);
    // Root may always write, so the question is asked as nobody.
    const asNobody = async () => {
      if (process.getuid?.() !== 0)
        return [await codeOf(store.put('b', Buffer.from('x'))), await store.probe()];
      process.seteuid?.(65534);
      try {
        return [await codeOf(store.put('b', Buffer.from('x'))), await store.probe()];
      } finally {
        process.seteuid?.(0);
      }
    };
    expect(await asNobody()).toEqual([
      'StoreDenied',
      { writable: false, createIfAbsent: false, copyPart: false, presign: false },
    ]);
    await chmod(dir, 0o755);
  });
});

describe('uploads', () => {
  const partBytes = limits.storePartBytesMin;

  it('are completed by a rename when their parts lie in order', async () => {
    const uploadId = await store.createMultipart('big');
    const parts = [];
    for (const part of [2, 1, 3])
      parts.push(
        await store.uploadPart('big', uploadId, part, Buffer.alloc(part === 3 ? 10 : partBytes, part)),
      );
    const { ino } = await stat(join(dir, '.uploads', uploadId, 'data'));
    parts.sort((a, b) => a.part - b.part);
    await store.completeMultipart('big', uploadId, parts);
    expect(await stat(join(dir, 'big'))).toMatchObject({ ino, size: 2 * partBytes + 10, mode: 0o100600 });
  });

  it('go on in another process, part by part', async () => {
    const uploadId = await store.createMultipart('big');
    const first = await store.uploadPart('big', uploadId, 1, Buffer.alloc(partBytes, 1));
    const later = await FileStore.open(dir);
    expect(await later.listParts('big', uploadId)).toEqual([first]);
    const again = await later.uploadPart('big', uploadId, 1, Buffer.alloc(partBytes, 9));
    const second = await later.uploadPart('big', uploadId, 2, Buffer.alloc(10, 2));
    await later.completeMultipart('big', uploadId, [again, second]);
    expect(
      (await store.get('big')).equals(Buffer.concat([Buffer.alloc(partBytes, 9), Buffer.alloc(10, 2)])),
    ).toBe(true);
    expect(await readdir(join(dir, '.uploads'))).toEqual([]);
  });

  it('belong to their key, and their ids are no paths', async () => {
    const uploadId = await store.createMultipart('a');
    await expectCode('NotFound', store.listParts('b', uploadId));
    await expectCode('NotFound', store.listParts('a', '../../etc'));
    await store.put('kept', Buffer.from('x'));
    await store.abortMultipart('a', '..');
    await store.abortMultipart('a', '../kept');
    expect(await listAll(store, '')).toEqual(['kept']);
    expect(await store.listParts('a', uploadId)).toEqual([]);
  });

  it('do not list a part that was being written again when the process was killed', async () => {
    const uploadId = await store.createMultipart('big');
    await store.uploadPart('big', uploadId, 1, Buffer.alloc(partBytes, 1));
    const second = await store.uploadPart('big', uploadId, 2, Buffer.alloc(10, 2));
    expect(await killed('part', dir, uploadId)).toBe('SIGKILL');
    expect(await store.listParts('big', uploadId)).toEqual([second]);
    const later = await FileStore.open(dir);
    const first = await later.uploadPart('big', uploadId, 1, Buffer.alloc(partBytes, 9));
    await later.completeMultipart('big', uploadId, [first, second]);
    expect(
      (await store.get('big', { offset: 0, length: partBytes })).equals(Buffer.alloc(partBytes, 9)),
    ).toBe(true);
  });

  it('of a probe that was cut off are swept by a later probe', async () => {
    for (const key of ['.probe/old/first', '.probe/young/first']) await store.put(key, Buffer.from('x'));
    const twoHoursAgo = new Date(Date.now() - 7_200_000);
    await utimes(join(dir, keyToPath('.probe/old/first')), twoHoursAgo, twoHoursAgo);
    await store.probe();
    expect(await listAll(store, '')).toEqual(['.probe/young/first']);
  });

  it('and unfinished files of long ago are swept by the probe', async () => {
    const old = await store.createMultipart('old');
    const young = await store.createMultipart('young');
    await mkdir(join(dir, '.tmp'), { recursive: true });
    await writeFile(join(dir, '.tmp/old'), 'x');
    await writeFile(join(dir, '.tmp/young'), 'x');
    const longAgo = new Date(Date.now() - limits.storeUploadAgeMsMax - 60_000);
    await utimes(join(dir, '.tmp/old'), longAgo, longAgo);
    await utimes(join(dir, '.uploads', old), longAgo, longAgo);
    await store.probe();
    expect(await readdir(join(dir, '.tmp'))).toEqual(['young']);
    expect(await readdir(join(dir, '.uploads'))).toEqual([young]);
  });
});

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'ok',
    (error) => error.code,
  );
}

/** The signal that ended the child. */
async function killed(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, ['--import', loader, crashChild, ...args], { stdio: 'inherit' });
  const [, signal] = await once(child, 'exit');
  return signal;
}
