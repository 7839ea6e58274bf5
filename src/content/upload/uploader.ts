import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { anySignal } from '../../util/shared-signal.js';
import type { WholeObject } from '../cache/disk-object.js';
import type { StagingFiles } from '../local/staging.js';
import type {
  ContentReader,
  Uploader,
  UploaderStatus,
  UploadJournal,
  UploadOptions,
  UploadRequest,
  UploadResult,
  UploadTarget,
} from '../ports.js';
import type { StoreDistance } from '../store-distance.js';
import { TransferQueue } from '../transfer-queue.js';
import type { BegunUploads } from './begun-uploads.js';
import { HashPool } from './hash-pool.js';
import { PacksAhead } from './packs-ahead.js';
import { PartBuffers } from './part-body.js';
import { type ContentKeys, StreamUploads } from './stream-uploads.js';
import { UploadAttempts } from './upload-attempts.js';
import { UploadRun } from './upload-run.js';

export interface ContentUploaderParts {
  readonly store: BegunUploads;
  readonly keys: ContentKeys;
  readonly staging: StagingFiles;
  readonly journal: UploadJournal;
  readonly reader: ContentReader;
  /** What all parts and packs on their way may hold together. */
  readonly memoryBytesMax: number;
  /** Is told of each upload that begins. */
  readonly distance: StoreDistance;
  /** A pack is in the store: its bytes, which must not change, may be cached. */
  readonly onPack: (key: string, bytes: Buffer) => void;
}

/** Large files stream in the background (stream-uploads.ts), everything else goes at `upload` (upload-run.ts). */
export class ContentUploader implements Uploader, AsyncDisposable {
  readonly #parts: ContentUploaderParts;
  readonly #hashes = new HashPool();
  readonly #queue: TransferQueue;
  readonly #buffers = new PartBuffers();
  readonly #streams: StreamUploads;
  readonly #attempts: UploadAttempts;
  readonly #ahead: PacksAhead;
  readonly #closing = new AbortController();
  readonly #runs = new Set<Promise<unknown>>();

  constructor(parts: ContentUploaderParts) {
    this.#parts = parts;
    this.#queue = new TransferQueue(limits.uploadPartsMax, parts.memoryBytesMax);
    const shared = { ...parts, hashes: this.#hashes, queue: this.#queue, buffers: this.#buffers };
    this.#streams = new StreamUploads(shared);
    this.#attempts = new UploadAttempts({ ...shared, streams: this.#streams });
    const packBytesMax = Math.min(limits.packBytesTarget, Math.floor(parts.memoryBytesMax / 2));
    this.#ahead = new PacksAhead({ ...shared, packBytesMax });
  }

  written(target: UploadTarget, offset: number, length: number): void {
    if (length <= 0) return;
    this.#attempts.changed(target.file);
    this.#streams.written(target, offset, length);
  }

  forget(file: number): void {
    this.#attempts.changed(file);
    this.#streams.forget(file);
  }

  get takesAhead(): boolean {
    return this.#ahead.isFree;
  }

  async sendAhead(artifactId: string, stageId: string, requests: readonly UploadRequest[]): Promise<void> {
    const sending = this.#ahead.send({ artifactId, stageId }, requests, this.#closing.signal);
    this.#runs.add(sending);
    await sending;
    this.#runs.delete(sending);
  }

  changedAhead(artifactId: string, ino: number): void {
    this.#ahead.changed(artifactId, ino);
  }

  forgetAhead(artifactId: string): void {
    this.#ahead.forget(artifactId);
  }

  async upload(
    artifactId: string,
    stageId: string,
    requests: readonly UploadRequest[],
    options: UploadOptions = {},
  ): Promise<UploadResult[]> {
    using either = anySignal(options.signal, this.#closing.signal);
    const { signal } = either;
    const shared = {
      hashes: this.#hashes,
      queue: this.#queue,
      buffers: this.#buffers,
      streams: this.#streams,
    };
    const parts = { ...this.#parts, ...shared, attempts: this.#attempts, ahead: this.#ahead };
    const run = new UploadRun(parts, { artifactId, stageId }, requests, { ...options, signal }).run();
    this.#runs.add(run);
    try {
      const results = await run;
      this.#streams.recovered();
      return results;
    } catch (error) {
      if (signal.aborted) throw new ArtifactError('Interrupted', 'the upload was stopped', {}, error);
      throw error;
    } finally {
      this.#runs.delete(run);
    }
  }

  /** True when an unfinished upload of this key, of an earlier process or of this one, is known. */
  isGoingOn(key: string): boolean {
    return this.#streams.isGoingOn(key);
  }

  async resume(): Promise<void> {
    this.#streams.resume();
    this.#parts.store.resume();
  }

  /** Memory for parts and packs on their way, and buffers kept for the next ones. */
  get memoryBytes(): number {
    return this.#queue.activeBytes + this.#buffers.idleBytes;
  }

  status(): UploaderStatus {
    return this.#streams.status();
  }

  /** A finished object that has exactly the bytes of a staging file, for the disk cache to take the file over. */
  finished(file: number): WholeObject | null {
    return this.#streams.finished(file);
  }

  /** Stops what is under way. The journal keeps what was sent, for `resume`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new ArtifactError('Interrupted', 'the mount is closing'));
    await Promise.allSettled(this.#runs);
    await this.#streams[Symbol.asyncDispose]();
    await this.#hashes[Symbol.asyncDispose]();
  }
}
