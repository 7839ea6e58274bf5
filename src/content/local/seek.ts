import type { FileContent } from '../ports.js';

/** Where data or a hole begins at `offset` or after it; the end counts as a hole. undefined: nowhere. */
export function seekContent(content: FileContent, offset: number, what: 'data' | 'hole'): number | undefined {
  const size = content.size();
  if (offset >= size) return undefined;
  let at = offset;
  for (const { start, length } of content.pieces(offset, size - offset)) {
    if (what === 'data') return Math.max(start, offset);
    if (start > at) return at;
    at = start + length;
  }
  return what === 'data' ? undefined : at;
}
