import { createHash } from 'node:crypto';

/** A piece of a file that names who wrote it. A file is some of them one after another. */
export interface Chunk {
  /** Written once in a run. */
  readonly tag: string;
  readonly size: number;
}

export class Unknown extends Error {
  override name = 'Unknown';
}

/** A prime, so that no shift by a power of two shows the same bytes. */
const patternBytes = 4099;
const headBytesMax = 80;

export const smallestChunk = headBytesMax;

/** `<tag size>`, then bytes that only this chunk has. */
export function bytesOf({ tag, size }: Chunk): Buffer {
  const head = `<${tag} ${size}>`;
  const parts: Buffer[] = [];
  for (let n = 0; n * 64 < patternBytes; n++) parts.push(createHash('sha512').update(`${head}${n}`).digest());
  const bytes = Buffer.alloc(size, Buffer.concat(parts).subarray(0, patternBytes));
  bytes.write(head, 'latin1');
  return bytes;
}

/** The chunks that `bytes` are made of, every byte compared. Throws `Unknown` when they are not. */
export function chunksOf(bytes: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 0; at < bytes.length; ) {
    const head = bytes.subarray(at, at + headBytesMax).toString('latin1');
    const match = /^<([^ <>]+) (\d+)>/.exec(head);
    if (match === null)
      throw new Unknown(`no chunk begins at byte ${at} of ${bytes.length}: ${JSON.stringify(head)}`);
    const chunk = { tag: match[1] ?? '', size: Number(match[2]) };
    if (!bytes.subarray(at, at + chunk.size).equals(bytesOf(chunk)))
      throw new Unknown(`the chunk ${chunk.tag} at byte ${at} of ${bytes.length} is not what was written`);
    chunks.push(chunk);
    at += chunk.size;
  }
  return chunks;
}

/** What a file holds, in a word. */
export const nameOf = (chunks: readonly Chunk[]): string => chunks.map(({ tag }) => tag).join('+');
