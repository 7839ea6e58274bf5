import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { compareNames } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import {
  bodyChunks,
  checkKey,
  checkPart,
  checkPartList,
  checkRange,
  exists,
  notFound,
  partsSize,
  pastTheEnd,
  throwIfAborted,
  uploadNotFound,
} from '../keys.js';
import type {
  Body,
  ByteRange,
  CallOptions,
  CopySource,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  PartInfo,
  ProbeOptions,
  ProgressOptions,
  PutResult,
  StoreCapabilities,
  UnfinishedUpload,
} from '../object-store.js';
import { probeStore } from '../probe.js';
import { readSource } from '../put-stream.js';

interface StoredObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modifiedMs: number;
}

interface Upload {
  readonly key: string;
  readonly parts: Map<number, { readonly bytes: Buffer; readonly etag: string }>;
}

/** Objects in this process's memory, for tests and trials. Closing it keeps the objects. */
export class MemoryStore implements ObjectStore {
  readonly url: string;
  readonly #objects = new Map<string, StoredObject>();
  readonly #uploads = new Map<string, Upload>();
  #lastEtag = 0;

  constructor(url = 'memory:') {
    this.url = url;
  }

  async get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer> {
    const { bytes } = await this.#object(key, options);
    if (range === undefined) return Buffer.from(bytes);
    const found = slice(key, bytes, range);
    if (options?.into === undefined) return Buffer.from(found);
    found.copy(options.into);
    return options.into;
  }

  async head(key: string, options?: CallOptions): Promise<ObjectInfo> {
    return describe(key, await this.#object(key, options));
  }

  async put(key: string, body: Body, options?: CallOptions): Promise<PutResult> {
    await start(key, options);
    return this.#store(key, Buffer.concat(bodyChunks(body)));
  }

  async putIfAbsent(key: string, body: Buffer, options?: CallOptions): Promise<PutResult> {
    await start(key, options);
    if (this.#objects.has(key)) throw exists(key);
    return this.#store(key, Buffer.from(body));
  }

  async putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    await start(key, options);
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of readSource(source, options?.signal)) {
        chunks.push(chunk);
        size += chunk.length;
        options?.onProgress?.(size);
      }
    } finally {
      source.destroy();
    }
    return { ...this.#store(key, Buffer.concat(chunks)), size };
  }

  async createMultipart(key: string, options?: CallOptions): Promise<string> {
    await start(key, options);
    const uploadId = randomUUID();
    this.#uploads.set(uploadId, { key, parts: new Map() });
    return uploadId;
  }

  async uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: CallOptions,
  ): Promise<PartInfo> {
    await start(key, options);
    checkPart(key, part);
    return this.#storePart(key, uploadId, part, Buffer.concat(bodyChunks(body)));
  }

  async copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
    options?: CallOptions,
  ): Promise<PartInfo> {
    checkPart(key, part);
    const { bytes } = await this.#object(source.key, options);
    return this.#storePart(key, uploadId, part, slice(source.key, bytes, source));
  }

  async listParts(key: string, uploadId: string, options?: CallOptions): Promise<PartInfo[]> {
    await start(key, options);
    const { parts } = this.#upload(key, uploadId);
    return [...parts]
      .map(([part, { bytes, etag }]) => ({ part, etag, size: bytes.length }))
      .sort((a, b) => a.part - b.part);
  }

  async completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    await start(key, options);
    checkPartList(key, parts);
    const upload = this.#uploads.get(uploadId);
    const done = this.#objects.get(key);
    if (upload === undefined && done !== undefined && done.bytes.length === partsSize(parts))
      return { etag: done.etag };
    const held = this.#upload(key, uploadId).parts;
    const chunks = parts.map(({ part, etag }) => {
      const found = held.get(part);
      if (found === undefined || found.etag !== etag)
        throw new ArtifactError('Invalid', `object ${key}: part ${part} is not the one that was uploaded`);
      return found.bytes;
    });
    this.#uploads.delete(uploadId);
    return this.#store(key, Buffer.concat(chunks));
  }

  async abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    await start(key, options);
    this.#uploads.delete(uploadId);
  }

  async unfinishedUploads(prefix: string, options?: CallOptions): Promise<readonly UnfinishedUpload[]> {
    throwIfAborted(options?.signal);
    return [...this.#uploads]
      .filter(([, { key }]) => key.startsWith(prefix))
      .map(([uploadId, { key }]) => ({ key, uploadId }));
  }

  async *list(prefix: string, options?: CallOptions & { startAfter?: string }): AsyncIterable<ObjectInfo> {
    throwIfAborted(options?.signal);
    const after = options?.startAfter ?? '';
    const keys = [...this.#objects.keys()]
      .filter((key) => key.startsWith(prefix) && (after === '' || compareNames(key, after) > 0))
      .sort(compareNames);
    for (const key of keys) {
      throwIfAborted(options?.signal);
      const object = this.#objects.get(key);
      if (object !== undefined) yield describe(key, object);
    }
  }

  async deleteMany(keys: readonly string[], options?: CallOptions): Promise<void> {
    throwIfAborted(options?.signal);
    for (const key of keys) checkKey(key);
    for (const key of keys) this.#objects.delete(key);
  }

  async presignGet(key: string): Promise<string> {
    checkKey(key);
    throw new ArtifactError('Unsupported', 'a memory store has no URLs');
  }

  probe(options?: ProbeOptions): Promise<StoreCapabilities> {
    return probeStore(this, { presign: false }, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #object(key: string, options: CallOptions | undefined): Promise<StoredObject> {
    await start(key, options);
    const object = this.#objects.get(key);
    if (object === undefined) throw notFound(key);
    return object;
  }

  #upload(key: string, uploadId: string): Upload {
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined || upload.key !== key) throw uploadNotFound(key, uploadId);
    return upload;
  }

  #store(key: string, bytes: Buffer): PutResult {
    const etag = this.#nextEtag();
    this.#objects.set(key, { bytes, etag, modifiedMs: Date.now() });
    return { etag };
  }

  #storePart(key: string, uploadId: string, part: number, bytes: Buffer): PartInfo {
    const etag = this.#nextEtag();
    this.#upload(key, uploadId).parts.set(part, { bytes: Buffer.from(bytes), etag });
    return { part, etag, size: bytes.length };
  }

  #nextEtag(): string {
    return (++this.#lastEtag).toString(16).padStart(16, '0');
  }
}

/** Lets other callers run, as a real store would, so that nothing depends on a store that answers at once. */
async function start(key: string, options: CallOptions | undefined): Promise<void> {
  checkKey(key);
  throwIfAborted(options?.signal);
  await Promise.resolve();
}

function slice(key: string, bytes: Buffer, range: ByteRange): Buffer {
  checkRange(key, range);
  if (range.offset + range.length > bytes.length) throw pastTheEnd(key, range);
  return bytes.subarray(range.offset, range.offset + range.length);
}

const describe = (key: string, { bytes, etag, modifiedMs }: StoredObject): ObjectInfo => ({
  key,
  size: bytes.length,
  etag,
  modifiedMs,
});
