import type { Extent } from '../../model/entry.js';

/** Bytes from `start` up to, not including, `end`. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

/**
 * Which bytes of which objects some files consist of. Files that lie one after the other in an object become one span, and
 * bytes that several files share count once.
 */
export class ObjectRanges {
  readonly #objects = new Map<string, { start: number; end: number }[]>();

  add(extents: readonly Extent[]): void {
    for (const { object, offset, length } of extents) {
      if (object === null || length === 0) continue;
      const spans = this.#objects.get(object);
      const last = spans?.at(-1);
      if (spans === undefined) this.#objects.set(object, [{ start: offset, end: offset + length }]);
      else if (last !== undefined && offset >= last.start && offset <= last.end)
        last.end = Math.max(last.end, offset + length);
      else spans.push({ start: offset, end: offset + length });
    }
  }

  get count(): number {
    return this.#objects.size;
  }

  get objects(): Iterable<string> {
    return this.#objects.keys();
  }

  /** In the order in which they were added; the spans of each in their own order, apart from each other. */
  *all(): Generator<{ object: string; spans: readonly ByteSpan[] }> {
    for (const [object, spans] of this.#objects) yield { object, spans: merged(spans) };
  }
}

function merged(spans: readonly ByteSpan[]): ByteSpan[] {
  const found: { start: number; end: number }[] = [];
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    const last = found.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else found.push({ start, end });
  }
  return found;
}
