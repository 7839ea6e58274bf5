import { ArtifactError, isCode } from '../../model/errors.js';
import { partsSize, uploadNotFound } from '../keys.js';
import type { CallOptions, ObjectStore, PartInfo, PutResult } from '../object-store.js';
import { describeFailure } from './s3-errors.js';

interface Completion {
  readonly key: string;
  readonly uploadId: string;
  readonly parts: readonly PartInfo[];
}

/**
 * What a refusal to complete an upload means. One that is gone because an earlier try completed it, and only the answer
 * was lost, is a success. Some services tell of a missing upload by a 500, and some cannot leave out a part.
 */
export async function afterFailedComplete(
  store: ObjectStore,
  where: string,
  completion: Completion,
  options: CallOptions | undefined,
  error: unknown,
): Promise<PutResult> {
  const { key, uploadId, parts } = completion;
  const { name, status } = describeFailure(error);
  if (name !== 'NoSuchUpload' && name !== 'InvalidPart' && status !== 500) throw error;
  const held = await orNull(store.listParts(key, uploadId, options));
  if (held === null) {
    const made = await orNull(store.head(key, options));
    if (made?.size === partsSize(parts)) return { etag: made.etag };
    throw uploadNotFound(key, uploadId, error);
  }
  const etags = new Map(held.map(({ part, etag }) => [part, etag]));
  const asSent = parts.every(({ part, etag }) => etags.get(part) === etag);
  if (name === 'InvalidPart' && asSent && held.length > parts.length)
    throw new ArtifactError('Unsupported', `${where} cannot leave out a part of ${key}`, {}, error);
  throw error;
}

async function orNull<T>(promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (error) {
    if (isCode(error, 'NotFound')) return null;
    throw error;
  }
}
