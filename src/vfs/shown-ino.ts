/**
 * st_ino: 64 bits made of the artifact's id, the space inside it (working view, control files, or one version) and
 * the file's own number. The same in every mount and after every restart. For one artifact and space it is a
 * permutation of the 64-bit numbers, so two files of one tree never share it; across trees it is a hash.
 */
export interface InoKey {
  readonly a: number;
  readonly b: number;
}

export const workingSpace = 0;
export const controlSpace = 1;
export const versionSpace = (version: number): number => version + 16;

export function inoKey(artifactId: string, space: number): InoKey {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (let i = 0; i < artifactId.length; i++) {
    const code = artifactId.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b) + 0x7f4a7c15;
  }
  return { a: scramble(a, space), b: scramble(b, space ^ 0x5bd1e995) };
}

const words = new DataView(new ArrayBuffer(8));

/** `ino` is a whole number 0..2^53-1. Never 0 or 1: readers of directories skip 0, and 1 is the mount's root. */
export function shownIno(key: InoKey, ino: number): bigint {
  // Four rounds of a Feistel network: each half is changed by a function of the other, which can be undone.
  let low = ino >>> 0;
  let high = Math.floor(ino / 2 ** 32);
  high ^= scramble(low, key.a);
  low ^= scramble(high, key.b);
  high ^= scramble(low, key.a + 0x3c6ef372);
  low ^= scramble(high, key.b + 0x1b873593);
  words.setInt32(0, low, true);
  words.setInt32(4, high, true);
  const shown = words.getBigUint64(0, true);
  return shown > 1n ? shown : shown + 2n;
}

function scramble(value: number, key: number): number {
  let x = Math.imul(value ^ key, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return x ^ (x >>> 16) ^ Math.imul(key, 0x27d4eb2f);
}
