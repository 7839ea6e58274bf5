import { createHash } from 'node:crypto';
import { compareEntries, type Extent, splitPath } from '../../model/entry.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { ObjectStore } from '../../store/object-store.js';
import { crashPoint } from '../../util/crash-point.js';
import { LoopTurn } from '../../util/loop-turn.js';
import { Semaphore } from '../../util/semaphore.js';
import { type AnySignal, anySignal } from '../../util/shared-signal.js';
import { unlessAborted } from '../../util/unless-aborted.js';
import type { StagingFiles } from '../local/staging.js';
import type {
  ContentReader,
  UploadJournal,
  UploadOptions,
  UploadProgress,
  UploadRequest,
  UploadResult,
} from '../ports.js';
import type { TransferQueue } from '../transfer-queue.js';
import { composeParts } from './compose-plan.js';
import { compose } from './composed-upload.js';
import type { HashPool } from './hash-pool.js';
import { PackWriter, packedExtents } from './pack-writer.js';
import type { PackAhead, PacksAhead } from './packs-ahead.js';
import type { PartBuffers } from './part-body.js';
import { placePack } from './place-pack.js';
import { FetchedAhead, sentSource } from './sent-source.js';
import type { ContentKeys, StreamUploads } from './stream-uploads.js';
import type { StreamedFile } from './streamed-file.js';
import type { UploadAttempts, UploadOwner } from './upload-attempts.js';
import { type LocalPiece, UploadPlan } from './upload-plan.js';
import { verifyStored } from './verify-stored.js';

export interface RunParts {
  readonly store: ObjectStore;
  readonly keys: ContentKeys;
  readonly staging: StagingFiles;
  readonly journal: UploadJournal;
  readonly hashes: HashPool;
  readonly reader: ContentReader;
  readonly queue: TransferQueue;
  readonly buffers: PartBuffers;
  readonly streams: StreamUploads;
  readonly attempts: UploadAttempts;
  readonly ahead: PacksAhead;
  /** For packs being filled and sent, together. */
  readonly memoryBytesMax: number;
  /** A pack is in the store: its bytes may be cached. */
  readonly onPack: (key: string, bytes: Buffer) => void;
}

/** What was sent, and what is still to be verified of it. */
interface Placed {
  readonly result: UploadResult;
  readonly verify: () => Promise<void>;
}

/** One call of `upload`: packs and objects side by side, results in the order of the requests. */
export class UploadRun {
  readonly #parts: RunParts;
  readonly #owner: UploadOwner;
  readonly #requests: readonly UploadRequest[];
  readonly #results = new Map<UploadRequest, UploadResult>();
  readonly #failed = new AbortController();
  readonly #either: AnySignal;
  readonly #onProgress: (progress: UploadProgress) => void;
  readonly #onPlaced: (results: readonly UploadResult[]) => void;
  /** Looks at what the store has; their failures are kept. */
  readonly #checks: Promise<void>[] = [];
  #bytesDone = 0;
  readonly #partial = new Map<UploadPlan, number>();
  #bytesTotal = 0;

  constructor(
    parts: RunParts,
    owner: UploadOwner,
    requests: readonly UploadRequest[],
    options: UploadOptions,
  ) {
    this.#parts = parts;
    this.#owner = owner;
    this.#requests = requests;
    this.#onProgress = options.onProgress ?? (() => {});
    this.#onPlaced = options.onPlaced ?? (() => {});
    this.#either = anySignal(options.signal, this.#failed.signal);
  }

