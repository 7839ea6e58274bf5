import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { checkMountOptions, type MountOptions } from '../../src/fuse/mount-options.js';
import { prepareMountPoint } from '../../src/fuse/mount-point.js';
import { parseMountTable } from '../../src/fuse/mount-table.js';
import { requestHeaderBytes, requestStart, writeFieldsBytes } from '../../src/fuse/protocol/request.js';
import { RequestPool } from '../../src/fuse/request-pool.js';
import { limits } from '../../src/model/limits.js';

describe('options', () => {
  const check = (options: Partial<MountOptions>, isRoot = true) =>
    checkMountOptions({ mountPoint: '/mnt', onError: () => {}, ...options }, isRoot);

  test('root mounts directly, others with fusermount3, and either can be said', () => {
    expect(check({}).by).toBe('mount');
    expect(check({}, false).by).toBe('fusermount3');
    expect(check({ by: 'fusermount3' }).by).toBe('fusermount3');
  });

  test('nobody gets setuid programs or devices without asking', () => {
    expect(check({})).toMatchObject({
      allowSetuid: false,
      allowDevices: false,
      allowOther: false,
      readOnly: false,
    });
    expect(() => check({ allowSetuid: true }, false)).toThrow('only root');
  });

  test.each(['', 'a b', 'a,suid', 'a\\', 'a\n', 'x'.repeat(256)])('fsName %j is refused', (fsName) => {
    expect(() => check({ fsName })).toThrow(expect.objectContaining({ code: 'Invalid' }));
  });

  test.each([-4096, 1000, 1e9, Number.NaN])('readAheadBytes %d is refused', (readAheadBytes) => {
    expect(() => check({ readAheadBytes })).toThrow(expect.objectContaining({ code: 'Invalid' }));
  });
});

describe('mount point', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'artifactfs-mount-point-'));
    await mkdir(join(directory, 'empty'));
    await mkdir(join(directory, 'full'));
    await writeFile(join(directory, 'full', 'file'), '');
    await symlink('empty', join(directory, 'link'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  test('an empty directory will do, found through symlinks', async () => {
    const path = join(directory, 'empty');
    expect(await prepareMountPoint(join(directory, 'link'), false)).toEqual({ path, recovered: false });
  });

  test.each([
    ['missing', 'NotFound'],
    ['full', 'NotEmpty'],
    ['full/file', 'Invalid'],
    ['full/file/below', 'Invalid'],
  ])('%s is %s', async (name, code) => {
    await expect(prepareMountPoint(join(directory, name), false)).rejects.toMatchObject({ code });
  });

  test('a directory with files will do when asked for', async () => {
    const path = join(directory, 'full');
    expect(await prepareMountPoint(path, true)).toMatchObject({ path });
  });

  test('no path is Invalid', async () => {
    await expect(prepareMountPoint('', false)).rejects.toMatchObject({ code: 'Invalid' });
  });
});

test('the table of mounts is read, with its escapes and optional tags', () => {
  const text = [
    '22 1 0:21 / /proc rw,nosuid shared:5 master:1 - proc proc rw',
    '99 22 0:45 / /mnt/na\\303\\257ve\\040dir rw,nosuid,nodev - fuse.artifactfs artifactfs rw,user_id=0',
    '',
  ].join('\n');
  expect(parseMountTable(text)).toEqual([
    { path: '/proc', device: '0:21', type: 'proc', source: 'proc' },
    { path: '/mnt/naïve dir', device: '0:45', type: 'fuse.artifactfs', source: 'artifactfs' },
  ]);
});

describe('request memory', () => {
  test('holds the data of writes where a page begins, and requests one after another', () => {
    for (const offset of [0, 1, 4016, 4017, 5000, (1 << 20) + 4096]) {
      const at = requestStart(offset);
      expect(at).toBeGreaterThanOrEqual(offset);
      expect(at - offset).toBeLessThan(4096);
      expect((at + requestHeaderBytes + writeFieldsBytes) % 4096).toBe(0);
    }
  });

  const keep = 100;
  const start = requestStart(0);
  const bytes = start + 3 * keep;
  const pool = (onFree = () => {}): RequestPool => new RequestPool(keep, bytes, 2, onFree);

  test('starts over when nothing is lent', () => {
    const requests = pool();
    const first = requests.take();
    requests.position = start + 250;
    expect(requests.take()).toBe(first);
    expect(requests.position).toBe(start);
  });

  test('goes on behind lent data while there is room, then takes another piece', () => {
    const requests = pool();
    const first = requests.take();
    if (first === undefined) throw new Error('no memory');
    first.loans = 1;
    requests.position = start + 200;
    expect(requests.take()).toBe(first);
    expect(requests.position).toBe(start + 200);
    requests.position = start + 208;
    const second = requests.take();
    expect(second).not.toBe(first);
    expect(requests.position).toBe(start);
    expect(requests.piecesCount).toBe(2);
  });

  test('has none when all of it is lent, and tells when some came back', () => {
    let freed = 0;
    const requests = pool(() => {
      freed += 1;
    });
    const pieces = [0, 1].map(() => {
      const piece = requests.take();
      if (piece === undefined) throw new Error('no memory');
      piece.loans = 1;
      requests.position = bytes;
      return piece;
    });
    expect(requests.take()).toBeUndefined();
    expect(freed).toBe(0);
    pieces[1]?.giveBack();
    expect(freed).toBe(1);
    expect(requests.take()).toBe(pieces[1]);
    pieces[0]?.giveBack();
    expect(freed).toBe(1);
  });

  test('uses the same pieces again while anybody writes, and lets go of all but a few after that', () => {
    vi.useFakeTimers();
    try {
      const requests = new RequestPool(keep, bytes, 8, () => {});
      const lendAll = () =>
        Array.from({ length: 8 }, () => {
          const piece = requests.take();
          if (piece === undefined) throw new Error('no memory');
          piece.loans = 1;
          requests.position = bytes;
          return piece;
        });
      const first = lendAll();
      for (const piece of first) piece.giveBack();
      expect(new Set(lendAll())).toEqual(new Set(first));
      for (const piece of first.slice(1)) piece.giveBack();
      vi.runAllTimers();
      expect(requests.piecesCount).toBe(limits.fuseWritePiecesKept);
      expect(first[0]?.loans).toBe(1);
    } finally {
      vi.useRealTimers();
    }
  });
});
