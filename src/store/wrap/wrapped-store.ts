import type { Readable } from 'node:stream';
import type {
  Body,
  ByteRange,
  CallOptions,
  CopySource,
  GetOptions,
  LifecycleRule,
  ObjectInfo,
  ObjectStore,
  PartInfo,
  ProbeOptions,
  ProgressOptions,
  PutOptions,
  PutResult,
  StoreCapabilities,
  UnfinishedUpload,
} from '../object-store.js';
import { bodyLength } from '../object-store.js';

export type StoreOperation = Exclude<keyof ObjectStore, 'url' | typeof Symbol.asyncDispose>;

export interface StoreCall {
  readonly operation: StoreOperation;
  /** '' for operations on no key or several. */
  readonly key: string;
  /** Bytes that will be sent or were asked for, where the call tells. */
  readonly bytes?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A store with `around` around each call of another; `list` passes through unless overridden. Owns the inner store. */
export abstract class WrappedStore implements ObjectStore {
  protected readonly inner: ObjectStore;

  constructor(inner: ObjectStore) {
    this.inner = inner;
  }

  get url(): string {
    return this.inner.url;
  }

  /** Runs the call, any number of times; what it answers or throws is what the caller gets. */
  protected abstract around<T>(call: StoreCall, run: () => Promise<T>): Promise<T>;

  get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer> {
    const bytes = range === undefined ? {} : { bytes: range.length };
    return this.around({ ...callOf('get', key, options), ...bytes }, () =>
      this.inner.get(key, range, options),
    );
  }

  head(key: string, options?: CallOptions): Promise<ObjectInfo> {
    return this.around(callOf('head', key, options), () => this.inner.head(key, options));
  }

  put(key: string, body: Body, options?: PutOptions): Promise<PutResult> {
    return this.around({ ...callOf('put', key, options), bytes: bodyLength(body) }, () =>
      this.inner.put(key, body, options),
    );
  }

  putIfAbsent(key: string, body: Buffer, options?: CallOptions): Promise<PutResult> {
    return this.around({ ...callOf('putIfAbsent', key, options), bytes: body.length }, () =>
      this.inner.putIfAbsent(key, body, options),
    );
  }

  putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    return this.around(callOf('putStream', key, options), () => this.inner.putStream(key, source, options));
  }

  createMultipart(key: string, options?: CallOptions): Promise<string> {
    return this.around(callOf('createMultipart', key, options), () =>
      this.inner.createMultipart(key, options),
    );
  }

  uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: PutOptions,
  ): Promise<PartInfo> {
    return this.around({ ...callOf('uploadPart', key, options), bytes: bodyLength(body) }, () =>
      this.inner.uploadPart(key, uploadId, part, body, options),
    );
  }

  copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
    options?: CallOptions,
  ): Promise<PartInfo> {
    return this.around(callOf('copyPart', key, options), () =>
      this.inner.copyPart(key, uploadId, part, source, options),
    );
  }

  listParts(key: string, uploadId: string, options?: CallOptions): Promise<PartInfo[]> {
    return this.around(callOf('listParts', key, options), () => this.inner.listParts(key, uploadId, options));
  }

  completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    return this.around(callOf('completeMultipart', key, options), () =>
      this.inner.completeMultipart(key, uploadId, parts, options),
    );
  }

  abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    return this.around(callOf('abortMultipart', key, options), () =>
      this.inner.abortMultipart(key, uploadId, options),
    );
  }

  unfinishedUploads(prefix: string, options?: CallOptions): Promise<readonly UnfinishedUpload[]> {
    return this.around(callOf('unfinishedUploads', prefix, options), () =>
      this.inner.unfinishedUploads(prefix, options),
    );
  }

  lifecycleRules(options?: CallOptions): Promise<readonly LifecycleRule[]> {
    const { inner } = this;
    return this.around(
      callOf('lifecycleRules', '', options),
      async () => (await inner.lifecycleRules?.(options)) ?? [],
    );
  }

  list(prefix: string, options?: CallOptions & { startAfter?: string }): AsyncIterable<ObjectInfo> {
    return this.inner.list(prefix, options);
  }

  deleteMany(keys: readonly string[], options?: CallOptions): Promise<void> {
    return this.around(callOf('deleteMany', '', options), () => this.inner.deleteMany(keys, options));
  }

  presignGet(key: string, expiresSeconds: number): Promise<string> {
    return this.around(callOf('presignGet', key), () => this.inner.presignGet(key, expiresSeconds));
  }

  probe(options?: ProbeOptions): Promise<StoreCapabilities> {
    return this.around(callOf('probe', '', options), () => this.inner.probe(options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.inner[Symbol.asyncDispose]();
  }
}

const callOf = (operation: StoreOperation, key: string, options?: CallOptions): StoreCall => ({
  operation,
  key,
  signal: options?.signal,
});
