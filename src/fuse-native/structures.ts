import { typeBits } from '../fuse/protocol/attributes.js';
import type { Kind, Time } from '../model/entry.js';
import type { Attributes, FileSystemStatistics } from '../vfs/file-system.js';

/** Structures of C as the binding takes them: words of 32 bits. */

const twoTo32 = 2 ** 32;
const blockBytes = 4096;

/** `struct stat`. Times have milliseconds and begin in 1970; inode numbers are folded to 32 bits. */
export function statOf(attributes: Attributes, size: number): Uint32Array {
  const words = new Uint32Array(18);
  words[0] = typeBits[attributes.kind] | (attributes.mode & 0o7777);
  words[1] = attributes.uid;
  words[2] = attributes.gid;
  set64(words, 3, size);
  words[6] = attributes.nlink;
  words[7] = foldIno(attributes.ino);
  words[8] = attributes.rdev;
  words[9] = blockBytes;
  set64(words, 10, attributes.blocks);
  set64(words, 12, milliseconds(attributes.atime));
  set64(words, 14, milliseconds(attributes.mtime));
  set64(words, 16, milliseconds(attributes.ctime));
  return words;
}

export const noStat = new Uint32Array(18);

/** What a directory tells of an entry. */
export function entryStat(kind: Kind, ino: bigint): Uint32Array {
  const words = new Uint32Array(18);
  words[0] = typeBits[kind];
  words[7] = foldIno(ino);
  return words;
}

/** `struct statvfs`, in larger blocks where 32 bits would not hold their number. */
export function statvfsOf(statistics: FileSystemStatistics): Uint32Array {
  let factor = 1;
  while (statistics.blocks / factor >= twoTo32) factor *= 2;
  const words = new Uint32Array(11);
  words[0] = statistics.blockBytes * factor;
  words[1] = statistics.blockBytes * factor;
  words[2] = Math.floor(statistics.blocks / factor);
  words[3] = Math.floor(statistics.blocksFree / factor);
  words[4] = Math.floor(statistics.blocksAvailable / factor);
  words[5] = Math.min(statistics.files, twoTo32 - 1);
  words[6] = Math.min(statistics.filesFree, twoTo32 - 1);
  words[7] = words[6];
  words[10] = statistics.nameBytesMax;
  return words;
}

export const noStatvfs = new Uint32Array(11);

/** Never 0, which readers of directories skip. */
export function foldIno(ino: bigint): number {
  const folded = Number((ino ^ (ino >> 32n)) & 0xffff_ffffn);
  return folded === 0 ? 1 : folded;
}

/** A number that came as two words. */
export const join64 = (low: number, high: number): number => low + high * twoTo32;

/** Milliseconds of an unsigned 64-bit number: those before 1970 have come round. */
export function timeOf(unsigned: bigint): Time {
  const ms = Number(BigInt.asIntN(64, unsigned));
  const s = Math.floor(ms / 1000);
  return { s, ns: (ms - s * 1000) * 1_000_000 };
}

function set64(words: Uint32Array, at: number, value: number): void {
  words[at] = value % twoTo32;
  words[at + 1] = Math.floor(value / twoTo32);
}

const milliseconds = ({ s, ns }: Time): number => Math.max(0, s * 1000 + Math.floor(ns / 1e6));