  get #signal(): AbortSignal {
    return this.#either.signal;
  }

  async run(): Promise<UploadResult[]> {
    using either = this.#either;
    const plans = await this.#plan();
    await new LoopTurn().each(plans.nothing, (plan) => this.#done(plan, nothingToSend(plan)));
    const objects = new Semaphore(limits.uploadFilesMax);
    const work = plans.object.map((plan) => objects.run(() => this.#object(plan), either.signal));
    await this.#all([this.#packs(plans.pack), ...work]);
    const results: UploadResult[] = [];
    await new LoopTurn().each(this.#requests, (request) => {
      const result = this.#results.get(request);
      if (result === undefined) throw new ArtifactError('Internal', `${request.path} was not uploaded`);
      results.push(result);
    });
    this.#onPlaced(results);
    await this.#all(this.#checks);
    return results;
  }

  /** How each file is sent, in the order of a tree: what is listed together is in one pack. */
  async #plan(): Promise<Record<UploadPlan['kind'], UploadPlan[]>> {
    const turn = new LoopTurn();
    const places: { dir: string; name: string; request: UploadRequest }[] = [];
    await turn.each(this.#requests, (request) => void places.push({ ...splitPath(request.path), request }));
    const plans: Record<UploadPlan['kind'], UploadPlan[]> = { nothing: [], pack: [], object: [] };
    await turn.each(await turn.sorted(places, compareEntries), ({ request }) => {
      const plan = new UploadPlan(request);
      plans[plan.kind].push(plan);
      this.#bytesTotal += plan.bytes;
    });
    return plans;
  }

  /** The first failure stops the others, and nothing of this run is under way when it is thrown. */
  async #all(work: readonly Promise<void>[]): Promise<void> {
    await Promise.all(work.map((each) => this.#caught(each)));
    const { signal } = this.#failed;
    if (!signal.aborted) return;
    await Promise.all(this.#checks);
    throw signal.reason;
  }

  #caught(work: Promise<void>): Promise<void> {
    return work.catch((error: unknown) => this.#failed.abort(error));
  }

  /** Runs beside what is sent, and beside what the caller makes of the results. */
  #check(work: Promise<void>): void {
    this.#checks.push(this.#caught(work));
  }

  async #packs(plans: readonly UploadPlan[]): Promise<void> {
    await unlessAborted(this.#signal, this.#parts.ahead.idle(this.#owner.artifactId));
    // Until they are verified: that long their bytes are in memory.
    const sending = new Set<Promise<void>>();
    const placing: Promise<unknown>[] = [];
    const send = async (pack: PackWriter) => {
      while (sending.size >= limits.packsInFlightMax) await Promise.race(sending);
      const placed = this.#placePack(pack);
      placing.push(placed);
      const sent = placed.then((verify) => verify()).finally(() => sending.delete(sent));
      sending.add(sent);
      this.#check(sent);
    };
    try {
      await this.#fillPacks(plans, send);
      await Promise.all(placing);
    } finally {
      await Promise.allSettled(placing);
    }
  }

  async #fillPacks(plans: readonly UploadPlan[], send: (pack: PackWriter) => Promise<void>): Promise<void> {
    let pack: PackWriter | null = null;
    const packsAhead = new Set<PackAhead>();
    let files = plans.length;
    let bytes = plans.reduce((sum, plan) => sum + plan.bytes, 0);
    // One is filled while the others are sent.
    const packBytesMax = Math.floor(this.#parts.memoryBytesMax / (limits.packsInFlightMax + 1));
    const { reader } = this.#parts;
    const fetched = new FetchedAhead(reader, this.#owner.artifactId, plans);
    const turn = new LoopTurn();
    for (const plan of plans) {
      if (turn.isOver) await turn.next();
      this.#signal.throwIfAborted();
      const before = this.#parts.attempts.recall(this.#owner, plan) ?? this.#recallAhead(plan, packsAhead);
      if (before !== undefined) {
        this.#done(plan, before);
      } else {
        if (pack !== null && !pack.fits(plan.bytes)) {
          await send(pack);
          pack = null;
        }
        pack ??= new PackWriter(files, Math.max(Math.min(bytes, packBytesMax), plan.bytes));
        const known = plan.sendsStored ? await fetched.take(plan) : undefined;
        await pack.add(plan, this.#parts.staging, known);
      }
      files--;
      bytes -= plan.bytes;
    }
    for (const each of packsAhead) this.#check(this.#verifyAhead(each));
    if (pack !== null) await send(pack);
  }

  #recallAhead(plan: UploadPlan, packs: Set<PackAhead>): UploadResult | undefined {
    const known = this.#parts.ahead.recall(this.#owner, plan);
    if (known !== undefined) packs.add(known.pack);
    return known?.result;
  }

  /** It was there when it was sent, which may be long ago. */
  async #verifyAhead({ object, bytes }: PackAhead): Promise<void> {
    const { ahead, keys, store } = this.#parts;
    const { artifactId } = this.#owner;
    try {
      await verifyStored(store, keys.objectKey(artifactId, object), bytes, this.#signal);
    } catch (error) {
      if (isCode(error, 'Corrupt')) ahead.forget(artifactId);
      throw error;
    }
  }

  /** Answers what verifies the pack. */
  async #placePack(pack: PackWriter): Promise<() => Promise<void>> {
    if (pack.isEmpty) return this.#packed(pack, '', async () => {});
    const { object, verify } = await placePack(this.#parts, this.#owner, pack, true, this.#signal);
    crashPoint('upload-pack-put');
    return this.#packed(pack, object, verify);
  }

  async #packed(pack: PackWriter, object: string, verify: () => Promise<void>): Promise<() => Promise<void>> {
    const results: [UploadPlan, UploadResult][] = [];
    await new LoopTurn().each(pack.files, (file) => {
      const { plan } = file;
      const result = resultOf(plan, packedExtents(file, object), file.sha256);
      results.push([plan, result]);
      this.#done(plan, result);
    });
    return async () => {
      await verify();
      for (const [plan, result] of results) this.#parts.attempts.remember(this.#owner, plan, result);
    };
  }

  async #object(plan: UploadPlan): Promise<void> {
    const { attempts } = this.#parts;
    const before = attempts.recall(this.#owner, plan);
    if (before !== undefined) {
      this.#done(plan, before);
      return;
    }
    const { result, verify } = await this.#sendObject(plan);
    this.#done(plan, result);
    this.#check(verify().then(() => attempts.remember(this.#owner, plan, result)));
  }

  async #sendObject(plan: UploadPlan): Promise<Placed> {
    const { base } = plan.request;
    const comparable = base?.sha256 !== undefined && base.size === plan.request.size && plan.wholeIsLocal;
    const identity = plan.identity();
    if (identity !== null) {
      const target = { ...this.#owner, file: identity, path: plan.request.path };
      const { streams } = this.#parts;
      const streamed = streams.seal(target, plan.request.size);
      try {
        const { result, verify } = await this.#sendStreamed(plan, streamed, comparable);
        return { result, verify: () => verify().finally(() => streams.release(streamed)) };
      } catch (error) {
        streams.release(streamed);
        throw error;
      }
    }
    const hashing = plan.wholeIsLocal ? this.#hash(plan.local()) : Promise.resolve(null);
    if (comparable && (await hashing) === base.sha256)
      return verified(resultOf(plan, base.extents, base.sha256));
    const [object, sha256] = await both(this.#sendPieces(plan), hashing);
    return verified(resultOf(plan, plan.extentsAt(object, 0), sha256));
  }

  async #sendStreamed(plan: UploadPlan, streamed: StreamedFile, comparable: boolean): Promise<Placed> {
    const { base, size } = plan.request;
    if (comparable && base !== undefined && (await streamed.digest(size)) === base.sha256) {
      return verified(resultOf(plan, base.extents, base.sha256));
    }
    const verifySize = await this.#place(plan, streamed);
    // By then what was sent is hashed, too.
    const sha256 = await streamed.digest(size);
    const { journal, streams } = this.#parts;
    const verify = async () => {
      await verifySize().catch((error: unknown) => {
        if (isCode(error, 'Corrupt')) streams.lost(streamed);
        throw error;
      });
      journal.complete(streamed.upload.target.file, size, sha256);
      crashPoint('upload-object-journaled');
    };
    return { result: resultOf(plan, plan.extentsAt(streamed.upload.object, 0), sha256), verify };
  }

  async #place(plan: UploadPlan, streamed: StreamedFile): Promise<() => Promise<void>> {
    const { size } = plan.request;
    this.#count(plan, streamed.upload.sentBytes);
    try {
      return await streamed.upload.place(size, this.#signal, (bytes) => this.#count(plan, bytes));
    } catch (error) {
      if (!isCode(error, 'NotFound', 'Stale')) throw error;
      this.#parts.streams.restart(streamed);
      return streamed.upload.place(size, this.#signal);
    }
  }

  /** Answers the object's name. */
  async #sendPieces(plan: UploadPlan): Promise<string> {
    const composed = plan.sendsStored ? await this.#compose(plan) : null;
    if (composed !== null) return composed;
    for (let attempt = 1; ; attempt++) {
      const upload = this.#parts.attempts.pieces(this.#owner, plan);
      try {
        const verify = await upload.place(plan.bytes, this.#signal, (bytes) => this.#count(plan, bytes));
        await verify();
        this.#parts.attempts.forgetPieces(this.#owner, plan);
        return upload.object;
      } catch (error) {
        if (!isCode(error, 'NotFound', 'Stale', 'Corrupt')) throw error;
        this.#parts.attempts.forgetPieces(this.#owner, plan);
        if (attempt > 1) throw error;
      }
    }
  }

  /** As an object that the store puts together itself, as far as it has the bytes; null when it cannot. */
  async #compose(plan: UploadPlan): Promise<string | null> {
    const { journal, keys, reader } = this.#parts;
    const { artifactId, stageId } = this.#owner;
    const parts = composeParts([...plan.sent()], plan.bytes);
    if (!parts.some(({ copy }) => copy !== null)) return null;
    const object = keys.dataObject(
      stageId,
      journal.nextObjectNumber(stageId),
      splitPath(plan.request.path).name,
    );
    const source = sentSource(reader, artifactId, plan);
    const composition = {
      key: keys.objectKey(artifactId, object),
      size: plan.bytes,
      parts,
      keyOf: (from: string) => keys.objectKey(artifactId, from),
      source,
    };
    try {
      await compose(this.#parts, composition, this.#signal, (bytes) => this.#count(plan, bytes));
      return object;
    } catch (error) {
      if (!isCode(error, 'Unsupported')) throw error;
      this.#partial.delete(plan);
      return null;
    } finally {
      source.close();
    }
  }

  async #hash(pieces: readonly LocalPiece[]): Promise<string> {
    return this.#parts.hashes.hash(
      pieces.map(({ file, offset, length }) => ({ path: this.#parts.staging.path(file), offset, length })),
    );
  }

  /** Bytes of a file that is not done yet are in the store. */
  #count(plan: UploadPlan, bytes: number): void {
    this.#partial.set(plan, Math.min(plan.bytes, (this.#partial.get(plan) ?? 0) + bytes));
    this.#report();
  }

  #done(plan: UploadPlan, result: UploadResult): void {
    this.#results.set(plan.request, result);
    this.#partial.delete(plan);
    this.#bytesDone += plan.bytes;
    this.#report();
  }

  #report(): void {
    let partial = 0;
    for (const bytes of this.#partial.values()) partial += bytes;
    this.#onProgress({
      filesDone: this.#results.size,
      filesTotal: this.#requests.length,
      bytesDone: this.#bytesDone + partial,
      bytesTotal: this.#bytesTotal,
    });
  }
}

const verified = (result: UploadResult): Placed => ({ result, verify: async () => {} });

/** Both, or the first failure once both have ended. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}

const emptySha256 = createHash('sha256').digest('hex');

function nothingToSend(plan: UploadPlan): UploadResult {
  const { request } = plan;
  if (request.size === 0) return resultOf(plan, [], emptySha256);
  const extents = plan.extentsAt('', 0);
  const { base } = request;
  const same = base?.size === request.size && sameExtents(base.extents, extents);
  return resultOf(plan, extents, same ? (base.sha256 ?? null) : null);
}

function sameExtents(a: readonly Extent[], b: readonly Extent[]): boolean {
  return (
    a.length === b.length &&
    a.every((extent, i) => {
      const other = b[i];
      const samePlace = extent.object === null || extent.offset === other?.offset;
      return samePlace && extent.object === other?.object && extent.length === other.length;
    })
  );
}

function resultOf(plan: UploadPlan, extents: readonly Extent[], sha256: string | null): UploadResult {
  const { ino } = plan.request;
  return sha256 === null ? { ino, extents } : { ino, extents, sha256 };
}
