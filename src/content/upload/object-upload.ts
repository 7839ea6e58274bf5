import { ArtifactError, isCode } from '../../model/errors.js';
import type { ObjectStore } from '../../store/object-store.js';
import { crashPoint } from '../../util/crash-point.js';
import { anySignal } from '../../util/shared-signal.js';
import type { JournaledPart, UploadJournal, UploadTarget } from '../ports.js';
import type { StoreDistance } from '../store-distance.js';
import type { TransferQueue } from '../transfer-queue.js';
import { type ByteSource, PartBody, type PartBuffers } from './part-body.js';
import { partAt, partLength, partStart } from './part-plan.js';
import { type SentPart, SentParts } from './sent-parts.js';
import { verifyStored } from './verify-stored.js';

/** One for a part that is not in the store as we believe, one for parts that the store will not leave out. */
const completeTriesMax = 3;

export interface ObjectUploadParts {
  readonly store: ObjectStore;
  readonly queue: TransferQueue;
  readonly buffers: PartBuffers;
  /** Is told how long it took to begin an upload: the request that the store need do least for. */
  readonly distance: StoreDistance;
  /** null: nothing is remembered of it; a crash leaves its parts to the store's own cleaning. */
  readonly journal: UploadJournal | null;
}

export interface ObjectUploadInit {
  /** Its `file` is the number under which the journal knows the upload. */
  readonly target: UploadTarget;
  /** Relative to the artifact, and the full key of the same. */
  readonly object: string;
  readonly key: string;
  readonly partBytes: number;
  readonly source: ByteSource;
}

/** A part on its way. One whose bytes changed meanwhile is `stale` and will not count. */
interface ActivePart {
  stale: boolean;
  done: Promise<void>;
  /** Somebody waits for it. */
  hurry(): void;
}

/** Who wants to see the bytes of parts that are read to be sent. */
export interface PartFollower {
  /** The part at `offset` is read. Resolves when its bytes are not looked at any more; undefined: they are not wanted. Never rejects. */
  follow(offset: number, length: number, body: Promise<PartBody>): Promise<void> | undefined;
}

/**
 * One object on its way into the store, in parts that may be sent in any order, again after their bytes changed, and
 * by another process after a crash. Bytes must not change from `place` on until it is verified; before that `changed` says what did.
 */
export class ObjectUpload {
  readonly target: UploadTarget;
  readonly object: string;
  readonly key: string;
  readonly partBytes: number;
  follower: PartFollower | null = null;
  readonly #parts: ObjectUploadParts;
  readonly #source: ByteSource;
  #uploadId: string | null = null;
  #creating: Promise<string> | null = null;
  #unlisted = false;
  #listing: Promise<void> | null = null;
  readonly #sent: SentParts;
  readonly #active = new Map<number, ActivePart>();
  #completedSize: number | null = null;
  #abandoned = false;

  constructor(parts: ObjectUploadParts, init: ObjectUploadInit) {
    this.#parts = parts;
    this.target = init.target;
    this.object = init.object;
    this.key = init.key;
    this.partBytes = init.partBytes;
    this.#source = init.source;
    this.#sent = new SentParts(init.target.file, parts.journal);
  }

  get uploadId(): string | null {
    return this.#uploadId;
  }

  /** Size of the finished object; null while it is not. */
  get completedSize(): number | null {
    return this.#completedSize;
  }

  /** Bytes that are in the store and still true. */
  get sentBytes(): number {
    return this.#sent.bytes;
  }

  isSent(part: number): boolean {
    return this.#sent.has(part) || this.#active.has(part);
  }

  /**
   * Takes up what an earlier process left. Parts count when the store knows them too, which is asked before the first
   * use, and when the local bytes have their checksum.
   */
  restore(uploadId: string, parts: readonly JournaledPart[], completedSize: number | null): void {
    this.#uploadId = uploadId;
    this.#completedSize = completedSize;
    this.#unlisted = completedSize === null;
    for (const part of parts) this.#sent.restore(part);
  }

