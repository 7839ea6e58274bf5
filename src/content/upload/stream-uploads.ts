import { statSync } from 'node:fs';
import { ArtifactError, isCode, toArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { ObjectStore } from '../../store/object-store.js';
import type { WholeObject } from '../cache/disk-object.js';
import type { StagingFiles } from '../local/staging.js';
import type { UploaderStatus, UploadJournal, UploadTarget } from '../ports.js';
import type { StoreDistance } from '../store-distance.js';
import type { TransferQueue } from '../transfer-queue.js';
import { Frontier } from './frontier.js';
import type { HashPool } from './hash-pool.js';
import { ObjectUpload } from './object-upload.js';
import type { PartBuffers } from './part-body.js';
import { partBase } from './part-plan.js';
import { StreamedFile } from './streamed-file.js';

/** The keys of doc/FORMAT.md, made by the layer that owns them. */
export interface ContentKeys {
  /** The full key of an object that an extent names. */
  readonly objectKey: (artifactId: string, object: string) => string;
  readonly packObject: (stageId: string, n: number) => string;
  readonly dataObject: (stageId: string, n: number, baseName: string) => string;
}

export interface StreamUploadsParts {
  readonly store: ObjectStore;
  readonly keys: ContentKeys;
  readonly staging: StagingFiles;
  readonly journal: UploadJournal;
  readonly hashes: HashPool;
  readonly queue: TransferQueue;
  readonly buffers: PartBuffers;
  readonly distance: StoreDistance;
}

/**
 * Whole staging files that become objects while they are written. Nothing is held in memory but the parts under way:
 * they are read back from the staging files. A failure here is nobody's: it is shown in `status` and tried again, with
 * delays that grow.
 */
export class StreamUploads implements AsyncDisposable {
  readonly #parts: StreamUploadsParts;
  /** How far small files are written: all that is kept of them. */
  readonly #frontiers = new Map<number, Frontier>();
  readonly #streams = new Map<number, StreamedFile>();
  /** Those that may have a part to send. */
  readonly #ready = new Set<StreamedFile>();
  readonly #work = new Set<Promise<void>>();
  #active = 0;
  #failures = 0;
  #pause: NodeJS.Timeout | null = null;
  /** Runs while somebody writes: then it is looked again whether there is room for uploads. */
  #quiet: NodeJS.Timeout | null = null;
  #writtenMs = Number.NEGATIVE_INFINITY;
  /** The request that tells how far the store is, once it was made. */
  #measuring: Promise<void> | null = null;
  #lastError: string | null = null;
  readonly #closing = new AbortController();

  constructor(parts: StreamUploadsParts) {
    this.#parts = parts;
  }

  written(target: UploadTarget, offset: number, length: number): void {
    const { file } = target;
    this.#writtenMs = performance.now();
    const stream = this.#streams.get(file);
    if (stream === undefined) {
      const frontier = this.#frontiers.get(file) ?? new Frontier();
      this.#frontiers.set(file, frontier);
      frontier.add(offset, length);
      if (frontier.end >= 2 * limits.partBytesMin) this.#wake(this.#begin(target, limits.partBytesMin));
      return;
    }
    stream.changed(offset);
    if (stream.upload.changed(offset, length)) {
      stream.frontier.add(offset, length);
      this.#wake(stream);
      return;
    }
    // Finished, and now it is something else: the object stays for who refers to it.
    this.forget(file);
    this.#parts.journal.remove(file);
    this.written(target, offset, length);
  }

  forget(file: number): void {
    this.#frontiers.delete(file);
    const stream = this.#streams.get(file);
    if (stream === undefined) return;
    this.#streams.delete(file);
    this.#ready.delete(stream);
    stream.close();
    this.#abandon(stream.upload);
  }

  /** True when the journal knows `file` from here. */
  has(file: number): boolean {
    return this.#streams.has(file);
  }

  /** True when an unfinished upload of this key is known. */
  isGoingOn(key: string): boolean {
    for (const { upload } of this.#streams.values()) {
      if (upload.key === key) return upload.completedSize === null;
    }
    return false;
  }

  /** The upload of a whole file of `size` bytes, begun before or now. Until `release` no more of its parts are begun in the background. */
  seal(target: UploadTarget, size: number): StreamedFile {
    const before = this.#streams.get(target.file);
    const owned =
      before?.upload.target.artifactId === target.artifactId &&
      before.upload.target.stageId === target.stageId;
    if (before !== undefined && !owned) this.forget(target.file);
    const stream = owned ? before : this.#begin(target, partBase(size));
    if (stream.sealed) {
      throw new ArtifactError('Busy', `${target.path} is being uploaded by another commit`);
    }
    stream.sealed = true;
    return stream;
  }

  release(stream: StreamedFile): void {
    stream.sealed = false;
    this.#wake(stream);
  }

  /** Begins again under a fresh key: the old object is finished with other bytes, or the store has forgotten it. */
  restart(stream: StreamedFile, partBytes = stream.upload.partBytes): void {
    const { target } = stream.upload;
    this.#parts.journal.remove(target.file);
    this.#abandon(stream.upload);
    stream.restart(this.#objectUpload(target, this.#newObject(target), partBytes));
  }

  /** The store does not have the object that it took: what it said of it is not believed again, nor after a restart. */
  lost(stream: StreamedFile): void {
    if (this.#streams.get(stream.upload.target.file) === stream) this.restart(stream);
  }

  /** Registers everything the journal knows; the store is asked about each upload when it is next used. */
  resume(): void {
    for (const row of this.#parts.journal.all()) {
      const upload = this.#objectUpload(row, row.object, row.partBytes);
      upload.restore(row.uploadId, row.parts, row.completedSize);
      const local = statSync(this.#parts.staging.path(row.file), { throwIfNoEntry: false });
      if (local === undefined || (row.completedSize === null && row.uploadId === '')) {
        this.#abandon(upload);
        continue;
      }
      const frontier = new Frontier();
      frontier.add(0, local.size);
      this.#wake(this.#add(upload, frontier));
    }
  }

  status(): UploaderStatus {
    let backlogBytes = 0;
    for (const { upload, frontier } of this.#streams.values()) {
      if (upload.completedSize === null) backlogBytes += Math.max(0, frontier.end - upload.sentBytes);
    }
    return { backlogBytes, activeParts: this.#parts.queue.active, lastError: this.#lastError };
  }

  /** The finished object that has exactly the bytes of a staging file, with the checksums of its pieces. */
  finished(file: number): WholeObject | null {
    const upload = this.#streams.get(file)?.upload;
    const size = upload?.completedSize ?? null;
    if (upload === undefined || size === null) return null;
    const checks = upload.checks();
    return checks === null ? null : { key: upload.key, size, checks };
  }

  /** The store works again: whatever failed in the background may be tried at once. */
  recovered(): void {
    this.#failures = 0;
    this.#lastError = null;
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
    this.#pump();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new ArtifactError('Interrupted', 'the mount is closing'));
    if (this.#pause !== null) clearTimeout(this.#pause);
    if (this.#quiet !== null) clearTimeout(this.#quiet);
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  #begin(target: UploadTarget, partBytes: number): StreamedFile {
    const frontier = this.#frontiers.get(target.file) ?? new Frontier();
    this.#frontiers.delete(target.file);
    return this.#add(this.#objectUpload(target, this.#newObject(target), partBytes), frontier);
  }

  #add(upload: ObjectUpload, frontier: Frontier): StreamedFile {
    const { file } = upload.target;
    const stream = new StreamedFile(upload, frontier, this.#parts.hashes, this.#parts.staging.path(file));
    this.#streams.set(file, stream);
    return stream;
  }

  #newObject({ stageId, path }: UploadTarget): string {
    const n = this.#parts.journal.nextObjectNumber(stageId);
    return this.#parts.keys.dataObject(stageId, n, path.slice(path.lastIndexOf('/') + 1));
  }

  #objectUpload(from: UploadTarget, object: string, partBytes: number): ObjectUpload {
    const { artifactId, stageId, file, path } = from;
    const { staging, keys } = this.#parts;
    const source = { readInto: (offset: number, target: Buffer) => staging.readInto(file, offset, target) };
    const key = keys.objectKey(artifactId, object);
    return new ObjectUpload(this.#parts, {
      target: { artifactId, stageId, file, path },
      object,
      key,
      partBytes,
      source,
    });
  }

  #wake(stream: StreamedFile): void {
    if (stream.nextPart() === null) return;
    this.#ready.add(stream);
    this.#pump();
  }

  /** Starts parts in the background, as many as may be under way. */
  #pump(): void {
    if (this.#closing.signal.aborted || this.#pause !== null) return;
    const partsMax = this.#partsMax();
    for (const stream of this.#ready) {
      if (!this.#parts.distance.isKnown) this.#measure(stream);
      for (let next = stream.nextPart(); next !== null; next = stream.nextPart()) {
        if (this.#active >= partsMax) {
          if (partsMax < limits.uploadPartsMax) this.#pumpLater();
          return;
        }
        this.#send(stream, next.part, next.length);
      }
      this.#ready.delete(stream);
    }
  }

  /**
   * Sending reads, checksums and hashes the same bytes again, on the disk and the cores that the writer needs. Most
   * files are written in a moment, so that their upload may wait until then, and many are gone again after it. Long writes
   * are followed by a few connections, and by more where those are slower than the writer. A store that is known to be far is no
   * faster than all connections together, and what it has not got when the writer is done is waited for: it has them at once.
   */
  #partsMax(): number {
    const { isFar } = this.#parts.distance;
    const isQuiet = performance.now() - this.#writtenMs >= limits.uploadQuietMsMin;
    if (isFar || isQuiet) return limits.uploadPartsMax;
    const more =
      (this.status().backlogBytes - limits.uploadBacklogBytesMin) / limits.uploadBacklogBytesPerPart;
    if (more < 0) return 0;
    return Math.min(limits.uploadPartsMax, limits.uploadPartsWhileWritten + Math.floor(more));
  }

  /** Begins the first upload before it is its turn: that tells how far the store is, and so how soon parts are to be sent. */
  #measure({ upload }: StreamedFile): void {
    if (this.#measuring !== null) return;
    this.#measuring = upload.begin().then(
      () => this.#pump(),
      // Who sends its first part sees what is wrong.
      () => {},
    );
    this.#track(this.#measuring);
  }

  #pumpLater(): void {
    if (this.#quiet !== null) return;
    this.#quiet = setTimeout(() => {
      this.#quiet = null;
      this.#pump();
    }, limits.uploadQuietMsMin);
    this.#quiet.unref();
  }

  #send(stream: StreamedFile, part: number, length: number): void {
    const { upload } = stream;
    this.#active++;
    const sent = upload
      .sendPart(part, length, false, this.#closing.signal)
      .then(() => {
        this.#failures = 0;
        this.#lastError = null;
      })
      .catch((error: unknown) => this.#failed(stream, upload, part, error))
      .finally(() => {
        this.#active--;
        this.#pump();
      });
    this.#track(sent);
  }

  #failed(stream: StreamedFile, upload: ObjectUpload, part: number, error: unknown): void {
    // Given up meanwhile: nobody wants the part any more.
    if (this.#streams.get(upload.target.file)?.upload !== upload) return;
    if (isCode(error, 'NotFound') && !stream.sealed) this.restart(stream);
    else stream.again(part);
    this.#ready.add(stream);
    this.#lastError = `${upload.target.path}: ${toArtifactError(error).message}`;
    this.#backOff();
  }

  #backOff(): void {
    if (this.#pause !== null || this.#closing.signal.aborted) return;
    const delayMs = Math.min(
      limits.uploadRetryDelayMsMax,
      limits.uploadRetryDelayMsMin * 2 ** this.#failures++,
    );
    // Many mounts must not come back in the same moment.
    this.#pause = setTimeout(
      () => {
        this.#pause = null;
        this.#pump();
      },
      delayMs * (0.5 + Math.random() / 2),
    );
    this.#pause.unref();
  }

  /** When it fails, the row stays in the journal; the next start finds no staging file and tries again. */
  #abandon(upload: ObjectUpload): void {
    const { file } = upload.target;
    const gone = upload.abandon().then(() => {
      if (!this.#streams.has(file)) this.#parts.journal.remove(file);
    });
    this.#track(
      gone.catch((error: unknown) => {
        this.#lastError = `${upload.target.path}: ${toArtifactError(error).message}`;
      }),
    );
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }
}
