import { crc32 } from 'node:zlib';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { ObjectStore, PartInfo } from '../store/object-store.js';
import { crashPoint } from '../util/crash-point.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { partAt, partLength, partStart } from './part-plan.js';
import type { JournaledPart, UploadJournal, UploadTarget } from './ports.js';
import type { TransferQueue } from './transfer-queue.js';

const { blockBytes, getBytesMax: chunkBytes } = limits;
/** One for a part that is not in the store as we believe, one for parts that the store will not leave out. */
const completeTriesMax = 3;

/** Where an object's bytes are read from, at most `getBytesMax` at a time. Must answer all that is asked. */
export interface ByteSource {
  read(offset: number, length: number): MaybePromise<Buffer>;
}

export interface ObjectUploadParts {
  readonly store: ObjectStore;
  readonly queue: TransferQueue;
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

interface SentPart {
  info: PartInfo;
  readonly crc32: string;
  /** CRC32 of each cache block; null for a part of an earlier process that was not read since. */
  blockCrcs: readonly number[] | null;
  /** False: sent by an earlier process; its checksum is compared with the local bytes before it counts. */
  trusted: boolean;
}

/**
 * One object on its way into the store, in parts that may be sent in any order, again after their bytes changed, and
 * by another process after a crash. Bytes must not change while `finish` runs; before that `changed` says what did.
 */
export class ObjectUpload {
  readonly target: UploadTarget;
  readonly object: string;
  readonly key: string;
  readonly partBytes: number;
  readonly #parts: ObjectUploadParts;
  readonly #source: ByteSource;
  #uploadId: string | null = null;
  #creating: Promise<string> | null = null;
  #unlisted = false;
  #listing: Promise<void> | null = null;
  readonly #sent = new Map<number, SentPart>();
  /** Parts under way; one whose bytes changed meanwhile is `stale` and will not count. */
  readonly #active = new Map<number, { stale: boolean; done: Promise<void> }>();
  #sentBytes = 0;
  #completedSize: number | null = null;
  #abandoned = false;

  constructor(parts: ObjectUploadParts, init: ObjectUploadInit) {
    this.#parts = parts;
    this.target = init.target;
    this.object = init.object;
    this.key = init.key;
    this.partBytes = init.partBytes;
    this.#source = init.source;
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
    return this.#sentBytes;
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
    for (const { part, size, etag, crc32: checksum } of parts) {
      this.#keep({ info: { part, size, etag }, crc32: checksum ?? '', blockCrcs: null, trusted: false });
    }
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
      if (this.#sent.has(part)) this.#drop(part);
    }
    return true;
  }

