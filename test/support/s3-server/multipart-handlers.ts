import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Blob, BlobStorage } from './blob.js';
import { isoTime, positive } from './bucket-handlers.js';
import type { MultipartUpload, StoredPart } from './buckets.js';
import { checkWrite } from './conditions.js';
import { type Answer, bucketOf, type Context, documentOf, header, metadataOf } from './context.js';
import { copySource } from './object-handlers.js';
import { invalidArgument, S3Error } from './s3-error.js';
import { elements, tags, textOf, xmlDocument } from './xml.js';

const partBytesMin = 5 << 20;
const partsMax = 10_000;
const pageMax = 1000;

export function createMultipartUpload(context: Context): Answer {
  const crc32 = context.features.checksums && header(context, 'x-amz-checksum-algorithm') === 'CRC32';
  const uploadId = bucketOf(context).startUpload({
    key: context.key,
    metadata: metadataOf(context),
    contentType: header(context, 'content-type') || 'binary/octet-stream',
    crc32,
  });
  const inner = tags({ Bucket: context.bucketName, Key: context.key, UploadId: uploadId });
  return {
    status: 200,
    headers: crc32 ? { 'x-amz-checksum-algorithm': 'CRC32' } : {},
    body: xmlDocument('InitiateMultipartUploadResult', inner),
  };
}

export function uploadPart(context: Context): Answer {
  const { payload, features } = context;
  const { bucket, upload, number } = partOf(context);
  if (features.strictPartChecksums && upload.crc32 !== (payload.crc32 !== undefined))
    throw new S3Error(400, 'InvalidRequest', 'Checksum type mismatch with the upload');
  bucket.putPart(upload, number, {
    blob: payload.blob,
    etag: payload.etag,
    modifiedMs: Date.now(),
    ...(payload.crc32 === undefined ? {} : { crc32: payload.crc32 }),
  });
  const crc = payload.crc32 === undefined ? {} : { 'x-amz-checksum-crc32': payload.crc32 };
  return { status: 200, headers: { etag: `"${payload.etag}"`, ...crc } };
}

export async function uploadPartCopy(context: Context): Promise<Answer> {
  if (!context.features.partCopy) throw new S3Error(501, 'NotImplemented', 'Parts cannot be copied');
  const { source, start, end } = copySource(context);
  const { bucket, upload, number } = partOf(context);
  const blob = context.storage.slice(source.blob, start, end);
  const crc = upload.crc32 ? { crc32: await crcOf(context.storage, blob) } : {};
  const etag = createHash('md5').update(`${source.etag} ${start}-${end}`).digest('hex');
  const part: StoredPart = { blob, etag, modifiedMs: Date.now(), ...crc };
  bucket.putPart(upload, number, part);
  const result = tags({
    ETag: `"${etag}"`,
    LastModified: isoTime(part.modifiedMs),
    ChecksumCRC32: part.crc32,
  });
  return { status: 200, body: xmlDocument('CopyPartResult', result) };
}

