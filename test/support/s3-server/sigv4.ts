import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { S3Error } from './s3-error.js';

/** AWS Signature Version 4, checked from the published description: header and presigned URL. */

const algorithm = 'AWS4-HMAC-SHA256';
const skewMsMax = 15 * 60_000;
export const emptySha256 = createHash('sha256').update('').digest('hex');

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** What chunk signatures continue from. */
export interface Signature {
  readonly value: string;
  readonly date: string;
  readonly scope: string;
  readonly key: Buffer;
  /** The value of x-amz-content-sha256: a hash, UNSIGNED-PAYLOAD or a STREAMING- word. */
  readonly payload: string;
}

interface Claim {
  readonly credential: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  readonly date: string;
  readonly payload: string;
}

/** Throws the 403 that S3 would give. */
export function verifySignature(request: IncomingMessage, known: Credentials): Signature {
  const { path, query } = splitUrl(request.url ?? '/');
  const presigned = query.some(([name]) => name === 'X-Amz-Signature');
  const claim = presigned ? claimOfQuery(new Map(query)) : claimOfHeader(request);
  if (!presigned) checkSkew(claim.date);

  const [accessKeyId, ...scopeParts] = claim.credential.split('/');
  if (accessKeyId !== known.accessKeyId)
    throw new S3Error(403, 'InvalidAccessKeyId', 'The access key does not exist');
  const [day = '', region = '', service = ''] = scopeParts;
  const scope = scopeParts.join('/');
  if (service !== 's3' || scopeParts[3] !== 'aws4_request' || !claim.date.startsWith(day) || day === '')
    throw new S3Error(400, 'AuthorizationHeaderMalformed', 'The credential scope is wrong');

  const canonical = [
    request.method ?? 'GET',
    canonicalPath(path),
    canonicalQuery(query.filter(([name]) => name !== 'X-Amz-Signature')),
    ...claim.signedHeaders.map((name) => `${name}:${headerValue(request, name)}`),
    '',
    claim.signedHeaders.join(';'),
    claim.payload,
  ].join('\n');
  const key = signingKey(known.secretAccessKey, day, region);
  const toSign = [algorithm, claim.date, scope, sha256(canonical)].join('\n');
  if (!sameText(hmac(key, toSign).toString('hex'), claim.signature))
    throw new S3Error(403, 'SignatureDoesNotMatch', 'The signature does not match the request');
  return { value: claim.signature, date: claim.date, scope, key, payload: claim.payload };
}

function claimOfHeader(request: IncomingMessage): Claim {
  const header = request.headers.authorization;
  if (header === undefined) throw new S3Error(403, 'AccessDenied', 'The request is not signed');
  const fields = new Map(
    header
      .slice(algorithm.length)
      .split(',')
      .map((field) => field.trim().split(/=(.*)/s) as [string, string]),
  );
  const date = headerValue(request, 'x-amz-date');
  const payload = headerValue(request, 'x-amz-content-sha256');
  const claim = claimOf(fields.get('Credential'), fields.get('SignedHeaders'), fields.get('Signature'));
  if (!header.startsWith(algorithm) || claim === null || date === '' || payload === '')
    throw new S3Error(400, 'AuthorizationHeaderMalformed', 'The authorization header is malformed');
  return { ...claim, date, payload };
}

function claimOfQuery(query: ReadonlyMap<string, string>): Claim {
  const claim = claimOf(
    query.get('X-Amz-Credential'),
    query.get('X-Amz-SignedHeaders'),
    query.get('X-Amz-Signature'),
  );
  const date = query.get('X-Amz-Date') ?? '';
  const expiresSeconds = Number(query.get('X-Amz-Expires'));
  if (claim === null || query.get('X-Amz-Algorithm') !== algorithm || !(expiresSeconds >= 1))
    throw new S3Error(400, 'AuthorizationQueryParametersError', 'The signed URL is malformed');
  const age = Date.now() - parseDate(date);
  if (age > expiresSeconds * 1000 || age < -skewMsMax)
    throw new S3Error(403, 'AccessDenied', 'Request has expired');
  return { ...claim, date, payload: query.get('X-Amz-Content-Sha256') ?? 'UNSIGNED-PAYLOAD' };
}

function claimOf(credential?: string, signedHeaders?: string, signature?: string) {
  if (credential === undefined || signedHeaders === undefined || signature === undefined) return null;
  const names = signedHeaders.split(';');
  return names.includes('host') ? { credential, signedHeaders: names, signature } : null;
}

function checkSkew(date: string): void {
  if (!(Math.abs(Date.now() - parseDate(date)) <= skewMsMax))
    throw new S3Error(403, 'RequestTimeTooSkewed', 'The clock of the request is too far off');
}

const parseDate = (date: string): number =>
  Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));

function headerValue(request: IncomingMessage, name: string): string {
  const value = request.headers[name];
  const joined = Array.isArray(value) ? value.join(',') : (value ?? '');
  return joined.trim().replace(/ +/g, ' ');
}

/** Signature of one piece of a signed aws-chunked body; the next piece continues from it. */
export function chunkSignature(
  { date, scope, key }: Signature,
  previous: string,
  chunkSha256: string,
): string {
  const toSign = [`${algorithm}-PAYLOAD`, date, scope, previous, emptySha256, chunkSha256].join('\n');
  return hmac(key, toSign).toString('hex');
}

export function trailerSignature({ date, scope, key }: Signature, previous: string, trailer: string): string {
  const toSign = [`${algorithm}-TRAILER`, date, scope, previous, sha256(trailer)].join('\n');
  return hmac(key, toSign).toString('hex');
}

export function signingKey(secret: string, day: string, region: string): Buffer {
  const dayKey = hmac(`AWS4${secret}`, day);
  return hmac(hmac(hmac(dayKey, region), 's3'), 'aws4_request');
}

export const hmac = (key: string | Buffer, text: string): Buffer =>
  createHmac('sha256', key).update(text).digest();
export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

export const sameText = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** Raw path, and decoded query pairs. */
export function splitUrl(url: string): { path: string; query: [string, string][] } {
  const [, path = '/', query = ''] = /^([^?]*)\??(.*)$/s.exec(url) ?? [];
  const pairs = query.split('&').filter((pair) => pair !== '');
  return {
    path,
    query: pairs.map((pair) => {
      const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(pair) ?? [];
      return [decode(name), decode(value)];
    }),
  };
}

export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error(400, 'InvalidURI', 'The URL is not valid');
  }
}

const uriEncode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

const canonicalPath = (path: string): string =>
  path
    .split('/')
    .map((segment) => uriEncode(decode(segment)))
    .join('/');

const canonicalQuery = (query: readonly [string, string][]): string =>
  query
    .map(([name, value]) => `${uriEncode(name)}=${uriEncode(value)}`)
    .sort()
    .join('&');
