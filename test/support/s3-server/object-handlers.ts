import { isoTime } from './bucket-handlers.js';
import type { StoredObject } from './buckets.js';
import { checkCopySource, checkRead, checkWrite } from './conditions.js';
import { type Answer, bucketOf, type Context, header, metadataOf } from './context.js';
import { invalidArgument, S3Error } from './s3-error.js';
import { decode } from './sigv4.js';
import { tags, xmlDocument } from './xml.js';

export function putObject(context: Context): Answer {
  const { payload, key } = context;
  const bucket = bucketOf(context);
  checkWrite(context);
  bucket.put(key, {
    blob: payload.blob,
    etag: payload.etag,
    modifiedMs: Date.now(),
    metadata: metadataOf(context),
    contentType: header(context, 'content-type') || 'binary/octet-stream',
    ...(payload.crc32 === undefined ? {} : { crc32: payload.crc32, crc32Type: 'FULL_OBJECT' as const }),
  });
  return { status: 200, headers: { etag: `"${payload.etag}"`, ...crcHeaders(bucket.get(key)) } };
}

export function copyObject(context: Context): Answer {
  const { source } = copySource(context);
  const bucket = bucketOf(context);
  checkWrite(context);
  const object = {
    ...source,
    blob: context.storage.slice(source.blob, 0, source.blob.size),
    modifiedMs: Date.now(),
    ...(header(context, 'x-amz-metadata-directive') === 'REPLACE' ? { metadata: metadataOf(context) } : {}),
  };
  bucket.put(context.key, object);
  const result = tags({ ETag: `"${object.etag}"`, LastModified: isoTime(object.modifiedMs) });
  return { status: 200, body: xmlDocument('CopyObjectResult', result) };
}

export function getObject(context: Context): Answer {
  const object = objectOf(context);
  const base = objectHeaders(object);
  if (checkRead(context, object) === 'unchanged') return { status: 304, headers: { etag: base.etag } };
  const range = parseRange(header(context, 'range'), object.blob.size);
  const [start, end] = range ?? [0, object.blob.size];
  return {
    status: range === null ? 200 : 206,
    headers: {
      ...base,
      'content-length': end - start,
      ...(range === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${object.blob.size}` }),
      ...(range === null ? checksumHeaders(context, object) : {}),
    },
    body: { blob: object.blob, start, end },
  };
}

export function headObject(context: Context): Answer {
  const object = objectOf(context);
  const base = objectHeaders(object);
  if (checkRead(context, object) === 'unchanged') return { status: 304, headers: { etag: base.etag } };
  return {
    status: 200,
    headers: { ...base, 'content-length': object.blob.size, ...checksumHeaders(context, object) },
  };
}

export function deleteObject(context: Context): Answer {
  const bucket = bucketOf(context);
  if (bucket.get(context.key) !== undefined) checkWrite(context);
  bucket.delete(context.key);
  return { status: 204 };
}

function objectOf(context: Context): StoredObject {
  const object = bucketOf(context).get(context.key);
  if (object === undefined) throw new S3Error(404, 'NoSuchKey', 'The key does not exist');
  return object;
}

const objectHeaders = (object: StoredObject) => ({
  etag: `"${object.etag}"`,
  'last-modified': new Date(object.modifiedMs).toUTCString(),
  'accept-ranges': 'bytes',
  'content-type': object.contentType,
  ...object.metadata,
});

const checksumHeaders = (context: Context, object: StoredObject): Record<string, string> =>
  header(context, 'x-amz-checksum-mode') === 'ENABLED' ? crcHeaders(object) : {};

const crcHeaders = (object: StoredObject | undefined): Record<string, string> =>
  object?.crc32 === undefined
    ? {}
    : { 'x-amz-checksum-crc32': object.crc32, 'x-amz-checksum-type': object.crc32Type ?? 'FULL_OBJECT' };

/** [start, end) of a Range header, or null for the whole: a header that is none is ignored, as HTTP says. */
function parseRange(text: string, size: number): [number, number] | null {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(text.trim()) ?? [];
  if (first === '' && last === '') return null;
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (start >= size || (first !== '' && last !== '' && Number(last) < start))
    throw new S3Error(416, 'InvalidRange', 'The range is not in the object');
  return [start, end];
}

/** The object that x-amz-copy-source names, and the range of it. */
export function copySource(context: Context): { source: StoredObject; start: number; end: number } {
  const text = header(context, 'x-amz-copy-source').replace(/^\//, '').replace(/\?.*$/, '');
  const [, bucketName = '', key = ''] = /^([^/]+)\/(.+)$/s.exec(decode(text)) ?? [];
  const bucket = context.buckets.get(bucketName);
  if (bucket === undefined) throw new S3Error(404, 'NoSuchBucket', 'The source bucket does not exist');
  const source = bucket.get(key);
  if (source === undefined) throw new S3Error(404, 'NoSuchKey', 'The source key does not exist');
  checkCopySource(context, source);
  const range = header(context, 'x-amz-copy-source-range');
  if (range === '') return { source, start: 0, end: source.blob.size };
  const [, first = '', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  if (first === '' || Number(last) >= source.blob.size || Number(last) < Number(first))
    throw invalidArgument('The range is not in the source object');
  return { source, start: Number(first), end: Number(last) + 1 };
}
