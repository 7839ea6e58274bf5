import { Readable } from 'node:stream';
import { ExtentMap } from '../content/extent-map.js';
import type { UploadJournal } from '../content/ports.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { ObjectStore } from '../store/object-store.js';
import { dataObject, objectKey } from '../workspace/keys.js';
import { Node } from './tree/node.js';
import type { ArtifactTree } from './tree/working-tree.js';

export interface IncomingOptions {
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * The bytes of a stream of unknown length on their way into a file: into the store, as an object of the stage, or
 * into the stage. They belong to an inode without a name until the file takes them over, so a stream that breaks
 * off changes nothing.
 */
/** Below those of files: each stream's inode must be another one to the staging files. */
let nextNumber = -1;

export class Incoming implements Disposable {
  readonly #tree: ArtifactTree;
  readonly #store: ObjectStore;
  readonly #journal: UploadJournal;
  readonly #name: string;
  readonly #options: IncomingOptions;
  readonly #node = new Node(nextNumber--, 'file');
  #received = 0;

  constructor(
    tree: ArtifactTree,
    store: ObjectStore,
    journal: UploadJournal,
    name: string,
    options: IncomingOptions,
  ) {
    this.#tree = tree;
    this.#store = store;
    this.#journal = journal;
    this.#name = name;
    this.#options = options;
    this.#node.nlink = 0;
    tree.core.retain(this.#node);
    this.#node.map = new ExtentMap();
  }

  /** Resolves to an inode that holds all bytes, for the caller to give its content to a file. */
  async receive(source: Readable): Promise<Node> {
    const chunks = new Chunks(source, this.#options.signal);
    try {
      const head = await chunks.upTo(limits.packFileBytesMax);
      // What fits into a pack goes with the others at commit.
      if (chunks.isEnded || !this.#mayStream()) await this.#stage([...head], chunks);
      else await this.#stream(head, chunks);
      return this.#node;
    } finally {
      source.destroy();
    }
  }

  /** At the end in any case: what no file took over is removed. */
  [Symbol.dispose](): void {
    this.#tree.core.release(this.#node);
  }

  /** Objects under the id of a stage that is being committed would belong to nobody afterwards. */
  #mayStream(): boolean {
    const { stage } = this.#tree.core;
    return stage.exists && stage.sealed === null;
  }

  async #stream(head: readonly Buffer[], chunks: Chunks): Promise<void> {
    const { artifactId, stageId } = this.#tree.core.stage;
    const object = dataObject(stageId, this.#journal.nextObjectNumber(stageId), this.#name);
    const spool = new Spool(head);
    try {
      const body = Readable.from(spool.pass(chunks), { objectMode: false });
      const { size } = await this.#store.putStream(objectKey(artifactId, object), body, {
        onProgress: (bytes) => this.#progress(bytes),
        ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
      });
      if (!this.#mayStream() || this.#tree.core.stage.stageId !== stageId) {
        await this.#fetch(objectKey(artifactId, object), size);
        return;
      }
      this.#node.map.set(0, size, { type: 'object', object, offset: 0 });
      this.#node.size = size;
    } catch (error) {
      if (chunks.failure !== null) throw chunks.failure;
      if (!isCode(error, 'StoreUnavailable', 'TimedOut') || !spool.isWhole) throw error;
      await this.#stage(spool.taken, chunks);
    }
  }

  async #stage(taken: readonly Buffer[], chunks: Chunks): Promise<void> {
    for (const chunk of taken) await this.#write(chunk);
    for (let chunk = await chunks.next(); chunk !== null; chunk = await chunks.next())
      await this.#write(chunk);
  }

  /** A commit began while the stream ran: the object went with its stage. */
  async #fetch(key: string, size: number): Promise<void> {
    for (let offset = 0; offset < size; offset += limits.partBytesMin) {
      const length = Math.min(limits.partBytesMin, size - offset);
      await this.#write(await this.#store.get(key, { offset, length }));
    }
  }

  async #write(chunk: Buffer): Promise<void> {
    await this.#tree.content.write(this.#node, this.#received, chunk, false, false);
    this.#received += chunk.length;
    this.#progress(this.#received);
  }

  #progress(bytes: number): void {
    this.#options.onProgress?.(bytes);
  }
}

/** Takes a stream chunk by chunk, without closing it in between. */
class Chunks {
  isEnded = false;
  /** What the source itself failed with. */
  failure: unknown = null;
  readonly #chunks: AsyncIterator<unknown>;
  readonly #signal: AbortSignal | undefined;

  constructor(source: Readable, signal: AbortSignal | undefined) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#signal = signal;
  }

  async next(): Promise<Buffer | null> {
    if (this.#signal?.aborted)
      throw new ArtifactError('Interrupted', 'the transfer was stopped', {}, this.#signal.reason);
    try {
      const { value, done } = await this.#chunks.next();
      if (done !== true) return Buffer.isBuffer(value) ? value : Buffer.from(value as Uint8Array | string);
      this.isEnded = true;
      return null;
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  /** Chunks of more than `bytes` together, or all there are. */
  async upTo(bytes: number): Promise<Buffer[]> {
    const taken: Buffer[] = [];
    let length = 0;
    while (length < bytes) {
      const chunk = await this.next();
      if (chunk === null) break;
      taken.push(chunk);
      length += chunk.length;
    }
    return taken;
  }
}

/** Keeps the beginning of a stream until it is too long, for the case that the store turns out to be away. */
class Spool {
  taken: Buffer[];
  /** Everything that passed is still here. */
  isWhole = true;
  #bytes: number;

  constructor(head: readonly Buffer[]) {
    this.taken = [...head];
    this.#bytes = head.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  async *pass(chunks: Chunks): AsyncGenerator<Buffer, void> {
    yield* [...this.taken];
    for (let chunk = await chunks.next(); chunk !== null; chunk = await chunks.next()) {
      this.#keep(chunk);
      yield chunk;
    }
  }

  #keep(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > limits.streamSpoolBytesMax) this.isWhole = false;
    if (this.isWhole) this.taken.push(chunk);
    else this.taken = [];
  }
}
