import type { Readable } from 'node:stream';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { interrupted, partsSize, throwIfAborted } from './keys.js';
import type { CallOptions, ObjectStore, PartInfo, ProgressOptions, PutResult } from './object-store.js';

/** Parts double in size after each so many: streams of up to 585 GiB, with small parts for all but the largest. */
const partsPerSize = 2500;

/**
 * `putStream` by means of the port itself: each part is a call of its own, so a store that repeats calls repeats parts.
 * A stream of less than one part becomes a plain `put`. On failure nothing is left but, where the store is away, the
 * unfinished upload.
 */
export async function putStreamByParts(
  store: ObjectStore,
  key: string,
  source: Readable,
  options?: CallOptions & ProgressOptions,
): Promise<PutResult & { size: number }> {
  const call = options?.signal === undefined ? {} : { signal: options.signal };
  const parts = cutIntoParts(readSource(source, options?.signal), key);
  try {
    const first = await parts.next();
    const body = first.done === true ? { chunks: [], size: 0, last: true } : first.value;
    if (body.last) {
      const result = await store.put(key, body.chunks, call);
      if (body.size > 0) options?.onProgress?.(body.size);
      return { ...result, size: body.size };
    }
    const uploadId = await store.createMultipart(key, call);
    try {
      const infos = await sendParts(store, key, uploadId, body, parts, source, options);
      return { ...(await store.completeMultipart(key, uploadId, infos, call)), size: partsSize(infos) };
    } catch (error) {
      await abandon(store, key, uploadId);
      throw error;
    }
  } finally {
    await parts.return();
    source.destroy();
  }
}

interface StreamPart {
  readonly chunks: readonly Buffer[];
  readonly size: number;
  /** Known for the first part only when the stream ends in it. */
  readonly last: boolean;
}

/**
 * A few at a time. The first that fails ends the source, which may be slow; the others are waited for, so that nothing
 * is sent after the upload is aborted.
 */
async function sendParts(
  store: ObjectStore,
  key: string,
  uploadId: string,
  first: StreamPart,
  rest: AsyncIterable<StreamPart>,
  source: Readable,
  options: (CallOptions & ProgressOptions) | undefined,
): Promise<PartInfo[]> {
  const call = options?.signal === undefined ? {} : { signal: options.signal };
  const sent: PartInfo[] = [];
  const failures: unknown[] = [];
  const running = new Set<Promise<void>>();
  let part = 0;
  const send = async (body: StreamPart): Promise<void> => {
    try {
      sent.push(await store.uploadPart(key, uploadId, ++part, body.chunks, call));
      options?.onProgress?.(partsSize(sent));
    } catch (error) {
      failures.push(error);
      source.destroy();
    }
  };
  const start = (body: StreamPart): void => {
    const task = send(body).finally(() => running.delete(task));
    running.add(task);
  };
  try {
    start(first);
    for await (const body of rest) {
      if (running.size === limits.storeStreamPartsAtOnce) await Promise.race(running);
      if (failures.length > 0) break;
      start(body);
    }
  } catch (error) {
    failures.push(error);
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
  return sent.sort((a, b) => a.part - b.part);
}

/** The failure that led here is the one to tell; an upload that cannot be aborted now expires in the store. */
async function abandon(store: ObjectStore, key: string, uploadId: string): Promise<void> {
  try {
    await store.abortMultipart(key, uploadId);
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
  }
}

async function* cutIntoParts(source: AsyncIterable<Buffer>, key: string): AsyncGenerator<StreamPart, void> {
  let chunks: Buffer[] = [];
  let size = 0;
  let part = 1;
  for await (let chunk of source) {
    while (chunk.length > 0) {
      // A full part goes out when more is there, so that the last one is known to be the last.
      if (size === partBytes(part)) {
        yield { chunks, size, last: false };
        chunks = [];
        size = 0;
        if (++part > limits.partsMax)
          throw new ArtifactError('TooLarge', `the stream for ${key} is too long`);
      }
      const piece = chunk.subarray(0, partBytes(part) - size);
      chunks.push(piece);
      size += piece.length;
      chunk = chunk.subarray(piece.length);
    }
  }
  if (size > 0) yield { chunks, size, last: true };
}

const partBytes = (part: number): number =>
  limits.storeStreamPartBytes * 2 ** Math.floor((part - 1) / partsPerSize);

/** What comes from a stream, until the signal; its own errors pass as they are. */
export async function* readSource(source: Readable, signal: AbortSignal | undefined): AsyncIterable<Buffer> {
  throwIfAborted(signal);
  const abort = () => signal !== undefined && source.destroy(interrupted(signal));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for await (const chunk of source) yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
