import type { Readable } from 'node:stream';

/**
 * The port to where bytes live. Implementations: s3/, file/, memory/; wrappers in wrap/ add retries, limits, logs
 * and faults behind the same interface. test/store/contract.ts is this comment as a test: it runs over all of them.
 *
 * Keys are relative to the store URL's prefix: UTF-8, '/'-separated, no leading slash, at most 900 bytes. A key is
 * never also a folder of other keys ('a' beside 'a/b'): file:// refuses that with `Invalid`.
 *
 * Errors are `ArtifactError`s with one of these codes and no other:
 * - `NotFound`         the store proved that the key (or upload id) is absent. Never for a time-out, 5xx or denial.
 * - `StoreMissing`     the bucket or the directory itself is absent.
 * - `Exists`           `putIfAbsent` found the key present (412).
 * - `Busy`             the store answered that a conflicting operation is under way (409): same call again.
 * - `StoreDenied`      credentials or policy (401, 403).
 * - `StoreUnavailable` time-out, reset, throttling, 5xx. Whether a write took effect is unknown.
 * - `Corrupt`          the bytes received are not those that were asked for (length, checksum).
 * - `NoSpace`, `TooLarge`, `Invalid`, `Unsupported`, `Interrupted` (the caller's signal).
 *
 * Retries: implementations do not retry (the S3 client runs with one attempt); `wrap/retry.ts` does, for every
 * operation but `putIfAbsent`, whose outcome only the commit protocol can tell. All others are idempotent, because
 * data keys are fresh and never written with other bytes. The exception is `putStream` of the S3 store, which repeats
 * the requests of a stream by itself, because its source can be read only once.
 */
export interface ObjectStore extends AsyncDisposable {
  /** For messages; never holds a secret. */
  readonly url: string;

  /**
   * Exactly `length` bytes from `offset` (whole object without a range). Short or surplus bytes are `Corrupt`, except that a
   * connection that ends early is `StoreUnavailable`.
   */
  get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer>;
  head(key: string, options?: CallOptions): Promise<ObjectInfo>;

  /**
   * Unconditional, idempotent: the key is fresh, or its owner overwrites it. Chunks are sent one after another. They belong to
   * the caller again when the call has ended, also when it failed: nothing of them is sent after that. A body that is one
   * buffer is the caller's only when it has succeeded.
   */
  put(key: string, body: Body, options?: PutOptions): Promise<PutResult>;
  /** Creates the key or fails with `Exists`. Atomic among all writers. Never retried below the caller. */
  putIfAbsent(key: string, body: Buffer, options?: CallOptions): Promise<PutResult>;
  /**
   * A stream of unknown length, by multipart, holding at most a few parts in memory. The source is consumed once and
   * destroyed; its own errors are thrown as they are.
   */
  putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }>;

  createMultipart(key: string, options?: CallOptions): Promise<string>;
  /**
   * Sending a part again replaces it. Part numbers are 1..10,000; every part but the last has at least 5 MiB. Of the body
   * the same is true as for `put`.
   */
  uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: PutOptions,
  ): Promise<PartInfo>;
  /** Server-side copy of a range into a part; `Unsupported` where the store cannot, or not with this key. */
  copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
    options?: CallOptions,
  ): Promise<PartInfo>;
  /** `NotFound` when the upload is unknown (completed, aborted or expired). */
  listParts(key: string, uploadId: string, options?: CallOptions): Promise<PartInfo[]>;
  /**
   * `parts` in order of their numbers. `NotFound` when the upload is unknown, except where an earlier call made the
   * object of it. `Unsupported` when a part that was sent is left out and the store cannot do that: abort, send again.
   */
  completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult>;
  /** Succeeds also when the upload is gone. */
  abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void>;

  /** Uploads of keys that begin with `prefix` which were begun and neither completed nor aborted, whoever began them. */
  unfinishedUploads(prefix: string, options?: CallOptions): Promise<readonly UnfinishedUpload[]>;

  /**
   * Rules by which the service itself takes current objects away from keys under the store's prefix. Absent where there can be
   * none. `Unsupported` and `StoreDenied`: nobody knows.
   */
  lifecycleRules?(options?: CallOptions): Promise<readonly LifecycleRule[]>;

  /** In byte order of keys, from after `startAfter`. */
  list(prefix: string, options?: CallOptions & { startAfter?: string }): AsyncIterable<ObjectInfo>;
  /** Succeeds also for keys that are gone. */
  deleteMany(keys: readonly string[], options?: CallOptions): Promise<void>;

  /** A URL that anybody may GET until it expires; `Unsupported` for stores without HTTP. */
  presignGet(key: string, expiresSeconds: number): Promise<string>;

  /**
   * Proves, with keys of its own under `.probe/`, that the store is reachable, writable and refuses a second
   * create. Throws what is wrong; answers what is missing.
   */
  probe(options?: ProbeOptions): Promise<StoreCapabilities>;
}

export type Body = Buffer | readonly Buffer[];

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface ProbeOptions extends CallOptions {
  /** Also whether parts can be copied: who is killed then leaves an upload behind. Default yes. */
  readonly copies?: boolean;
}

export interface GetOptions extends CallOptions {
  /** Only with a range, and of its length: the bytes are put there, and it is what is answered. */
  readonly into?: Buffer;
  /**
   * So many bytes have come. Of a range, they are the first in `into`, and right also when the call fails later: only the
   * others need be asked for again. Stores that have all bytes at once need not call it.
   */
  readonly onReceived?: (bytes: number) => void;
}

export interface PutOptions extends CallOptions {
  /** Base64 CRC32 of the body, big-endian, for callers that know it: saves the store from working it out. */
  readonly crc32?: string;
}

export interface ProgressOptions {
  /** Called with all bytes sent so far. */
  readonly onProgress?: (bytes: number) => void;
}

export interface ObjectInfo {
  readonly key: string;
  readonly size: number;
  /** Without quotes; proves nothing about content. */
  readonly etag: string;
  /** Milliseconds since 1970 by the store's clock. */
  readonly modifiedMs: number;
}

export interface PutResult {
  readonly etag: string;
}

export interface PartInfo {
  readonly part: number;
  readonly etag: string;
  readonly size: number;
  /** Base64 CRC32 where the store keeps one; must be handed back to `completeMultipart`. */
  readonly crc32?: string;
}

export interface UnfinishedUpload {
  readonly key: string;
  readonly uploadId: string;
}

export interface LifecycleRule {
  /** '' when it has no name. */
  readonly name: string;
  /** Begin of the keys that it is for, relative to the store; '': all of them. */
  readonly prefix: string;
  /** What is archived cannot be read until somebody has it restored. */
  readonly effect: 'deletes' | 'archives';
  /** For messages: '30 days after they were written'; '' when the rule does not say. */
  readonly when: string;
}

export interface CopySource extends ByteRange {
  readonly key: string;
}

export interface StoreCapabilities {
  readonly writable: boolean;
  /** A second create was refused and a race of creates had one winner. Without it nothing may be committed. */
  readonly createIfAbsent: boolean;
  /** A write with If-Match to a key that is not there is refused, which nothing needs. Absent where it was not tried. */
  readonly ifMatch?: boolean;
  /** False when it was not tried. */
  readonly copyPart: boolean;
  readonly presign: boolean;
}

export const bodyLength = (body: Body): number =>
  Buffer.isBuffer(body) ? body.length : body.reduce((sum, chunk) => sum + chunk.length, 0);
