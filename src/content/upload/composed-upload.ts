import type { ObjectStore, PartInfo } from '../../store/object-store.js';
import { crashPoint } from '../../util/crash-point.js';
import { anySignal } from '../../util/shared-signal.js';
import type { TransferQueue } from '../transfer-queue.js';
import type { ComposedPart } from './compose-plan.js';
import { type ByteSource, PartBody, type PartBuffers } from './part-body.js';
import { verifyStored } from './verify-stored.js';

export interface ComposedUploadParts {
  readonly store: ObjectStore;
  readonly queue: TransferQueue;
  readonly buffers: PartBuffers;
}

export interface Composition {
  /** Of the new object. */
  readonly key: string;
  readonly size: number;
  readonly parts: readonly ComposedPart[];
  /** The full key of an object that a part is copied from. */
  readonly keyOf: (object: string) => string;
  /** Of the parts that are sent, by their place in the new object. */
  readonly source: ByteSource;
}

/** A request that moves no bytes of ours still takes a place in the queue. */
const copyRequestBytes = 1;

/**
 * Makes an object out of pieces of others, which the store copies itself, and of bytes that are sent. It is there and has
 * its size when this resolves; nothing is left of it when this throws. `Unsupported`: this store cannot copy parts.
 */
export async function compose(
  { store, queue, buffers }: ComposedUploadParts,
  { key, size, parts, keyOf, source }: Composition,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const failed = new AbortController();
  using either = anySignal(signal, failed.signal);
  const options = { signal: either.signal };
  const uploadId = await store.createMultipart(key, { signal });
  const send = async (part: number, { start, length }: ComposedPart): Promise<PartInfo> => {
    const body = await PartBody.read(source, start, length, buffers);
    try {
      return await store.uploadPart(key, uploadId, part, body.chunks, { ...options, crc32: body.crc32 });
    } finally {
      await body.release(buffers);
    }
  };
  const transfer = async (part: number, what: ComposedPart): Promise<PartInfo> => {
    const { copy, length } = what;
    const run = async () => {
      either.signal.throwIfAborted();
      if (copy === null) return send(part, what);
      const { object, offset } = copy;
      return store.copyPart(key, uploadId, part, { key: keyOf(object), offset, length }, options);
    };
    const info = await queue.run(copy === null ? length : copyRequestBytes, true, run).promise;
    onBytes(length);
    return info;
  };
  try {
    const infos = await all(
      parts.map((part, i) => transfer(i + 1, part)),
      failed,
    );
    crashPoint('upload-object-composed');
    await store.completeMultipart(key, uploadId, infos, { signal });
    await verifyStored(store, key, size, signal);
  } catch (error) {
    // What cannot be aborted now goes when the store cleans up unfinished uploads.
    await store.abortMultipart(key, uploadId).catch(() => {});
    throw error;
  }
}

/** The first failure stops the others, and is thrown when all have ended. */
async function all<T>(work: readonly Promise<T>[], failed: AbortController): Promise<T[]> {
  let first: { error: unknown } | undefined;
  for (const each of work) {
    each.catch((error: unknown) => {
      first ??= { error };
      failed.abort(error);
    });
  }
  await Promise.allSettled(work);
  if (first !== undefined) throw first.error;
  return Promise.all(work);
}
