import { createHash } from 'node:crypto';
import { OutgoingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { base64Crc } from '../../util/base64-crc.js';
import { bodyChunks, wrongLength } from '../keys.js';
import { type Body, bodyLength } from '../object-store.js';

/** Hashed between two turns of the event loop: about a millisecond's worth. */
const hashSliceBytes = 1 << 20;

/** A body of several buffers, sent without joining them. The length goes into the request by hand. */
export class ChunkStream extends Readable {
  readonly chunks: readonly Buffer[];
  #next = 0;
  #request: OutgoingMessage | null = null;

  constructor(chunks: readonly Buffer[]) {
    super({ highWaterMark: hashSliceBytes });
    this.chunks = chunks.filter((chunk) => chunk.length > 0);
  }

  override _read(): void {
    this.push(this.chunks[this.#next++] ?? null);
  }

  override pipe<T extends NodeJS.WritableStream>(target: T, options?: { end?: boolean }): T {
    if (target instanceof OutgoingMessage) this.#request = target;
    return super.pipe(target, options);
  }

  /** Sends no more of it: a service may answer before it has all, and Node then sends the rest. Closes the connection if so. */
  stop(): void {
    this.destroy();
    // Does nothing when all was sent: then the connection is no longer this request's.
    this.#request?.destroy();
  }
}

/** Runs the call that sends `body`. When it has failed, nobody looks at the chunks any more. */
export async function sending<T>(body: Buffer | ChunkStream, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (body instanceof ChunkStream) body.stop();
    throw error;
  }
}

/**
 * The parameters of a request that sends a body, a list of chunks as one that can be stopped. `known`: its CRC32, when the
 * caller knows it.
 */
export function requestBody(body: Body, crc32: boolean, known?: string) {
  const chunks = bodyChunks(body);
  return {
    Body: Buffer.isBuffer(body) ? body : new ChunkStream(chunks),
    ContentLength: bodyLength(body),
    ...(crc32 ? { ChecksumCRC32: known ?? crc32Base64(chunks) } : {}),
  };
}

/** Lower-case hex, without holding the event loop for the whole body. */
export async function sha256Hex(chunks: readonly Buffer[]): Promise<string> {
  const hash = createHash('sha256');
  let sinceTurn = 0;
  for (const chunk of chunks) {
    for (let offset = 0; offset < chunk.length; offset += hashSliceBytes) {
      if (sinceTurn >= hashSliceBytes) {
        await setImmediate();
        sinceTurn = 0;
      }
      const slice = chunk.subarray(offset, offset + hashSliceBytes);
      hash.update(slice);
      sinceTurn += slice.length;
    }
  }
  return hash.digest('hex');
}

/** The CRC32 of a body, as S3 writes it. */
export function crc32Base64(chunks: readonly Buffer[]): string {
  return base64Crc(chunks.reduce((crc, chunk) => crc32(chunk, crc), 0));
}

/** The whole of a response body, which must have exactly as many bytes as `bytes`. */
export function collect(key: string, body: Readable, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const { length } = bytes;
    let done = 0;
    body.on('data', (chunk: Buffer) => {
      if (done + chunk.length > length) body.destroy(wrongLength(key, length, done + chunk.length));
      else chunk.copy(bytes, done);
      done += chunk.length;
    });
    body.once('end', () => (done === length ? resolve(bytes) : reject(wrongLength(key, length, done))));
    body.once('error', reject);
    body.once('close', () => reject(new Error(`the connection closed after ${done} of ${length} bytes`)));
  });
}
