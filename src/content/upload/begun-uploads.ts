import type { Readable } from 'node:stream';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type {
  CallOptions,
  ObjectStore,
  PartInfo,
  ProgressOptions,
  PutResult,
} from '../../store/object-store.js';
import { type StoreCall, WrappedStore } from '../../store/wrap/wrapped-store.js';
import type { BegunJournal } from '../ports.js';

export interface BegunUploadsOptions {
  readonly journal: BegunJournal;
  /** Beside those that were begun here: uploads of an earlier process that go on. */
  readonly isGoingOn: (key: string) => boolean;
  /** Without uploads for so long, those left behind are looked for. */
  readonly quietMs?: number;
}

/**
 * The store for whoever uploads. Of an upload whose answer was lost, or whose process was killed, nobody knows the id, and
 * the store keeps its parts for ever. So it is noted before the first upload where uploads will be: under `d/<stageId>/` of
 * an artifact, where nobody writes but this machine. When there was quiet the store is asked what is unfinished there, and
 * what nobody here works on is aborted.
 */
export class BegunUploads extends WrappedStore {
  readonly #options: BegunUploadsOptions;
  readonly #underWay = new Set<string>();
  /** As noted in the journal; null until it is read. */
  #noted: Set<string> | null = null;
  #begun = 0;
  #timer: NodeJS.Timeout | null = null;
  /** The first upload that was not followed by a look. */
  #restlessSinceMs: number | null = null;
  #sweeping: Promise<void> = Promise.resolve();
  readonly #closing = new AbortController();

  constructor(inner: ObjectStore, options: BegunUploadsOptions) {
    super(inner);
    this.#options = options;
  }

  protected override around<T>(_call: StoreCall, run: () => Promise<T>): Promise<T> {
    return run();
  }

  /** What an earlier process left is looked for, too: its uploads that go on are known. */
  resume(): void {
    if (this.#notes().size > 0) this.#sweepLater();
  }

  override async createMultipart(key: string, options?: CallOptions): Promise<string> {
    this.#begin(key);
    try {
      return await this.inner.createMultipart(key, options);
    } catch (error) {
      this.#end(key);
      throw error;
    }
  }

  override async completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    try {
      const result = await this.inner.completeMultipart(key, uploadId, parts, options);
      this.#end(key);
      return result;
    } catch (error) {
      if (isCode(error, 'NotFound')) this.#end(key);
      throw error;
    }
  }

  override abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    // Given up, whether the store hears of it now or later.
    this.#end(key);
    return this.inner.abortMultipart(key, uploadId, options);
  }

  override async putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    this.#begin(key);
    try {
      return await this.inner.putStream(key, source, options);
    } finally {
      this.#end(key);
    }
  }

  /** Aborts what is unfinished and nobody works on. The note of a place stays while somebody works on another there. */
  async sweep(): Promise<void> {
    const options = { signal: this.#closing.signal };
    for (const prefix of [...this.#notes()]) {
      const begun = this.#begun;
      const left = await this.inner.unfinishedUploads(prefix, options);
      for (const { key, uploadId } of left) {
        if (!this.#isGoingOn(key)) await this.inner.abortMultipart(key, uploadId, options);
      }
      const isQuiet = begun === this.#begun && !left.some(({ key }) => this.#isGoingOn(key));
      if (isQuiet && ![...this.#underWay].some((key) => placeOf(key) === prefix)) this.#forget(prefix);
    }
  }

  /** The inner store is somebody else's. */
  override async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new ArtifactError('Interrupted', 'the mount is closing'));
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#sweeping;
  }

  #isGoingOn(key: string): boolean {
    return this.#underWay.has(key) || this.#options.isGoingOn(key);
  }

  #begin(key: string): void {
    const place = placeOf(key);
    const notes = this.#notes();
    if (!notes.has(place)) {
      this.#options.journal.noteBegun(place);
      notes.add(place);
    }
    this.#begun++;
    this.#underWay.add(key);
    this.#sweepLater();
  }

  #end(key: string): void {
    this.#underWay.delete(key);
    this.#sweepLater();
  }

  #notes(): Set<string> {
    this.#noted ??= new Set(this.#options.journal.begun());
    return this.#noted;
  }

  #forget(place: string): void {
    this.#options.journal.forgetBegun(place);
    this.#notes().delete(place);
  }

  #sweepLater(): void {
    const now = performance.now();
    this.#restlessSinceMs ??= now;
    const { quietMs = limits.uploadSweepQuietMs } = this.#options;
    this.#sweepIn(Math.min(quietMs, Math.max(0, this.#restlessSinceMs + limits.uploadSweepMsMax - now)));
  }

  #sweepIn(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#closing.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#restlessSinceMs = null;
      this.#sweeping = this.#sweeping.then(() => this.sweep()).catch((error: unknown) => this.#failed(error));
    }, ms);
    this.#timer.unref();
  }

  /** The notes stay. Who may not list uploads, or has a store that cannot, may only hope that it cleans up by itself. */
  #failed(error: unknown): void {
    if (isCode(error, 'StoreUnavailable', 'Busy', 'TimedOut')) this.#sweepIn(limits.uploadSweepMsMax);
  }
}

const placeOf = (key: string): string => key.slice(0, key.lastIndexOf('/') + 1);
