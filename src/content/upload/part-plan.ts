import { limits } from '../../model/limits.js';

/**
 * How a file of unknown final size is cut into at most 10,000 parts that reach 5 TiB. The first half has one size,
 * because some stores insist on it (with 8 MiB that is 39 GiB); after that the size doubles every 500 parts, up to
 * the 5 GiB that a part may have. Parts are numbered from 1.
 */
const equalParts = limits.partsMax / 2;
const stepParts = 500;
const largestPartBytes = 5 * 2 ** 30;

export function partLength(part: number, base: number): number {
  if (part <= equalParts) return base;
  return Math.min(largestPartBytes, base * 2 ** Math.ceil((part - equalParts) / stepParts));
}

/** Offset of the part's first byte. */
export function partStart(part: number, base: number): number {
  const equal = Math.min(part - 1, equalParts);
  let start = equal * base;
  for (let first = equalParts + 1; first < part; first += stepParts) {
    start += Math.min(stepParts, part - first) * partLength(first, base);
  }
  return start;
}

/** The part that holds byte `offset`. */
export function partAt(offset: number, base: number): number {
  let first = 1;
  let count = equalParts;
  for (;;) {
    const start = partStart(first, base);
    const length = partLength(first, base);
    if (first >= limits.partsMax || offset < start + count * length) {
      return Math.min(limits.partsMax, first + Math.floor((offset - start) / length));
    }
    first += count;
    count = stepParts;
  }
}

/** The base for a file whose size is known: equal parts as long as memory allows to think of it. */
export function partBase(size: number): number {
  const mebibyte = 1 << 20;
  return Math.max(limits.partBytesMin, Math.ceil(size / equalParts / mebibyte) * mebibyte);
}
