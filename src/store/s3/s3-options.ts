import { isIP } from 'node:net';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { Backoff } from '../backoff.js';

/** How to reach an S3 service. Everything but the bucket has a default; keys come from the SDK's usual chain. */
export interface S3Options {
  /** `http://host:port` of a service other than AWS. Absent: AWS, or what the SDK's own settings say. */
  readonly endpoint?: string;
  /** Default: us-east-1 with an endpoint, else the SDK's settings. */
  readonly region?: string;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  /** A profile of the SDK's shared configuration files. */
  readonly profile?: string;
  /** Bucket in the path instead of the host name. Default: yes with an endpoint. */
  readonly pathStyle?: boolean;
  /** How the service checks what is sent to it. Default `auto`. */
  readonly checksums?: ChecksumPolicy;
  /** Milliseconds until a connection must stand. */
  readonly connectMsMax?: number;
  /** Milliseconds without a byte in either direction until a request is given up. */
  readonly idleMsMax?: number;
  /** Connections at a time. */
  readonly socketsMax?: number;
  /** Of the requests of `putStream`, which the caller cannot repeat; no others are repeated. */
  readonly retry?: Backoff;
}

/**
 * - `required`: a signed SHA-256 of each body, which every service verifies.
 * - `crc32`: also a CRC32 of each body, which newer services verify and keep.
 * - `auto`: `required` until `probe` has proved that the service verifies CRC32.
 *
 * Where the CRC32 is verified and nobody can change bytes on the way (TLS, loopback), the slower SHA-256 is left out.
 */
type ChecksumPolicy = 'auto' | 'required' | 'crc32';

export interface S3Location {
  readonly bucket: string;
  /** '' or a path without slashes at its ends. */
  readonly prefix: string;
}

export const s3Defaults = {
  connectMsMax: limits.storeConnectMsMax,
  idleMsMax: limits.storeIdleMsMax,
  // A stream is one call that sends a few parts at a time; a request that waits for a connection may time out.
  socketsMax: limits.storeRequestsMax * limits.storeStreamPartsAtOnce,
} as const;

export function checkS3Options(options: S3Options): void {
  if ((options.accessKeyId === undefined) !== (options.secretAccessKey === undefined))
    throw new ArtifactError('Invalid', 'an access key and its secret key must be given together');
  if (options.endpoint === undefined) return;
  const endpoint = URL.canParse(options.endpoint) ? new URL(options.endpoint) : null;
  if (endpoint === null || !['http:', 'https:'].includes(endpoint.protocol))
    throw new ArtifactError('Invalid', 'the S3 endpoint must be a URL such as https://s3.example.com');
  if (endpoint.username !== '' || endpoint.password !== '')
    throw new ArtifactError('Invalid', 'the S3 endpoint must not hold keys', { hint: keysHint });
}

export const keysHint = 'give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a profile';

/** True when bytes cannot be changed between this process and the service without notice. */
export function isTamperProof(endpoint: string | undefined): boolean {
  if (endpoint === undefined) return true; // AWS itself is reached by TLS
  const { protocol, hostname } = new URL(endpoint);
  return protocol === 'https:' || isLoopback(hostname);
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'));
