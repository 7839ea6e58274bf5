import { expect, test } from 'vitest';
import { OpenFiles } from '../../src/fuse-native/open-files.js';
import { foldIno, join64, statOf, statvfsOf, timeOf } from '../../src/fuse-native/structures.js';

const attributes = {
  ino: 0x1234_5678_9abc_def0n,
  kind: 'file',
  mode: 0o4755,
  nlink: 2,
  uid: 1000,
  gid: 1001,
  rdev: 0x103,
  size: 2 ** 40 + 5,
  blocks: 2 ** 33,
  atime: { s: 2_000_000_000, ns: 123_456_789 },
  mtime: { s: -5, ns: 0 },
  ctime: { s: 0, ns: 999_999_999 },
} as const;

const pair = (words: Uint32Array, at: number): number => join64(words[at] as number, words[at + 1] as number);

test('struct stat has 64 bits of size, milliseconds, and nothing before 1970', () => {
  const words = statOf(attributes, attributes.size);
  expect([...words.subarray(0, 3), words[6], words[8]]).toEqual([0o104755, 1000, 1001, 2, 0x103]);
  expect([3, 10, 12, 14, 16].map((at) => pair(words, at))).toEqual([
    2 ** 40 + 5,
    2 ** 33,
    2_000_000_000_123,
    0,
    999,
  ]);
});

test('an inode number is folded to 32 bits and never 0', () => {
  expect(foldIno(attributes.ino)).toBe((0x1234_5678 ^ 0x9abc_def0) >>> 0);
  expect(foldIno(0x5_0000_0005n)).toBe(1);
  expect(foldIno(1n)).toBe(1);
});

test('times before 1970 come as they went', () => {
  expect(timeOf(1500n)).toEqual({ s: 1, ns: 500_000_000 });
  expect(timeOf(2n ** 64n - 1500n)).toEqual({ s: -2, ns: 500_000_000 });
});

test('a disk too large for 32 bits of blocks has larger blocks', () => {
  const words = statvfsOf({
    blockBytes: 4096,
    blocks: 2 ** 34,
    blocksFree: 2 ** 33,
    blocksAvailable: 2 ** 33 - 8,
    files: 2 ** 40,
    filesFree: 7,
    nameBytesMax: 255,
  });
  expect([...words]).toEqual([
    4096 * 8,
    4096 * 8,
    2 ** 31,
    2 ** 30,
    2 ** 30 - 1,
    2 ** 32 - 1,
    7,
    7,
    0,
    0,
    255,
  ]);
});

test('open files have numbers of their own, and a text its size while it is open', () => {
  const files = new OpenFiles();
  const node = { nodeId: 9 };
  const first = files.add({ handle: 1, node, textBytes: 10 });
  const second = files.add({ handle: 2, node, textBytes: 20 });
  expect([first, second, files.textBytesOf(9), files.isOpen(9)]).toEqual([1, 2, 20, true]);
  expect(files.remove(first).handle).toBe(1);
  expect(files.textBytesOf(9)).toBe(20);
  files.remove(second);
  expect([files.textBytesOf(9), files.isOpen(9), files.size]).toEqual([undefined, false, 0]);
  expect(() => files.get(second)).toThrow('no open file');
});
