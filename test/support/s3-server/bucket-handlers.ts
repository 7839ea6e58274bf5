import { Bucket, compareKeys, type StoredObject } from './buckets.js';
import { type Answer, bucketOf, type Context, documentOf } from './context.js';
import { invalidArgument, S3Error } from './s3-error.js';
import { elements, escapeXml, tags, textOf, xmlDocument } from './xml.js';

const pageKeysMax = 1000;

export function listBuckets({ buckets }: Context): Answer {
  const inner = [...buckets.values()]
    .map(
      ({ name, createdMs }) => `<Bucket>${tags({ Name: name, CreationDate: isoTime(createdMs) })}</Bucket>`,
    )
    .join('');
  return { status: 200, body: xmlDocument('ListAllMyBucketsResult', `<Buckets>${inner}</Buckets>`) };
}

export function createBucket({ buckets, bucketName, storage }: Context): Answer {
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucketName))
    throw new S3Error(400, 'InvalidBucketName', 'The bucket name is not valid');
  if (buckets.has(bucketName)) throw new S3Error(409, 'BucketAlreadyOwnedByYou', 'The bucket exists already');
  buckets.set(bucketName, new Bucket(bucketName, storage));
  return { status: 200, headers: { location: `/${bucketName}` } };
}

export function headBucket(context: Context): Answer {
  bucketOf(context);
  return { status: 200, headers: { 'x-amz-bucket-region': 'us-east-1' } };
}

export function deleteBucket(context: Context): Answer {
  if (bucketOf(context).size > 0) throw new S3Error(409, 'BucketNotEmpty', 'The bucket is not empty');
  context.buckets.delete(context.bucketName);
  return { status: 204 };
}

export function getBucketLocation(context: Context): Answer {
  bucketOf(context);
  return { status: 200, body: xmlDocument('LocationConstraint', '') };
}

export function getBucketLifecycle(context: Context): Answer {
  const { lifecycle } = bucketOf(context);
  if (lifecycle === null)
    throw new S3Error(404, 'NoSuchLifecycleConfiguration', 'The lifecycle configuration does not exist');
  return { status: 200, body: xmlDocument('LifecycleConfiguration', lifecycle) };
}

export async function putBucketLifecycle(context: Context): Promise<Answer> {
  const bucket = bucketOf(context);
  const [rules] = elements(await documentOf(context), 'LifecycleConfiguration');
  if (rules === undefined) throw new S3Error(400, 'MalformedXML', 'The document has no rules');
  bucket.lifecycle = rules;
  return { status: 200 };
}

/** Both versions of the listing: the older one has a marker, which is a key, where the newer one has a token. */
export function listObjects(context: Context): Answer {
  const { query } = context;
  const newer = query.get('list-type') === '2';
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const token = query.get('continuation-token');
  const after = token === undefined ? (query.get(newer ? 'start-after' : 'marker') ?? '') : fromToken(token);
  const maxKeys = Math.min(pageKeysMax, positive(query.get('max-keys'), pageKeysMax));
  const write = query.get('encoding-type') === 'url' ? urlEncode : (text: string) => text;
  const page = collectPage(bucketOf(context), { prefix, delimiter, after, maxKeys });

  const contents = page.objects.map(
    ([key, object]) =>
      `<Contents>${tags({
        Key: write(key),
        LastModified: isoTime(object.modifiedMs),
        ETag: `"${object.etag}"`,
        Size: object.blob.size,
        StorageClass: 'STANDARD',
      })}</Contents>`,
  );
  const folders = page.folders.map(
    (folder) => `<CommonPrefixes>${tags({ Prefix: write(folder) })}</CommonPrefixes>`,
  );
  const head = tags({
    Name: context.bucketName,
    Prefix: write(prefix),
    Delimiter: delimiter === '' ? undefined : write(delimiter),
    StartAfter: query.get('start-after'),
    Marker: query.get('marker'),
    MaxKeys: maxKeys,
    KeyCount: newer ? contents.length + folders.length : undefined,
    EncodingType: query.get('encoding-type'),
    IsTruncated: page.next !== null,
    NextContinuationToken: newer && page.next !== null ? toToken(page.next) : undefined,
    NextMarker: newer || page.next === null ? undefined : write(page.next),
  });
  return { status: 200, body: xmlDocument('ListBucketResult', head + contents.join('') + folders.join('')) };
}

interface PageQuery {
  readonly prefix: string;
  readonly delimiter: string;
  readonly after: string;
  readonly maxKeys: number;
}

/** `next` is the last key or folder of the page when more follows. */
function collectPage(bucket: Bucket, { prefix, delimiter, after, maxKeys }: PageQuery) {
  const objects: [string, StoredObject][] = [];
  const folders: string[] = [];
  let last = after;
  for (const key of bucket.keysFrom(compareKeys(after, prefix) > 0 ? after : prefix)) {
    if (!key.startsWith(prefix)) break;
    if (after !== '' && compareKeys(key, after) <= 0) continue;
    const folder = folderOf(key, prefix, delimiter);
    if (folder !== null && (folder === folders.at(-1) || folder === after)) continue;
    if (objects.length + folders.length === maxKeys) return { objects, folders, next: last };
    const object = bucket.get(key);
    if (folder !== null) folders.push(folder);
    else if (object !== undefined) objects.push([key, object]);
    last = folder ?? key;
  }
  return { objects, folders, next: null };
}

function folderOf(key: string, prefix: string, delimiter: string): string | null {
  if (delimiter === '') return null;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? null : key.slice(0, at + delimiter.length);
}

const toToken = (key: string): string => Buffer.from(key).toString('base64url');
const fromToken = (token: string): string => Buffer.from(token, 'base64url').toString();

export function positive(text: string | undefined, fallback: number): number {
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw invalidArgument(`${text} is not a count`);
  return value;
}

const urlEncode = (text: string): string =>
  encodeURIComponent(text)
    .replaceAll('%2F', '/')
    .replaceAll('%20', '+')
    .replace(/[!'()]/g, escapeAscii);
const escapeAscii = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;

export const isoTime = (ms: number): string => new Date(ms).toISOString();

export async function deleteObjects(context: Context): Promise<Answer> {
  const bucket = bucketOf(context);
  if (!provesDocument(context))
    throw new S3Error(400, 'InvalidRequest', 'DeleteObjects needs a Content-MD5 or a checksum');
  const xml = await documentOf(context);
  const keys = elements(xml, 'Object').map((object) => textOf(object, 'Key') ?? '');
  if (keys.length === 0 || keys.length > pageKeysMax)
    throw new S3Error(400, 'MalformedXML', `${keys.length} keys cannot be deleted at once`);
  for (const key of keys) bucket.delete(key);
  const quiet = textOf(xml, 'Quiet') === 'true';
  const deleted = quiet ? '' : keys.map((key) => `<Deleted><Key>${escapeXml(key)}</Key></Deleted>`).join('');
  return { status: 200, body: xmlDocument('DeleteResult', deleted) };
}

const provesDocument = ({ headers }: Context): boolean =>
  Object.keys(headers).some((name) => name === 'content-md5' || name.startsWith('x-amz-checksum-'));