  /** Asks the store which parts of an earlier process it has. `NotFound`: it has forgotten the upload. */
  async listed(): Promise<void> {
    const uploadId = this.#uploadId;
    if (!this.#unlisted || uploadId === null) return;
    this.#listing ??= this.#reconcile(uploadId)
      .then(() => {
        this.#unlisted = false;
      })
      .finally(() => {
        this.#listing = null;
      });
    await this.#listing;
  }

  /** Local bytes changed: parts that hold them are sent again. False when the object was finished: it is of no use now. */
  changed(offset: number, length: number): boolean {
    if (this.#completedSize !== null) return false;
    const last = partAt(offset + length - 1, this.partBytes);
    for (let part = partAt(offset, this.partBytes); part <= last; part++) {
      const active = this.#active.get(part);
      if (active !== undefined) active.stale = true;
      this.#sent.drop(part);
    }
    return true;
  }

  /** Tells the store of it, before there is a part to send. */
  async begin(): Promise<void> {
    await this.#create();
  }

  /** Sends one part. `urgent` goes before those sent in the background. */
  sendPart(part: number, length: number, urgent: boolean, signal?: AbortSignal): Promise<void> {
    const entry: ActivePart = { stale: false, done: Promise.resolve(), hurry: () => {} };
    const transfer = this.#parts.queue.run(length, urgent, () => this.#transfer(part, length, entry, signal));
    entry.hurry = transfer.hurry;
    entry.done = transfer.promise.finally(() => {
      if (this.#active.get(part) === entry) this.#active.delete(part);
    });
    this.#active.set(part, entry);
    return entry.done;
  }

  /**
   * Makes the object of `size` bytes complete: checks what an earlier process sent, sends what is missing, and completes. Answers
   * what verifies its size, which must succeed before anything names it. Calling it again after that costs a HEAD. `Stale`: it
   * was finished and cannot become what is wanted now. `NotFound`: the store has forgotten the upload. When verifying fails with
   * `Corrupt`, the store has lost what it took. All of them need a new object.
   */
  async place(
    size: number,
    signal?: AbortSignal,
    onBytes: (bytes: number) => void = () => {},
  ): Promise<() => Promise<void>> {
    if (this.#completedSize !== null) {
      if (this.#completedSize === size && (await this.#confirm(size, signal))) return async () => {};
      throw new ArtifactError('Stale', `${this.target.path}: its object ${this.object} holds other bytes`);
    }
    await this.listed();
    let isThere = true;
    if (size <= this.partBytes) {
      await this.settled();
      await this.#putWhole(size, signal);
    } else isThere = await this.#finishParts(size, signal, onBytes);
    if (isThere) return () => this.#verify(size, signal);
    await this.#verify(size, signal).catch((error: unknown) => {
      if (!isCode(error, 'Corrupt')) throw error;
      throw new ArtifactError('NotFound', `the store has forgotten the upload of ${this.key}`, {}, error);
    });
    return async () => {};
  }

  /** CRC32 of each cached piece of the finished object; null when this process has not read all of it. */
  checks(): number[] | null {
    return this.#sent.checks();
  }

  /** Resolves when no part is under way. */
  async settled(): Promise<void> {
    while (this.#active.size > 0) {
      await Promise.allSettled([...this.#active.values()].map(({ done }) => done));
    }
  }

  /** Gives up: nothing is sent any more, and what the store keeps of unfinished parts goes. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    await this.settled();
    await this.#creating?.catch(() => {});
    const id = this.#uploadId;
    if (id !== null && this.#completedSize === null) await this.#parts.store.abortMultipart(this.key, id);
  }

  /** Removes it from the journal. */
  forgetRow(): void {
    this.#parts.journal?.remove(this.target.file);
  }

  async #transfer(
    part: number,
    length: number,
    entry: { stale: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    if (this.#abandoned) throw this.#givenUp();
    signal?.throwIfAborted();
    await this.listed();
    const uploadId = await this.#create();
    const body = await this.#load(part, length);
    try {
      if (entry.stale) return;
      const info = await this.#parts.store.uploadPart(this.key, uploadId, part, body.chunks, {
        crc32: body.crc32,
        ...(signal && { signal }),
      });
      crashPoint('upload-part-sent');
      if (entry.stale || this.#abandoned) return;
      this.#sent.add(info, body.crc32, body.checks);
      crashPoint('upload-part-journaled');
    } finally {
      await body.release(this.#parts.buffers);
    }
  }

  async #load(part: number, length: number): Promise<PartBody> {
    const offset = partStart(part, this.partBytes);
    const loading = PartBody.read(this.#source, offset, length, this.#parts.buffers);
    const followed = this.follower?.follow(offset, length, loading);
    const body = await loading;
    body.holdUntil(followed);
    return body;
  }

  async #verify(size: number, signal?: AbortSignal): Promise<void> {
    await verifyStored(this.#parts.store, this.key, size, signal);
    crashPoint('upload-object-verified');
    this.#completedSize = size;
  }

  async #putWhole(size: number, signal?: AbortSignal): Promise<void> {
    await this.#parts.queue.run(size, true, async () => {
      const body = await this.#load(1, size);
      try {
        const { etag } = await this.#parts.store.put(this.key, body.chunks, {
          crc32: body.crc32,
          ...(signal && { signal }),
        });
        crashPoint('upload-object-put');
        this.#sent.dropAfter(0);
        if (this.#uploadId === null) this.#journalUpload('');
        this.#sent.add({ part: 1, size, etag }, body.crc32, body.checks);
      } finally {
        await body.release(this.#parts.buffers);
      }
    }).promise;
    const id = this.#uploadId;
    if (id === null) return;
    this.#uploadId = null;
    await this.#parts.store.abortMultipart(this.key, id, signal && { signal });
  }

  /** False: it may be complete, but the store did not say so. */
  async #finishParts(
    size: number,
    signal: AbortSignal | undefined,
    onBytes: (bytes: number) => void,
  ): Promise<boolean> {
    const last = partAt(size - 1, this.partBytes);
    const beyond = [...this.#active].filter(([part]) => part > last);
    await Promise.allSettled(beyond.map(([, { done }]) => done));
    this.#sent.dropAfter(last);
    for (let tries = 1; ; tries++) {
      await this.#sendMissing(size, last, signal, onBytes);
      const uploadId = await this.#create();
      try {
        await this.#complete(uploadId, last, signal);
        break;
      } catch (error) {
        // An upload that is gone may have been completed by a call whose answer was lost: HEAD tells.
        if (isCode(error, 'NotFound')) return false;
        if (tries === completeTriesMax) throw error;
        // Parts were sent that the file no longer has, and this store wants all of them.
        if (isCode(error, 'Unsupported')) await this.#beginAgain(uploadId, signal);
        // A part in the store is not the one we believe in: what the store says decides.
        else if (isCode(error, 'Invalid', 'Corrupt')) await this.#reconcile(uploadId, signal);
        else throw error;
      }
    }
    crashPoint('upload-object-completed');
    return true;
  }

  /**
   * Gives up the parts sent so far and goes on with another upload of the same object, which was never there. Until that
   * is journaled the row names one that is gone: a restart learns it from the store, as from any that has forgotten it.
   */
  async #beginAgain(uploadId: string, signal?: AbortSignal): Promise<void> {
    await this.#parts.store.abortMultipart(this.key, uploadId, signal && { signal });
    crashPoint('upload-parts-refused');
    this.#uploadId = null;
    this.#sent.dropAfter(0);
  }

  async #complete(uploadId: string, last: number, signal?: AbortSignal): Promise<void> {
    const list = this.#sent.list(this.key, last);
    await this.#parts.store.completeMultipart(this.key, uploadId, list, signal && { signal });
  }

