import { isCode } from '../../model/errors.js';
import { Mutex } from '../../util/semaphore.js';
import { type AnySignal, anySignal } from '../../util/shared-signal.js';
import { exists } from '../keys.js';
import type {
  CallOptions,
  ObjectStore,
  ProbeOptions,
  PutResult,
  StoreCapabilities,
} from '../object-store.js';
import { type StoreCall, WrappedStore } from './wrapped-store.js';

/** The right to create objects that no other machine creates meanwhile. */
export interface WriterTurn extends AsyncDisposable {
  /** The signal at which a write must end; the caller disposes it. Throws where this machine may not write. */
  claim(): Promise<AnySignal>;
}

/**
 * Creates by looking whether the key is there and then writing it, as the only writer, where a store has no create-if-absent;
 * where it has, everything is as without this. Owns the turn, too, and ends it before the store.
 */
export class SingleWriterStore extends WrappedStore {
  readonly #turn: WriterTurn;
  readonly #creating = new Mutex();
  /** What may still arrive under a key, because its PUT was not answered. */
  readonly #unanswered = new Map<string, Buffer>();
  #hasCreate: Promise<boolean> | undefined;

  constructor(inner: ObjectStore, turn: WriterTurn) {
    super(inner);
    this.#turn = turn;
  }

  protected override around<T>(_call: StoreCall, run: () => Promise<T>): Promise<T> {
    return run();
  }

  override probe(options?: ProbeOptions): Promise<StoreCapabilities> {
    const probing = this.inner.probe(options);
    this.#learn(probing.then(({ createIfAbsent }) => createIfAbsent));
    return probing;
  }

  override async putIfAbsent(key: string, body: Buffer, options?: CallOptions): Promise<PutResult> {
    if (this.#hasCreate === undefined) await this.probe({ ...options, copies: false });
    if (await this.#hasCreate) return this.inner.putIfAbsent(key, body, options);
    return this.#creating.run(() => this.#create(key, body, options), options?.signal);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn[Symbol.asyncDispose]();
    await super[Symbol.asyncDispose]();
  }

  #learn(finding: Promise<boolean>): void {
    this.#hasCreate = finding;
    finding.catch(() => {
      if (this.#hasCreate === finding) this.#hasCreate = undefined;
    });
  }

  /** What was once sent under a key, and may still arrive, is the only thing that is ever written there. */
  async #create(key: string, body: Buffer, options: CallOptions | undefined): Promise<PutResult> {
    using turn = await this.#turn.claim();
    using ends = anySignal(turn.signal, options?.signal);
    const { signal } = ends;
    if (await this.#isThere(key, signal)) {
      this.#unanswered.delete(key);
      throw exists(key);
    }
    const sent = this.#unanswered.get(key) ?? body;
    this.#unanswered.set(key, sent);
    const result = await this.inner.put(key, sent, { signal });
    this.#unanswered.delete(key);
    if (!sent.equals(body)) throw exists(key);
    return result;
  }

  async #isThere(key: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.inner.head(key, { signal });
      return true;
    } catch (error) {
      if (isCode(error, 'NotFound')) return false;
      throw error;
    }
  }
}
