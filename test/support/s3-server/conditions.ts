import type { StoredObject } from './buckets.js';
import { bucketOf, type Context, header } from './context.js';
import { preconditionFailed, S3Error } from './s3-error.js';

const bare = (etag: string): string => etag.trim().replace(/^"(.*)"$/, '$1');

const matches = (list: string, etag: string): boolean =>
  list.split(',').some((one) => bare(one) === '*' || bare(one) === etag);

/** Conditions of a GET or HEAD. 'unchanged' is the 304. */
export function checkRead(context: Context, object: StoredObject): 'send' | 'unchanged' {
  const ifMatch = header(context, 'if-match');
  if (ifMatch !== '' && !matches(ifMatch, object.etag)) throw preconditionFailed();
  const ifNoneMatch = header(context, 'if-none-match');
  return ifNoneMatch !== '' && matches(ifNoneMatch, object.etag) ? 'unchanged' : 'send';
}

/**
 * Conditions of a PUT, Complete or DELETE. Nothing may be awaited between this and the change: that makes racing
 * writers one after another.
 */
export function checkWrite(context: Context): void {
  if (!context.features.conditionalWrites) return;
  const old = bucketOf(context).get(context.key);
  const ifNoneMatch = header(context, 'if-none-match');
  if (ifNoneMatch !== '' && ifNoneMatch !== '*')
    throw new S3Error(501, 'NotImplemented', 'A write may only have If-None-Match: *');
  if (ifNoneMatch === '*' && old !== undefined) throw preconditionFailed();
  const ifMatch = header(context, 'if-match');
  if (ifMatch === '') return;
  if (old === undefined) throw new S3Error(404, 'NoSuchKey', 'The key does not exist');
  if (!matches(ifMatch, old.etag)) throw preconditionFailed();
}

/** x-amz-copy-source-if-...: conditions on what is copied. */
export function checkCopySource(context: Context, source: StoredObject): void {
  const ifMatch = header(context, 'x-amz-copy-source-if-match');
  if (ifMatch !== '' && !matches(ifMatch, source.etag)) throw preconditionFailed();
  const ifNoneMatch = header(context, 'x-amz-copy-source-if-none-match');
  if (ifNoneMatch !== '' && matches(ifNoneMatch, source.etag)) throw preconditionFailed();
}