  async #sendMissing(
    size: number,
    last: number,
    outer: AbortSignal | undefined,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    const failed = new AbortController();
    using either = anySignal(outer, failed.signal);
    const work: Promise<void>[] = [];
    let first: { error: unknown } | undefined;
    for (let part = 1; part <= last; part++) {
      const length = Math.min(partLength(part, this.partBytes), size - partStart(part, this.partBytes));
      const isThere = () => {
        const sent = this.#sent.get(part);
        return sent?.trusted === true && sent.info.size === length;
      };
      if (isThere()) continue;
      const active = this.#active.get(part);
      // In its turn: parts that are read in order are hashed by the way.
      active?.hurry();
      const send = async () => {
        // One that is on its way may count; if not, it must not arrive after the one that does. The others do not wait for it.
        await active?.done.catch(() => {});
        if (isThere()) {
          onBytes(length);
          return;
        }
        const sent = this.#sent.get(part);
        if (sent !== undefined && (await this.#isTrue(sent, length))) {
          sent.trusted = true;
          return;
        }
        this.#sent.drop(part);
        await this.sendPart(part, length, true, either.signal);
        onBytes(length);
      };
      const sending = send().catch((error: unknown) => {
        // The parts it stops fail too, but only because of it.
        first ??= { error };
        failed.abort(error);
      });
      work.push(sending);
    }
    await Promise.all(work);
    outer?.throwIfAborted();
    if (first !== undefined) throw first.error;
  }

  /** Compares a part sent by an earlier process with the bytes that are here now. */
  async #isTrue(sent: SentPart, length: number): Promise<boolean> {
    if (sent.info.size !== length) return false;
    const check = this.#parts.queue.run(length, true, () => this.#load(sent.info.part, length));
    const body = await check.promise;
    await body.release(this.#parts.buffers);
    sent.checks = body.checks;
    return body.crc32 === sent.crc32;
  }

  /** The object is in the store, and its bytes are the local ones. */
  async #confirm(size: number, signal?: AbortSignal): Promise<boolean> {
    for (const sent of this.#sent.values()) {
      if (!sent.trusted && !(await this.#isTrue(sent, sent.info.size))) return false;
      sent.trusted = true;
    }
    if (this.#sent.bytes !== size) return false;
    try {
      return (await this.#parts.store.head(this.key, signal && { signal })).size === size;
    } catch (error) {
      if (isCode(error, 'NotFound')) return false;
      throw error;
    }
  }

  async #reconcile(uploadId: string, signal?: AbortSignal): Promise<void> {
    this.#sent.compareWith(await this.#parts.store.listParts(this.key, uploadId, signal && { signal }));
  }

  /** Several parts wait for it, so no caller's signal may end it. */
  async #create(): Promise<string> {
    if (this.#uploadId !== null) return this.#uploadId;
    const askedAt = performance.now();
    this.#creating ??= this.#parts.store
      .createMultipart(this.key)
      .then((uploadId) => {
        this.#parts.distance.add(performance.now() - askedAt);
        this.#uploadId = uploadId;
        if (this.#abandoned) throw this.#givenUp();
        this.#journalUpload(uploadId);
        crashPoint('upload-begun');
        return uploadId;
      })
      .finally(() => {
        this.#creating = null;
      });
    return this.#creating;
  }

  #givenUp(): ArtifactError {
    return new ArtifactError('Interrupted', `upload of ${this.target.path} was given up`);
  }

  #journalUpload(uploadId: string): void {
    const { object, partBytes, target } = this;
    this.#parts.journal?.saveUpload({ ...target, object, uploadId, partBytes });
  }
}