  /** Sends one part. `urgent` goes before those sent in the background. */
  sendPart(part: number, length: number, urgent: boolean, signal?: AbortSignal): Promise<void> {
    const entry = { stale: false, done: Promise.resolve() };
    const transfer = this.#parts.queue.run(length, urgent, () => this.#transfer(part, length, entry, signal));
    entry.done = transfer.promise.finally(() => {
      if (this.#active.get(part) === entry) this.#active.delete(part);
    });
    this.#active.set(part, entry);
    return entry.done;
  }

  /**
   * Makes the object of `size` bytes complete: checks what an earlier process sent, sends what is missing, completes
   * and verifies. Calling it again after it succeeded costs a HEAD. `Stale`: it was finished
   * and cannot become what is wanted now. `NotFound`: the store has forgotten the upload. Both need a new object.
   */
  async finish(
    size: number,
    signal?: AbortSignal,
    onBytes: (bytes: number) => void = () => {},
  ): Promise<void> {
    await this.settled();
    if (this.#completedSize !== null) {
      if (this.#completedSize === size && (await this.#confirm(size, signal))) return;
      throw new ArtifactError('Stale', `${this.target.path}: its object ${this.object} holds other bytes`);
    }
    await this.listed();
    if (size <= this.partBytes) await this.#putWhole(size, signal);
    else await this.#finishParts(size, signal, onBytes);
    const { size: stored } = await this.#parts.store.head(this.key, signal && { signal });
    if (stored !== size) {
      throw new ArtifactError('Corrupt', `object ${this.key} has ${stored} bytes instead of ${size}`);
    }
    crashPoint('upload-object-verified');
    this.#completedSize = size;
  }

  /** CRC32 of each cache block of the finished object; null when this process has not read all of it. */
  blockCrcs(): number[] | null {
    const crcs: number[] = [];
    for (let part = 1; part <= this.#sent.size; part++) {
      const known = this.#sent.get(part)?.blockCrcs;
      if (!known) return null;
      for (const crc of known) crcs.push(crc);
    }
    return crcs;
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
    const { body, checksum, blockCrcs } = await this.#load(part, length);
    if (entry.stale) return;
    const info = await this.#parts.store.uploadPart(this.key, uploadId, part, body, signal && { signal });
    crashPoint('upload-part-sent');
    if (entry.stale || this.#abandoned) return;
    this.#keep({ info, crc32: checksum, blockCrcs, trusted: true });
    this.#journalPart(info, checksum);
    crashPoint('upload-part-journaled');
  }

  /** Reads a part's bytes, with the checksum of the whole and of each cache block. */
  async #load(part: number, length: number) {
    const start = partStart(part, this.partBytes);
    const body: Buffer[] = [];
    const blockCrcs: number[] = [];
    let checksum = 0;
    for (let done = 0; done < length; done += chunkBytes) {
      const chunk = await this.#source.read(start + done, Math.min(chunkBytes, length - done));
      checksum = crc32(chunk, checksum);
      for (let at = 0; at < chunk.length; at += blockBytes) {
        blockCrcs.push(crc32(chunk.subarray(at, at + blockBytes)));
      }
      body.push(chunk);
    }
    return { body, checksum: base64Crc(checksum), blockCrcs };
  }

  async #putWhole(size: number, signal?: AbortSignal): Promise<void> {
    await this.#parts.queue.run(size, true, async () => {
      const { body, checksum, blockCrcs } = await this.#load(1, size);
      const { etag } = await this.#parts.store.put(this.key, body, signal && { signal });
      crashPoint('upload-object-put');
      for (const part of [...this.#sent.keys()]) this.#drop(part);
      const info = { part: 1, size, etag };
      this.#keep({ info, crc32: checksum, blockCrcs, trusted: true });
      if (this.#uploadId === null) this.#journalUpload('');
      this.#journalPart(info, checksum);
    }).promise;
    const id = this.#uploadId;
    if (id === null) return;
    this.#uploadId = null;
    await this.#parts.store.abortMultipart(this.key, id, signal && { signal });
  }

  async #finishParts(
    size: number,
    signal: AbortSignal | undefined,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    const last = partAt(size - 1, this.partBytes);
    for (const part of [...this.#sent.keys()]) if (part > last) this.#drop(part);
    for (let tries = 1; ; tries++) {
      await this.#sendMissing(size, last, signal, onBytes);
      const uploadId = await this.#create();
      try {
        await this.#complete(uploadId, last, signal);
        break;
      } catch (error) {
        // An upload that is gone may have been completed by a call whose answer was lost: HEAD tells.
        if (isCode(error, 'NotFound')) return;
        if (tries === completeTriesMax) throw error;
        // Parts were sent that the file no longer has, and this store wants all of them.
        if (isCode(error, 'Unsupported')) await this.#beginAgain(uploadId, signal);
        // A part in the store is not the one we believe in: what the store says decides.
        else if (isCode(error, 'Invalid', 'Corrupt')) await this.#reconcile(uploadId, signal);
        else throw error;
      }
    }
    crashPoint('upload-object-completed');
  }

  /**
   * Gives up the parts sent so far and goes on with another upload of the same object, which was never there. Until that
   * is journaled the row names one that is gone: a restart learns it from the store, as from any that has forgotten it.
   */
  async #beginAgain(uploadId: string, signal?: AbortSignal): Promise<void> {
    await this.#parts.store.abortMultipart(this.key, uploadId, signal && { signal });
    crashPoint('upload-parts-refused');
    this.#uploadId = null;
    for (const part of [...this.#sent.keys()]) this.#drop(part);
  }

  async #complete(uploadId: string, last: number, signal?: AbortSignal): Promise<void> {
    const list: PartInfo[] = [];
    for (let part = 1; part <= last; part++) {
      const sent = this.#sent.get(part);
      if (sent === undefined) throw new ArtifactError('Internal', `part ${part} of ${this.key} was not sent`);
      list.push(sent.info);
    }
    await this.#parts.store.completeMultipart(this.key, uploadId, list, signal && { signal });
  }

  async #sendMissing(
    size: number,
    last: number,
    outer: AbortSignal | undefined,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    const failed = new AbortController();
    const signal = outer === undefined ? failed.signal : AbortSignal.any([outer, failed.signal]);
    const work: Promise<void>[] = [];
    let first: { error: unknown } | undefined;
    for (let part = 1; part <= last; part++) {
      const length = Math.min(partLength(part, this.partBytes), size - partStart(part, this.partBytes));
      const sent = this.#sent.get(part);
      if (sent?.trusted && sent.info.size === length) continue;
      const send = async () => {
        if (sent !== undefined && (await this.#isTrue(sent, length))) {
          sent.trusted = true;
          return;
        }
        if (sent !== undefined) this.#drop(part);
        await this.sendPart(part, length, true, signal);
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
    const { checksum, blockCrcs } = await check.promise;
    sent.blockCrcs = blockCrcs;
    return checksum === sent.crc32;
  }

  /** The object is in the store, and its bytes are the local ones. */
  async #confirm(size: number, signal?: AbortSignal): Promise<boolean> {
    for (const sent of this.#sent.values()) {
      if (!sent.trusted && !(await this.#isTrue(sent, sent.info.size))) return false;
      sent.trusted = true;
    }
    if (this.#sentBytes !== size) return false;
    try {
      return (await this.#parts.store.head(this.key, signal && { signal })).size === size;
    } catch (error) {
      if (isCode(error, 'NotFound')) return false;
      throw error;
    }
  }

  async #reconcile(uploadId: string, signal?: AbortSignal): Promise<void> {
    const stored = await this.#parts.store.listParts(this.key, uploadId, signal && { signal });
    const byNumber = new Map(stored.map((info) => [info.part, info]));
    for (const [part, sent] of [...this.#sent]) {
      const { info } = sent;
      const there = byNumber.get(part);
      if (there?.etag !== info.etag || there.size !== info.size) this.#drop(part);
      // The store's own record: it must be handed back with the checksum the store keeps.
      else sent.info = there;
    }
  }

  /** Several parts wait for it, so no caller's signal may end it. */
  async #create(): Promise<string> {
    if (this.#uploadId !== null) return this.#uploadId;
    this.#creating ??= this.#parts.store
      .createMultipart(this.key)
      .then((uploadId) => {
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

  #keep(sent: SentPart): void {
    const before = this.#sent.get(sent.info.part);
    this.#sentBytes += sent.info.size - (before?.info.size ?? 0);
    this.#sent.set(sent.info.part, sent);
  }

  #drop(part: number): void {
    const sent = this.#sent.get(part);
    if (sent === undefined) return;
    this.#sent.delete(part);
    this.#sentBytes -= sent.info.size;
    this.#parts.journal?.dropPart(this.target.file, part);
  }

  #journalUpload(uploadId: string): void {
    const { object, partBytes, target } = this;
    this.#parts.journal?.saveUpload({ ...target, object, uploadId, partBytes });
  }

  #journalPart(info: PartInfo, checksum: string): void {
    const { part, size, etag } = info;
    this.#parts.journal?.savePart(this.target.file, { part, size, etag, crc32: checksum });
  }
}

/** As S3 writes it: four bytes, big-endian, base64. */
function base64Crc(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc >>> 0);
  return bytes.toString('base64');
}
