import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { Body, ByteRange, PartInfo } from './object-store.js';

/** Refuses what the port does not allow as a key, the same in every store. */
export function checkKey(key: string): void {
  const problem = keyProblem(key);
  if (problem !== null)
    throw new ArtifactError('Invalid', `object key ${JSON.stringify(key.slice(0, 100))}: ${problem}`);
}

function keyProblem(key: string): string | null {
  if (key === '') return 'is empty';
  if (key.startsWith('/')) return 'starts with a slash';
  if (key.includes('\0')) return 'holds a NUL';
  if (/\p{Surrogate}/u.test(key)) return 'is not valid Unicode';
  if (Buffer.byteLength(key) > limits.storeKeyBytesMax)
    return `is longer than ${limits.storeKeyBytesMax} bytes`;
  return null;
}

export function checkRange(key: string, range: ByteRange): void {
  const { offset, length } = range;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 1)
    throw new ArtifactError('Invalid', `object ${key}: range ${offset}+${length} is not a range`);
}

export function checkPart(key: string, part: number): void {
  if (!Number.isInteger(part) || part < 1 || part > limits.partsMax)
    throw new ArtifactError('Invalid', `object ${key}: part ${part} is not in 1..${limits.partsMax}`);
}

/** The list handed to completeMultipart: not empty, ascending, and every part but the last large enough. */
export function checkPartList(key: string, parts: readonly PartInfo[]): void {
  if (parts.length === 0) throw new ArtifactError('Invalid', `object ${key}: no parts to complete`);
  let previous = 0;
  for (const [index, { part, size }] of parts.entries()) {
    checkPart(key, part);
    if (part <= previous) throw new ArtifactError('Invalid', `object ${key}: parts are not in order`);
    if (index < parts.length - 1 && size < limits.storePartBytesMin)
      throw new ArtifactError('Invalid', `object ${key}: part ${part} has ${size} bytes, too few`);
    previous = part;
  }
}

export const notFound = (key: string, cause?: unknown): ArtifactError =>
  new ArtifactError('NotFound', `object ${key} does not exist`, { key }, cause);

export const uploadNotFound = (key: string, uploadId: string, cause?: unknown): ArtifactError =>
  new ArtifactError('NotFound', `upload ${uploadId} of object ${key} does not exist`, { key }, cause);

export const exists = (key: string, cause?: unknown): ArtifactError =>
  new ArtifactError('Exists', `object ${key} exists already`, { key }, cause);

export const wrongLength = (key: string, wanted: number, got: number, cause?: unknown): ArtifactError =>
  new ArtifactError('Corrupt', `object ${key}: ${got} bytes instead of ${wanted}`, { key }, cause);

/** Bytes past the end were asked for: the object is shorter than what is known of it. */
export const pastTheEnd = (key: string, range: ByteRange, cause?: unknown): ArtifactError =>
  new ArtifactError(
    'Corrupt',
    `object ${key} ends before byte ${range.offset + range.length}`,
    { key },
    cause,
  );

export const partsSize = (parts: readonly PartInfo[]): number =>
  parts.reduce((sum, { size }) => sum + size, 0);

export const bodyChunks = (body: Body): readonly Buffer[] => (Buffer.isBuffer(body) ? [body] : body);

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw interrupted(signal);
}

export const interrupted = (signal: AbortSignal, cause?: unknown): ArtifactError =>
  new ArtifactError('Interrupted', 'the request was interrupted', {}, cause ?? signal.reason);
