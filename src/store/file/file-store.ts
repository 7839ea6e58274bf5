import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
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
import { bodyLength } from '../object-store.js';
import { probeStore } from '../probe.js';
import { readSource } from '../put-stream.js';
import { DurableDir, dirMode, writeChunks } from './durable.js';
import { errnoOf, fileError, isMissing } from './file-errors.js';
import { keyToPath } from './key-path.js';
import { listKeys } from './list-keys.js';
import { FileUploads, readChunks } from './uploads.js';

/**
 * Objects as files under a directory (key-path.ts tells the names). Content is durable before its name can be seen;
 * create-if-absent is link(2). Several processes may use one directory.
 *
 * A key cannot also be a folder of other keys ('a' beside 'a/b'): that is `Invalid`.
 */
export class FileStore implements ObjectStore {
  readonly url: string;
  readonly #root: string;
  readonly #durable: DurableDir;
  readonly #uploads: FileUploads;

  private constructor(root: string) {
    this.url = pathToFileURL(root).href;
    this.#root = root;
    this.#durable = new DurableDir(root);
    this.#uploads = new FileUploads(this.#durable);
  }

  /** `StoreMissing` when the directory does not exist, unless `create`. */
  static async open(dir: string, options: { readonly create?: boolean } = {}): Promise<FileStore> {
    const store = new FileStore(resolve(dir));
    if (options.create === true) {
      await store.#run('making the directory', undefined, () =>
        mkdir(store.#root, { recursive: true, mode: dirMode }),
      );
    }
    await store.#requireRoot();
    return store;
  }

