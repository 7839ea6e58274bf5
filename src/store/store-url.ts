import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ArtifactError } from '../model/errors.js';
import { keysHint } from './s3/s3-options.js';

export type StoreUrl =
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }
  | { readonly kind: 'file'; readonly dir: string }
  | { readonly kind: 'memory'; readonly name: string };

/** Leaves room for the longest key under the 1,024 bytes that S3 allows. */
const prefixBytesMax = 120;

/**
 * `s3://bucket/prefix`, `file:///dir`, a path, or `memory:name`. The text may hold a secret, so no message repeats it.
 */
export function parseStoreUrl(text: string): StoreUrl {
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(text) ?? [];
  switch (scheme?.toLowerCase()) {
    case undefined:
      if (text === '') throw invalid('the store URL is empty');
      return { kind: 'file', dir: resolve(text) };
    case 's3':
      return parseS3(rest);
    case 'file':
      return { kind: 'file', dir: parseFile(text) };
    case 'memory':
      return { kind: 'memory', name: rest };
    default:
      throw invalid(
        `a store URL cannot begin with '${scheme}:'`,
        'use s3://bucket/prefix, file:///directory, a path (./ before one that holds a colon), or memory:name',
      );
  }
}

function parseS3(rest: string): StoreUrl {
  const [, authority = '', path = ''] = /^\/\/([^/]*)(.*)$/s.exec(rest) ?? [];
  if (authority.includes('@') || authority.includes(':'))
    throw invalid(
      'an s3:// URL must hold neither keys nor a port',
      `${keysHint}; give the endpoint as an option`,
    );
  if (rest.includes('?') || rest.includes('#'))
    throw invalid('an s3:// URL holds only bucket and prefix', `give settings as options; ${keysHint}`);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(authority))
    throw invalid('an s3:// URL needs the name of a bucket', 'write s3://bucket or s3://bucket/prefix');
  const prefix = path.replace(/^\/+|\/+$/g, '');
  if (Buffer.byteLength(prefix) > prefixBytesMax)
    throw invalid(`the prefix of the s3:// URL is longer than ${prefixBytesMax} bytes`);
  return { kind: 's3', bucket: authority, prefix };
}

function parseFile(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const host = url?.hostname;
  if (url === null || !/^file:\/\//i.test(text) || (host !== '' && host !== 'localhost'))
    throw invalid('a file URL must be file:/// and an absolute path');
  return fileURLToPath(`file://${url.pathname}`);
}

const invalid = (message: string, hint?: string): ArtifactError =>
  new ArtifactError('Invalid', message, hint === undefined ? {} : { hint });