async function crcOf(storage: BlobStorage, blob: Blob): Promise<string> {
  let crc = 0;
  for await (const chunk of storage.read(blob)) crc = crc32(chunk, crc);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

function partOf(context: Context) {
  const bucket = bucketOf(context);
  const upload = bucket.upload(context.key, context.query.get('uploadId') ?? '');
  const number = Number(context.query.get('partNumber'));
  if (!Number.isInteger(number) || number < 1 || number > partsMax)
    throw invalidArgument('The part number must be 1 to 10,000');
  return { bucket, upload, number };
}

export function listParts(context: Context): Answer {
  const upload = bucketOf(context).upload(context.key, context.query.get('uploadId') ?? '');
  const after = positive(context.query.get('part-number-marker'), 0);
  const max = Math.min(pageMax, positive(context.query.get('max-parts'), pageMax));
  const rest = [...upload.parts].filter(([number]) => number > after).sort(([a], [b]) => a - b);
  const page = rest.slice(0, max);
  const inner = page.map(
    ([number, part]) =>
      `<Part>${tags({
        PartNumber: number,
        LastModified: isoTime(part.modifiedMs),
        ETag: `"${part.etag}"`,
        Size: part.blob.size,
        ChecksumCRC32: part.crc32,
      })}</Part>`,
  );
  const head = tags({
    Bucket: context.bucketName,
    Key: context.key,
    UploadId: upload.id,
    PartNumberMarker: after,
    NextPartNumberMarker: page.at(-1)?.[0] ?? after,
    MaxParts: max,
    IsTruncated: rest.length > page.length,
  });
  return { status: 200, body: xmlDocument('ListPartsResult', head + inner.join('')) };
}

export function listMultipartUploads(context: Context): Answer {
  const prefix = context.query.get('prefix') ?? '';
  const inner = [...bucketOf(context).uploads.values()]
    .filter(({ key }) => key.startsWith(prefix))
    .map(
      ({ key, id, startedMs }) =>
        `<Upload>${tags({ Key: key, UploadId: id, Initiated: isoTime(startedMs) })}</Upload>`,
    );
  const head = tags({ Bucket: context.bucketName, Prefix: prefix, IsTruncated: false });
  return { status: 200, body: xmlDocument('ListMultipartUploadsResult', head + inner.join('')) };
}

export async function completeMultipartUpload(context: Context): Promise<Answer> {
  const xml = await documentOf(context);
  const bucket = bucketOf(context);
  const upload = bucket.upload(context.key, context.query.get('uploadId') ?? '');
  const wanted = elements(xml, 'Part').map((part) => ({
    number: Number(textOf(part, 'PartNumber')),
    etag: (textOf(part, 'ETag') ?? '').replace(/^"(.*)"$/, '$1'),
    crc32: textOf(part, 'ChecksumCRC32'),
  }));
  const parts = checkParts(upload, wanted, context.features.strictPartChecksums);
  checkWrite(context);
  const blob = context.storage.join(parts.map((part) => part.blob));
  const etag = `${createHash('md5')
    .update(parts.map((part) => part.etag).join())
    .digest('hex')}-${parts.length}`;
  bucket.put(context.key, {
    blob,
    etag,
    modifiedMs: Date.now(),
    metadata: upload.metadata,
    contentType: upload.contentType,
    ...compositeCrc(parts),
  });
  bucket.endUpload(upload, new Set(wanted.map(({ number }) => number)));
  const result = tags({ Bucket: context.bucketName, Key: context.key, ETag: `"${etag}"` });
  return { status: 200, body: xmlDocument('CompleteMultipartUploadResult', result) };
}

interface WantedPart {
  readonly number: number;
  readonly etag: string;
  readonly crc32: string | undefined;
}

function checkParts(upload: MultipartUpload, wanted: readonly WantedPart[], strict: boolean): StoredPart[] {
  if (wanted.length === 0) throw new S3Error(400, 'MalformedXML', 'No parts are listed');
  let previous = 0;
  const found = wanted.map(({ number, etag, crc32 }) => {
    if (number <= previous) throw new S3Error(400, 'InvalidPartOrder', 'The parts are not in order');
    previous = number;
    const part = upload.parts.get(number);
    if (part === undefined || part.etag !== etag || (crc32 !== undefined && crc32 !== part.crc32))
      throw new S3Error(400, 'InvalidPart', `Part ${number} is not the one that was uploaded`);
    if (strict && upload.crc32 && crc32 === undefined)
      throw new S3Error(400, 'InvalidRequest', `The checksum of part ${number} is missing`);
    return part;
  });
  if (found.slice(0, -1).some(({ blob }) => blob.size < partBytesMin))
    throw new S3Error(400, 'EntityTooSmall', 'A part that is not the last is too small');
  return found;
}

function compositeCrc(parts: readonly StoredPart[]) {
  if (parts.some((part) => part.crc32 === undefined)) return {};
  const all = Buffer.concat(parts.map((part) => Buffer.from(part.crc32 ?? '', 'base64')));
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(all));
  return { crc32: `${bytes.toString('base64')}-${parts.length}`, crc32Type: 'COMPOSITE' as const };
}

export function abortMultipartUpload(context: Context): Answer {
  const bucket = bucketOf(context);
  bucket.endUpload(bucket.upload(context.key, context.query.get('uploadId') ?? ''));
  return { status: 204 };
}
