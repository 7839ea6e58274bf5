import { limits } from '../model/limits.js';

/**
 * Content-defined cuts: whether a range ends after a key depends on that key alone, so two writers that hold the same
 * names cut at the same places and share what lies between.
 */
export class Boundaries {
  readonly #threshold: number;
  #dir: string | undefined;
  #dirHash = 0;

  /** One key in `target` ends a range. */
  constructor(target: number = limits.rangeEntriesTarget) {
    this.#threshold = Math.floor(2 ** 32 / target);
  }

  endsRange(dir: string, name: string): boolean {
    if (dir !== this.#dir) {
      this.#dir = dir;
      this.#dirHash = fnv1aStep(fnv1a(fnvStart, dir), 0);
    }
    return mix(fnv1a(this.#dirHash, name)) < this.#threshold;
  }
}

const fnvStart = 0x811c9dc5;
const fnvPrime = 0x01000193;

const fnv1aStep = (hash: number, unit: number): number => Math.imul(hash ^ unit, fnvPrime);

/** FNV-1a, 32 bits, over UTF-16 code units. */
function fnv1a(hash: number, text: string): number {
  let h = hash;
  for (let i = 0; i < text.length; i++) h = fnv1aStep(h, text.charCodeAt(i));
  return h;
}

/** FNV spreads its last units badly over the high bits; two rounds of xor-shift and multiply (Murmur3's) repair that. */
function mix(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
