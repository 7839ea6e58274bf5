import { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { ArtifactError } from '../../model/errors.js';
import { pastTheEnd, wrongLength } from '../keys.js';
import type { ByteRange, CallOptions, ObjectInfo, PartInfo } from '../object-store.js';
import { collect, crc32Base64 } from './s3-body.js';

/** What S3 says, in the words of the port. */

export const rangeHeader = ({ offset, length }: ByteRange): string =>
  `bytes=${offset}-${offset + length - 1}`;

export const abortOf = (options: CallOptions | undefined) =>
  options?.signal === undefined ? {} : { abortSignal: options.signal };

export const etagOf = (etag: string | undefined): string =>
  required(etag, 'an ETag').replace(/^"(.*)"$/, '$1');

export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new ArtifactError('StoreUnavailable', `the S3 answer is without ${what}`);
  return value;
}

export const objectInfo = (
  key: string,
  size: number | undefined,
  etag: string | undefined,
  modified: Date | undefined,
): ObjectInfo => ({
  key,
  size: required(size, 'a size'),
  etag: etagOf(etag),
  modifiedMs: required(modified, 'a time').getTime(),
});

export const partInfo = (
  part: number,
  etag: string | undefined,
  size: number,
  crc32: string | undefined,
): PartInfo => ({ part, etag: etagOf(etag), size, ...(crc32 === undefined ? {} : { crc32 }) });

/** A whole object, checked against the CRC32 that the service kept, where it did. */
export async function wholeBody(key: string, answer: GetObjectCommandOutput): Promise<Buffer> {
  const bytes = await collect(key, bodyOf(answer), required(answer.ContentLength, 'a length'));
  const { ChecksumCRC32: wanted, ChecksumType: type } = answer;
  if (
    wanted !== undefined &&
    type !== 'COMPOSITE' &&
    !wanted.includes('-') &&
    wanted !== crc32Base64([bytes])
  )
    throw new ArtifactError('Corrupt', `object ${key}: the bytes received do not have its checksum`, { key });
  return bytes;
}

/** Exactly the range that was asked for: a service that sends another is not believed. */
export async function rangeBody(
  key: string,
  answer: GetObjectCommandOutput,
  range: ByteRange,
): Promise<Buffer> {
  const body = bodyOf(answer);
  const problem = rangeProblem(key, answer, range);
  if (problem !== null) {
    body.destroy();
    throw problem;
  }
  return collect(key, body, range.length);
}

function rangeProblem(key: string, answer: GetObjectCommandOutput, range: ByteRange): ArtifactError | null {
  const { ContentRange: sent, ContentLength: length } = answer;
  const first = sent === undefined ? 0 : Number(/^bytes (\d+)-/.exec(sent)?.[1] ?? Number.NaN);
  const total = sent === undefined ? length : Number(/\/(\d+)$/.exec(sent)?.[1] ?? Number.NaN);
  if (total !== undefined && total < range.offset + range.length) return pastTheEnd(key, range);
  if (first !== range.offset)
    return new ArtifactError('Corrupt', `object ${key}: bytes from ${first} instead of ${range.offset}`);
  if (length !== undefined && length !== range.length) return wrongLength(key, range.length, length);
  return null;
}

function bodyOf(answer: GetObjectCommandOutput): Readable {
  if (answer.Body instanceof Readable) return answer.Body;
  throw new ArtifactError('StoreUnavailable', 'the S3 answer is without a body');
}
