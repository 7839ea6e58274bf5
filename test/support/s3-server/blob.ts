import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const readBytes = 1 << 20;

/** Bytes that were received together, in memory or, once memory is full, in a file. Shared by copies. */
interface Chunk {
  readonly length: number;
  bytes: Buffer | null;
  path: string | null;
  references: number;
}

interface Piece {
  readonly chunk: Chunk;
  readonly offset: number;
  readonly length: number;
}

/** Content of an object or a part. Immutable. */
export interface Blob {
  readonly size: number;
  readonly pieces: readonly Piece[];
}

export const emptyBlob: Blob = { size: 0, pieces: [] };

export class BlobStorage {
  readonly #memoryBytesMax: number;
  #memoryBytes = 0;
  #dir: string | null = null;
  #files = 0;

  constructor(memoryBytesMax: number) {
    this.#memoryBytesMax = memoryBytesMax;
  }

  /** Takes over `bytes`. */
  add(bytes: Buffer): Blob {
    if (bytes.length === 0) return emptyBlob;
    const chunk: Chunk = { length: bytes.length, bytes, path: null, references: 1 };
    if (this.#memoryBytes + bytes.length > this.#memoryBytesMax) {
      this.#dir ??= mkdtempSync(join(tmpdir(), 's3-server-'));
      chunk.path = join(this.#dir, String(this.#files++));
      writeFileSync(chunk.path, bytes, { mode: 0o600 });
      chunk.bytes = null;
    } else {
      this.#memoryBytes += bytes.length;
    }
    return { size: bytes.length, pieces: [{ chunk, offset: 0, length: bytes.length }] };
  }

  /** A range of a blob as a blob that shares its bytes. */
  slice(blob: Blob, start: number, end: number): Blob {
    const pieces: Piece[] = [];
    for (const { piece, from, to } of cut(blob, start, end)) {
      piece.chunk.references++;
      pieces.push({ chunk: piece.chunk, offset: piece.offset + from, length: to - from });
    }
    return { size: end - start, pieces };
  }

  /** Joins blobs into one that takes over their references. */
  join(blobs: readonly Blob[]): Blob {
    return {
      size: blobs.reduce((sum, { size }) => sum + size, 0),
      pieces: blobs.flatMap(({ pieces }) => pieces),
    };
  }

  async *read(blob: Blob, start = 0, end = blob.size): AsyncIterable<Buffer> {
    for (const { piece, from, to } of cut(blob, start, end)) {
      const { bytes, path } = piece.chunk;
      const first = piece.offset + from;
      if (bytes !== null) yield bytes.subarray(first, piece.offset + to);
      else if (path !== null) yield* readFile(path, first, to - from);
    }
  }

  release(blob: Blob | undefined): void {
    for (const { chunk } of blob?.pieces ?? []) {
      if (--chunk.references > 0) continue;
      if (chunk.bytes !== null) this.#memoryBytes -= chunk.length;
      else if (chunk.path !== null) void unlink(chunk.path).catch(() => undefined);
    }
  }

  close(): void {
    if (this.#dir !== null) rmSync(this.#dir, { recursive: true, force: true });
  }
}

function* cut(blob: Blob, start: number, end: number): Iterable<{ piece: Piece; from: number; to: number }> {
  let position = 0;
  for (const piece of blob.pieces) {
    const from = Math.max(0, start - position);
    const to = Math.min(piece.length, end - position);
    if (from < to) yield { piece, from, to };
    position += piece.length;
    if (position >= end) return;
  }
}

async function* readFile(path: string, offset: number, length: number): AsyncIterable<Buffer> {
  const file = await open(path);
  try {
    for (let done = 0; done < length; ) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(readBytes, length - done));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset + done);
      if (bytesRead === 0) throw new Error(`the spilled file ${path} is too short`);
      done += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
