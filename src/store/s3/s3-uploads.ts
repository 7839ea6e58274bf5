import { ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3';
import type { CallOptions, UnfinishedUpload } from '../object-store.js';
import { abortOf, required } from './s3-replies.js';

/** Multipart uploads under a prefix, by whole keys, page by page. */
export async function listUploads(
  client: S3Client,
  where: { readonly Bucket: string; readonly Prefix: string },
  options: CallOptions | undefined,
): Promise<UnfinishedUpload[]> {
  const found: UnfinishedUpload[] = [];
  let after: { KeyMarker?: string; UploadIdMarker?: string } = {};
  for (;;) {
    // Not with url-encoded keys: Ceph RGW 16 encodes them when asked to, and does not say that it did.
    const page = await client.send(new ListMultipartUploadsCommand({ ...where, ...after }), abortOf(options));
    for (const { Key, UploadId } of page.Uploads ?? [])
      found.push({ key: required(Key, 'a key'), uploadId: required(UploadId, 'an upload id') });
    if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return found;
    after = { KeyMarker: page.NextKeyMarker };
    if (page.NextUploadIdMarker !== undefined) after.UploadIdMarker = page.NextUploadIdMarker;
  }
}
