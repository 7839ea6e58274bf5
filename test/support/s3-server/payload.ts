import { createHash, type Hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { crc32 } from 'node:zlib';
import { AwsChunkedDecoder } from './aws-chunked.js';
import type { Blob, BlobStorage } from './blob.js';
import { S3Error } from './s3-error.js';
import type { Signature } from './sigv4.js';

const chunkBytesMax = 16 << 20;
const md5BytesMax = 1 << 20;

/** What was received: stored, and proved to be what the client meant to send. */
export interface Payload {
  readonly blob: Blob;
  readonly etag: string;
  /** Base64; present when the client sent one. */
  readonly crc32?: string;
}

export interface PayloadOptions {
  /** A server that takes no aws-chunked trailer answers 400 to it. */
  readonly trailers: boolean;
  /** Verify x-amz-checksum headers; otherwise they are ignored, as by servers that do not know them. */
  readonly checksums: boolean;
}

/** Receives a request body: decodes aws-chunked, stores, and checks every hash that came with it. */
export async function receivePayload(
  source: AsyncIterable<Buffer>,
  headers: IncomingHttpHeaders,
  signature: Signature,
  storage: BlobStorage,
  options: PayloadOptions,
): Promise<Payload> {
  const streaming = signature.payload.startsWith('STREAMING-');
  if (signature.payload.endsWith('-TRAILER') && !options.trailers)
    throw new S3Error(400, 'XAmzContentSHA256Mismatch', 'This server takes no trailers');
  const length = Number(headers[streaming ? 'x-amz-decoded-content-length' : 'content-length'] ?? Number.NaN);
  const sink = new Sink(storage, length, checksHeader(headers, signature, options));
  let trailers: ReadonlyMap<string, string> = new Map();
  if (streaming) {
    const decoder = new AwsChunkedDecoder(signature, (data) => sink.write(data));
    for await (const data of source) decoder.push(data);
    trailers = decoder.end();
  } else {
    for await (const data of source) sink.write(data);
  }
  return sink.finish(headers, trailers, signature, options);
}

interface Checks {
  readonly sha256: boolean;
  readonly md5: boolean;
  readonly sha1: boolean;
}

function checksHeader(headers: IncomingHttpHeaders, signature: Signature, options: PayloadOptions): Checks {
  const declared = `${headers['x-amz-trailer'] ?? ''} ${Object.keys(headers).join(' ')}`;
  if (options.checksums && /x-amz-checksum-(crc32c|crc64nvme)/.test(declared))
    throw new S3Error(501, 'NotImplemented', 'This checksum algorithm is not implemented');
  return {
    sha256: /^[0-9a-f]{64}$/.test(signature.payload) || declared.includes('x-amz-checksum-sha256'),
    md5: headers['content-md5'] !== undefined,
    sha1: declared.includes('x-amz-checksum-sha1'),
  };
}

/** Collects bytes into chunks of the storage, hashing on the way. */
class Sink {
  readonly #storage: BlobStorage;
  readonly #length: number;
  readonly #blobs: Blob[] = [];
  readonly #sha256: Hash | null;
  readonly #sha1: Hash | null;
  readonly #md5: Hash | null;
  #crc = 0;
  #size = 0;
  #buffer = Buffer.alloc(0);
  #filled = 0;

  constructor(storage: BlobStorage, length: number, checks: Checks) {
    this.#storage = storage;
    this.#length = length;
    this.#sha256 = checks.sha256 ? createHash('sha256') : null;
    this.#sha1 = checks.sha1 ? createHash('sha1') : null;
    // A real ETag is an MD5 for small bodies; for large ones it is any unique value, as with encryption or multipart.
    this.#md5 = checks.md5 || length <= md5BytesMax ? createHash('md5') : null;
  }

  write(data: Buffer): void {
    this.#sha256?.update(data);
    this.#sha1?.update(data);
    this.#md5?.update(data);
    this.#crc = crc32(data, this.#crc);
    for (let done = 0; done < data.length; ) {
      if (this.#filled === this.#buffer.length) this.#nextBuffer();
      const copied = data.copy(this.#buffer, this.#filled, done);
      this.#filled += copied;
      done += copied;
    }
    this.#size += data.length;
  }

  finish(
    headers: IncomingHttpHeaders,
    trailers: ReadonlyMap<string, string>,
    signature: Signature,
    options: PayloadOptions,
  ): Payload {
    this.#flush();
    const blob = this.#storage.join(this.#blobs);
    try {
      if (!Number.isNaN(this.#length) && this.#size !== this.#length)
        throw new S3Error(400, 'IncompleteBody', `${this.#size} bytes came instead of ${this.#length}`);
      const sha256 = this.#sha256?.digest();
      if (/^[0-9a-f]{64}$/.test(signature.payload) && sha256?.toString('hex') !== signature.payload)
        throw new S3Error(400, 'XAmzContentSHA256Mismatch', 'The signed hash is not that of the body');
      const md5 = this.#md5?.digest();
      const wantedMd5 = headers['content-md5'];
      if (wantedMd5 !== undefined && md5?.toString('base64') !== wantedMd5)
        throw new S3Error(400, 'BadDigest', 'The Content-MD5 is not that of the body');
      const crc = Buffer.alloc(4);
      crc.writeUInt32BE(this.#crc);
      const found = { crc32: crc.toString('base64'), sha256: sha256?.toString('base64') };
      const sums = { ...found, sha1: this.#sha1?.digest('base64') };
      const sent = options.checksums ? checkSums(sums, headers, trailers) : false;
      const etag = md5?.toString('hex') ?? createHash('md5').update(`${Math.random()}`).digest('hex');
      return { blob, etag, ...(sent ? { crc32: sums.crc32 } : {}) };
    } catch (error) {
      this.#storage.release(blob);
      throw error;
    }
  }

  #nextBuffer(): void {
    this.#flush();
    const rest = Number.isNaN(this.#length) ? chunkBytesMax : this.#length - this.#size;
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(chunkBytesMax, rest)));
  }

  #flush(): void {
    if (this.#filled > 0) this.#blobs.push(this.#storage.add(this.#buffer.subarray(0, this.#filled)));
    this.#buffer = Buffer.alloc(0);
    this.#filled = 0;
  }
}

/** True when the client sent a (right) CRC32. */
function checkSums(
  sums: Readonly<Record<string, string | undefined>>,
  headers: IncomingHttpHeaders,
  trailers: ReadonlyMap<string, string>,
): boolean {
  for (const [algorithm, found] of Object.entries(sums)) {
    const name = `x-amz-checksum-${algorithm}`;
    const wanted = trailers.get(name) ?? headers[name];
    if (wanted !== undefined && wanted !== found)
      throw new S3Error(400, 'BadDigest', `The ${algorithm} is not that of the body`);
  }
  const declared = headers['x-amz-trailer'];
  if (typeof declared === 'string' && !trailers.has(declared.trim().toLowerCase()))
    throw new S3Error(400, 'MalformedTrailerError', 'The announced trailer is missing');
  return (trailers.get('x-amz-checksum-crc32') ?? headers['x-amz-checksum-crc32']) !== undefined;
}
