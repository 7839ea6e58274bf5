import { Readable } from 'node:stream';
import { ArtifactError } from '../../model/errors.js';
import { pastTheEnd, wrongLength } from '../keys.js';
import type { ByteRange, CallOptions, GetOptions, ObjectInfo, PartInfo } from '../object-store.js';
import type { BodySink } from './get-pools.js';
import type { AnswerHead } from './http-head.js';
import { collect, crc32Base64 } from './s3-body.js';

/** What S3 says, in the words of the port. */

/** What a GET is answered with, besides the bytes in the sink. */
export interface GetReply {
  readonly length: number | undefined;
  readonly range: string | undefined;
  readonly crc32: string | undefined;
  readonly crc32Type: string | undefined;
  /** Where the sink did not take the bytes. */
  readonly body: unknown;
}

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

/** Takes the body of a whole object, of which it makes the memory. */
export class WholeSink implements BodySink {
  taken = false;
  bytes: Buffer = Buffer.alloc(0);
  readonly #onReceived: ((bytes: number) => void) | undefined;

  constructor(options: GetOptions | undefined) {
    this.#onReceived = options?.onReceived;
  }

  accept(_head: AnswerHead, length: number): Buffer {
    this.bytes = Buffer.allocUnsafeSlow(length);
    return this.bytes;
  }

  received(bytes: number): void {
    this.#onReceived?.(bytes);
  }
}

/**
 * Takes the body of a range, if it is what was asked for or the beginning of that, so that only the rest need be asked for
 * again: else the answer is left to `rangeBody`, which says why.
 */
export class RangeSink implements BodySink {
  taken = false;
  readonly bytes: Buffer;
  readonly #offset: number;
  readonly #onReceived: ((bytes: number) => void) | undefined;

  constructor(range: ByteRange, options: GetOptions | undefined) {
    this.#offset = range.offset;
    this.bytes = options?.into ?? Buffer.allocUnsafeSlow(range.length);
    this.#onReceived = options?.onReceived;
  }

  accept({ headers }: AnswerHead, length: number): Buffer | null {
    return length <= this.bytes.length && firstByte(headers['content-range']) === this.#offset
      ? this.bytes.subarray(0, length)
      : null;
  }

  received(bytes: number): void {
    this.#onReceived?.(bytes);
  }
}

/** A whole object, checked against the CRC32 that the service kept, where it did. */
export async function wholeBody(key: string, answer: GetReply, sink: WholeSink): Promise<Buffer> {
  const bytes = sink.taken
    ? sink.bytes
    : await collect(key, bodyOf(answer), Buffer.allocUnsafeSlow(required(answer.length, 'a length')));
  const { crc32: wanted, crc32Type: type } = answer;
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
  answer: GetReply,
  range: ByteRange,
  sink: RangeSink,
): Promise<Buffer> {
  const problem = rangeProblem(key, answer, range);
  if (problem !== null) {
    if (answer.body instanceof Readable) answer.body.destroy();
    throw problem;
  }
  return sink.taken ? sink.bytes : collect(key, bodyOf(answer), sink.bytes);
}

function rangeProblem(key: string, answer: GetReply, range: ByteRange): ArtifactError | null {
  const { range: sent, length } = answer;
  const first = firstByte(sent);
  const total = sent === undefined ? length : Number(/\/(\d+)$/.exec(sent)?.[1] ?? Number.NaN);
  if (total !== undefined && total < range.offset + range.length) return pastTheEnd(key, range);
  if (first !== range.offset)
    return new ArtifactError('Corrupt', `object ${key}: bytes from ${first} instead of ${range.offset}`);
  if (length !== undefined && length !== range.length) return wrongLength(key, range.length, length);
  return null;
}

/** Where an answer's bytes begin in the object. */
const firstByte = (contentRange: string | undefined): number =>
  contentRange === undefined ? 0 : Number(/^bytes (\d+)-/.exec(contentRange)?.[1] ?? Number.NaN);

function bodyOf(answer: GetReply): Readable {
  if (answer.body instanceof Readable) return answer.body;
  throw new ArtifactError('StoreUnavailable', 'the S3 answer is without a body');
}
