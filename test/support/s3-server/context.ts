import type { IncomingHttpHeaders } from 'node:http';
import type { Blob, BlobStorage } from './blob.js';
import type { Bucket } from './buckets.js';
import type { Payload } from './payload.js';
import { S3Error } from './s3-error.js';

export type Operation =
  | 'ListBuckets'
  | 'CreateBucket'
  | 'HeadBucket'
  | 'DeleteBucket'
  | 'GetBucketLocation'
  | 'GetBucketLifecycleConfiguration'
  | 'PutBucketLifecycleConfiguration'
  | 'ListObjects'
  | 'ListObjectsV2'
  | 'ListMultipartUploads'
  | 'DeleteObjects'
  | 'PutObject'
  | 'CopyObject'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  | 'CreateMultipartUpload'
  | 'UploadPart'
  | 'UploadPartCopy'
  | 'ListParts'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload';

/** Services differ: what this one can do. Everything is on by default. */
export interface Features {
  /** If-None-Match and If-Match on writes; off: ignored, as by gateways that do not know them. */
  readonly conditionalWrites: boolean;
  readonly partCopy: boolean;
  /** aws-chunked bodies with a trailer; off: refused. */
  readonly trailers: boolean;
  /** x-amz-checksum headers; off: ignored. */
  readonly checksums: boolean;
  /** Off by default, on at AWS: an upload begun with CRC32 wants it in every part and in Complete. */
  readonly strictPartChecksums: boolean;
}

/** One request, its body received and its signature checked. */
export interface Context {
  readonly operation: Operation;
  readonly bucketName: string;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly payload: Payload;
  readonly buckets: Map<string, Bucket>;
  readonly storage: BlobStorage;
  readonly features: Features;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: string | { readonly blob: Blob; readonly start: number; readonly end: number };
}

export type Handler = (context: Context) => Answer | Promise<Answer>;

export function bucketOf({ buckets, bucketName }: Context): Bucket {
  const bucket = buckets.get(bucketName);
  if (bucket === undefined) throw new S3Error(404, 'NoSuchBucket', 'The bucket does not exist');
  return bucket;
}

/** A header as one string, '' when absent. */
export function header({ headers }: Context, name: string): string {
  const value = headers[name];
  return Array.isArray(value) ? value.join(',') : (value ?? '');
}

/** What came instead of a file: a document. */
export async function documentOf({ storage, payload }: Context): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of storage.read(payload.blob)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

export function metadataOf({ headers }: Context): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers))
    if (name.startsWith('x-amz-meta-') && typeof value === 'string') metadata[name] = value;
  return metadata;
}
