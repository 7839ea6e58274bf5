import { limits } from '../../model/limits.js';
import type { MapExtent } from '../extent-map.js';
import { partBase } from './part-plan.js';

const { storePartBytesMin: partBytesMin, copiedPieceBytesMin } = limits;

/** One part of an object that is put together anew: [start, start + length) of it. */
export interface ComposedPart {
  readonly start: number;
  readonly length: number;
  /** The store copies it from here; null: it is sent. */
  readonly copy: { readonly object: string; readonly offset: number } | null;
}

/**
 * Cuts an object of `size` bytes, made of `pieces` (gaps are zeros), into parts. Large pieces that are in the store are
 * copied there. What is between them is sent, with as much of the following piece as makes it a part: every one but the
 * last has at least 5 MiB.
 */
export function composeParts(pieces: readonly MapExtent[], size: number): ComposedPart[] {
  const parts: ComposedPart[] = [];
  const sentBytes = partBase(size);
  const copiedBytes = Math.max(limits.copiedPartBytesTarget, sentBytes);
  let done = 0;
  for (const { start, length, source } of pieces) {
    if (source.type !== 'object' || length < copiedPieceBytesMin) continue;
    const from = start === done ? start : Math.max(start, done + partBytesMin);
    const end = start + length;
    if (end - from < partBytesMin) continue;
    cut(parts, done, from, sentBytes, () => null);
    cut(parts, from, end, copiedBytes, (at) => ({
      object: source.object,
      offset: source.offset + at - start,
    }));
    done = end;
  }
  cut(parts, done, size, sentBytes, () => null);
  return parts;
}

/** Equal parts of `bytesTarget` to twice of it, or one that is smaller. */
function cut(
  parts: ComposedPart[],
  from: number,
  to: number,
  bytesTarget: number,
  copyOf: (at: number) => ComposedPart['copy'],
): void {
  if (to === from) return;
  const count = Math.max(1, Math.floor((to - from) / bytesTarget));
  for (let i = 0; i < count; i++) {
    const start = from + Math.floor(((to - from) * i) / count);
    const end = from + Math.floor(((to - from) * (i + 1)) / count);
    parts.push({ start, length: end - start, copy: copyOf(start) });
  }
}