  get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer> {
    return this.#reading(`reading ${key}`, key, options, async (path) => {
      if (range !== undefined) checkRange(key, range);
      const file = await open(path, constants.O_RDONLY);
      try {
        return await read(file, key, range ?? { offset: 0, length: (await file.stat()).size }, options?.into);
      } finally {
        await file.close();
      }
    });
  }

  head(key: string, options?: CallOptions): Promise<ObjectInfo> {
    return this.#reading(`looking at ${key}`, key, options, async (path) => {
      const stats = await stat(path, { bigint: true });
      if (!stats.isFile()) throw notFound(key);
      return describe(key, stats);
    });
  }

  put(key: string, body: Body, options?: CallOptions): Promise<PutResult> {
    return this.#writing(`writing ${key}`, key, options, (path) =>
      this.#write(path, rename, (file) => writeChunks(file, bodyChunks(body), 0)),
    );
  }

  putIfAbsent(key: string, body: Buffer, options?: CallOptions): Promise<PutResult> {
    return this.#writing(`creating ${key}`, key, options, async (path) => {
      try {
        return await this.#write(path, link, (file) => writeChunks(file, [body], 0));
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === 'EEXIST' && (await statIfThere(path))?.isDirectory() !== true) throw exists(key, error);
        if (errno === 'EPERM' || errno === 'ENOTSUP' || errno === 'EOPNOTSUPP')
          throw new ArtifactError('Unsupported', `the disk under ${this.url} has no hard links`, {}, error);
        throw error;
      }
    });
  }

  putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    let sourceError: unknown;
    source.once('error', (error) => {
      sourceError = error;
    });
    return this.#writing(`writing ${key}`, key, options, async (path) => {
      let size = 0;
      const result = await this.#write(path, rename, async (file) => {
        for await (const chunk of readSource(source, options?.signal)) {
          await writeChunks(file, [chunk], size);
          size += chunk.length;
          options?.onProgress?.(size);
        }
      });
      return { ...result, size };
    })
      .catch((error: unknown) => {
        throw sourceError ?? error;
      })
      .finally(() => source.destroy());
  }

  createMultipart(key: string, options?: CallOptions): Promise<string> {
    return this.#writing(`starting an upload of ${key}`, key, options, () => this.#uploads.create(key));
  }

  uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: CallOptions,
  ): Promise<PartInfo> {
    return this.#writing(`writing part ${part} of ${key}`, key, options, () => {
      checkPart(key, part);
      return this.#uploads.writePart(key, uploadId, part, bodyLength(body), bodyChunks(body));
    });
  }

  copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
    options?: CallOptions,
  ): Promise<PartInfo> {
    return this.#reading(`copying ${source.key}`, source.key, options, async (path) => {
      checkKey(key);
      checkPart(key, part);
      checkRange(source.key, source);
      const file = await open(path, constants.O_RDONLY);
      try {
        if (source.offset + source.length > (await file.stat()).size) throw pastTheEnd(source.key, source);
        const chunks = readChunks(file, source.offset, source.length);
        return await this.#uploads.writePart(key, uploadId, part, source.length, chunks);
      } finally {
        await file.close();
      }
    });
  }

  listParts(key: string, uploadId: string, options?: CallOptions): Promise<PartInfo[]> {
    return this.#reading(`listing parts of ${key}`, key, options, () => this.#uploads.list(key, uploadId));
  }

  completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    return this.#writing(`completing ${key}`, key, options, async (path) => {
      checkPartList(key, parts);
      try {
        await this.#uploads.complete(key, uploadId, parts, path);
      } catch (error) {
        // Done before, and the answer was lost.
        if (!isCode(error, 'NotFound') || !(await this.#hasSize(path, parts))) throw error;
      }
      return { etag: etagOf(await stat(path, { bigint: true })) };
    });
  }

  abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    return this.#writing(`aborting the upload of ${key}`, key, options, () => this.#uploads.abort(uploadId));
  }

  async unfinishedUploads(prefix: string, options?: CallOptions): Promise<readonly UnfinishedUpload[]> {
    throwIfAborted(options?.signal);
    await this.#requireRoot();
    return this.#run('listing uploads', options?.signal, () => this.#uploads.unfinished(prefix));
  }

  async *list(prefix: string, options?: CallOptions & { startAfter?: string }): AsyncIterable<ObjectInfo> {
    const signal = options?.signal;
    throwIfAborted(signal);
    await this.#requireRoot();
    try {
      for await (const { key, path } of listKeys(this.#root, prefix, options?.startAfter ?? '')) {
        throwIfAborted(signal);
        const stats = await statIfThere(path);
        if (stats !== null) yield describe(key, stats);
      }
      await this.#requireRoot(); // a disk that went away in between is not an empty store
    } catch (error) {
      throw fileError(this.url, 'listing', error, signal);
    }
  }

  async deleteMany(keys: readonly string[], options?: CallOptions): Promise<void> {
    throwIfAborted(options?.signal);
    for (const key of keys) checkKey(key);
    await this.#run('deleting', options?.signal, async () => {
      for (const key of keys) {
        throwIfAborted(options?.signal);
        await this.#remove(join(this.#root, keyToPath(key)));
      }
      await this.#requireRoot();
    });
  }

  async presignGet(key: string): Promise<string> {
    checkKey(key);
    throw new ArtifactError('Unsupported', `${this.url} is not served over HTTP, so it has no URLs`);
  }

  async probe(options?: ProbeOptions): Promise<StoreCapabilities> {
    await this.#requireRoot();
    const capabilities = await probeStore(this, { presign: false }, options);
    if (capabilities.writable) await this.#run('cleaning up', options?.signal, () => this.#sweep());
    return capabilities;
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #write(
    path: string,
    how: (from: string, to: string) => Promise<void>,
    fill: (file: FileHandle) => Promise<void>,
  ): Promise<PutResult> {
    let etag = '';
    await this.#durable.write(
      async (file) => {
        await fill(file);
        etag = etagOf(await file.stat({ bigint: true }));
      },
      (tmp) => this.#durable.place(tmp, path, how),
    );
    return { etag };
  }

  /** Directories that become empty go too, as an object store has none. */
  async #remove(path: string): Promise<void> {
    try {
      await unlink(path);
    } catch (error) {
      if (isMissing(error)) return;
      if ((await statIfThere(path)) === null) return;
      throw error;
    }
    for (let dir = dirname(path); dir !== this.#root; dir = dirname(dir)) {
      try {
        await rmdir(dir);
      } catch {
        return; // not empty, or another process was faster: an empty directory left behind does no harm
      }
    }
  }

  async #hasSize(path: string, parts: readonly PartInfo[]): Promise<boolean> {
    const stats = await statIfThere(path);
    return stats !== null && Number(stats.size) === partsSize(parts);
  }

  /** Files that crashed processes left behind. */
  async #sweep(): Promise<void> {
    const now = Date.now();
    const tmp = join(this.#root, '.tmp');
    for (const name of await readdir(tmp)) {
      const stats = await statIfThere(join(tmp, name));
      if (stats !== null && Number(stats.mtimeMs) < now - limits.storeTmpAgeMsMax)
        await this.#remove(join(tmp, name));
    }
    await this.#uploads.sweep(now - limits.storeUploadAgeMsMax);
  }

  /** Looks at what is there: a missing name is `NotFound`. */
  #reading<T>(
    what: string,
    key: string,
    options: CallOptions | undefined,
    operation: (path: string) => Promise<T>,
  ): Promise<T> {
    return this.#onKey(what, key, options, async (path) => {
      try {
        return await operation(path);
      } catch (error) {
        const missing = isMissing(error) || errnoOf(error) === 'EISDIR';
        if (missing || isCode(error, 'NotFound')) await this.#requireRoot();
        throw missing ? notFound(key, error) : error;
      }
    });
  }

  /** Changes something: what is in the way is a key that is also a folder. */
  #writing<T>(
    what: string,
    key: string,
    options: CallOptions | undefined,
    operation: (path: string) => Promise<T>,
  ): Promise<T> {
    return this.#onKey(what, key, options, async (path) => {
      try {
        return await operation(path);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT' || isCode(error, 'NotFound')) await this.#requireRoot();
        if (['EISDIR', 'ENOTDIR', 'EEXIST', 'ENOTEMPTY'].includes(errnoOf(error) ?? ''))
          throw new ArtifactError(
            'Invalid',
            `object ${key}: a key cannot also be a folder of keys`,
            {},
            error,
          );
        throw error;
      }
    });
  }

  #onKey<T>(
    what: string,
    key: string,
    options: CallOptions | undefined,
    operation: (path: string) => Promise<T>,
  ): Promise<T> {
    return this.#run(what, options?.signal, async () => {
      checkKey(key);
      throwIfAborted(options?.signal);
      return operation(join(this.#root, keyToPath(key)));
    });
  }

  async #run<T>(what: string, signal: AbortSignal | undefined, operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (error) {
      throw fileError(this.url, what, error, signal);
    }
  }

  async #requireRoot(): Promise<void> {
    const stats = await this.#run('opening', undefined, () => statIfThere(this.#root));
    if (stats?.isDirectory() !== true)
      throw new ArtifactError('StoreMissing', `the directory of ${this.url} does not exist`, {
        hint: 'mount the disk that holds it, or create the directory',
      });
  }
}

async function read(file: FileHandle, key: string, range: ByteRange, into?: Buffer): Promise<Buffer> {
  const bytes = into ?? Buffer.allocUnsafeSlow(range.length);
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, range.offset + done);
    if (bytesRead === 0) throw pastTheEnd(key, range);
    done += bytesRead;
  }
  return bytes;
}

async function statIfThere(path: string): Promise<BigIntStats | null> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

const describe = (key: string, stats: BigIntStats): ObjectInfo => ({
  key,
  size: Number(stats.size),
  etag: etagOf(stats),
  modifiedMs: Number(stats.mtimeMs),
});

/** Changes whenever the file is replaced. */
const etagOf = (stats: BigIntStats): string =>
  [stats.ino, stats.size, stats.mtimeNs].map((n) => n.toString(16)).join('-');
