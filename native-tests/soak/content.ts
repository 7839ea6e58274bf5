import { Random } from './random.js';

/** A prime, so that no shift by a power of two shows the same bytes. */
const patternBytes = 65_521;
const patternsMax = 200;
const patterns = new Map<number, Buffer>();

interface Segment {
  /** 0: zeros. Else the bytes depend on it and on their offset in the file. */
  readonly seed: number;
  readonly length: number;
}

/** What a file must hold, as the writes that made it; never changes. */
export class Content {
  static readonly empty = new Content([]);
  readonly size: number;
  readonly #segments: readonly Segment[];

  private constructor(segments: readonly Segment[]) {
    this.#segments = segments;
    this.size = segments.reduce((sum, { length }) => sum + length, 0);
  }

  static of(seed: number, length: number): Content {
    return Content.empty.written(0, length, seed);
  }

  written(offset: number, length: number, seed: number): Content {
    if (length === 0) return this;
    const padded = this.size < offset ? this.cut(offset) : this;
    return new Content([
      ...padded.#part(0, offset),
      { seed, length },
      ...padded.#part(Math.min(offset + length, padded.size), padded.size),
    ]);
  }

  /** Shorter, or longer by zeros. */
  cut(size: number): Content {
    if (size <= this.size) return new Content(this.#part(0, size));
    return new Content([...this.#segments, { seed: 0, length: size - this.size }]);
  }

  /** The bytes from `offset`, at most `length`. */
  bytes(offset: number, length: number): Buffer {
    const into = Buffer.alloc(Math.max(0, Math.min(length, this.size - offset)));
    let at = 0;
    for (const segment of this.#segments) {
      const from = Math.max(at, offset);
      const to = Math.min(at + segment.length, offset + into.length);
      if (from < to && segment.seed !== 0)
        fill(into.subarray(from - offset, to - offset), segment.seed, from);
      at += segment.length;
      if (at >= offset + into.length) break;
    }
    return into;
  }

  #part(from: number, to: number): Segment[] {
    const part: Segment[] = [];
    let at = 0;
    for (const { seed, length } of this.#segments) {
      const low = Math.max(at, from);
      const high = Math.min(at + length, to);
      if (low < high) part.push({ seed, length: high - low });
      at += length;
    }
    return part;
  }
}

/** The bytes of a write: `target` begins at this offset of the file. */
function fill(target: Buffer, seed: number, offset: number): void {
  const pattern = patternOf(seed);
  let done = 0;
  while (done < target.length) {
    const from = (offset + done) % patternBytes;
    done += pattern.copy(target, done, from);
  }
}

function patternOf(seed: number): Buffer {
  let pattern = patterns.get(seed);
  if (pattern === undefined) {
    const random = new Random(seed);
    pattern = Buffer.alloc(patternBytes);
    for (let i = 0; i + 4 <= patternBytes; i += 4) pattern.writeUInt32LE(random.below(2 ** 32), i);
  } else patterns.delete(seed);
  patterns.set(seed, pattern);
  const oldest = patterns.keys().next().value;
  if (patterns.size > patternsMax && oldest !== undefined) patterns.delete(oldest);
  return pattern;
}

/** Where two pieces differ first, in words; null: nowhere. */
export function difference(found: Buffer, expected: Buffer, at: number): string | null {
  if (found.equals(expected)) return null;
  if (found.length < expected.length)
    return `ends at ${at + found.length}, not at ${at + expected.length} or later`;
  let i = 0;
  while (found[i] === expected[i]) i++;
  const show = (bytes: Buffer): string => bytes.subarray(i, i + 16).toString('hex');
  return `differs from byte ${at + i} on: ${show(found)} is there, ${show(expected)} was written`;
}
