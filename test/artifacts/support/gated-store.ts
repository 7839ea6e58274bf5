import { ArtifactError } from '../../../src/model/errors.js';
import { MemoryStore } from '../../../src/store/memory/memory-store.js';
import type { Body, PutResult } from '../../../src/store/object-store.js';

/** A memory store that holds records back, or fails, when a test says so. */
export class GatedStore extends MemoryStore {
  /** Every `put` (packs, trees) fails. */
  isAway = false;
  /** Nothing answers, but for what says that there is a workspace. */
  isGone = false;
  /** Called before and after a record is stored; never resolves where a test's daemon dies. */
  atRecord: (when: 'before the record' | 'after the record') => Promise<void> = () => Promise.resolve();
  /** Called before a tree object is read. */
  atTree: () => Promise<void> = () => Promise.resolve();
  /** Called before a record is read. */
  atLog: () => Promise<void> = () => Promise.resolve();
  #gate: Promise<void> | null = null;
  #putGate: Promise<void> | null = null;
  #waiting = 0;
  #onWaiting: (() => void) | null = null;

  /** Holds back every record until the answer is called. */
  hold(): () => void {
    let release = () => {};
    this.#gate = new Promise((resolve) => {
      release = () => {
        this.#gate = null;
        resolve();
      };
    });
    return release;
  }

  /** What `second` decides loses its slot to what `first` writes. */
  overtaken<T>(second: () => Promise<T>, first: () => Promise<unknown>): Promise<T> {
    this.atRecord = async () => {
      this.atRecord = async () => {};
      await first();
    };
    return second();
  }

  /** Resolves when a record is being held back. */
  async waiting(): Promise<void> {
    if (this.#waiting > 0) return;
    await new Promise<void>((resolve) => {
      this.#onWaiting = resolve;
    });
  }

  override async get(...args: Parameters<MemoryStore['get']>): Promise<Buffer> {
    this.#checkThere(args[0]);
    if (args[0].includes('/t/')) await this.atTree();
    if (args[0].includes('/log/')) await this.atLog();
    return super.get(...args);
  }

  override async head(...args: Parameters<MemoryStore['head']>): ReturnType<MemoryStore['head']> {
    this.#checkThere(args[0]);
    return super.head(...args);
  }

  override async putIfAbsent(...args: Parameters<MemoryStore['putIfAbsent']>): Promise<PutResult> {
    this.#checkThere(args[0]);
    this.#waiting++;
    this.#onWaiting?.();
    await this.#gate;
    this.#waiting--;
    await this.atRecord('before the record');
    const result = await super.putIfAbsent(...args);
    await this.atRecord('after the record');
    return result;
  }

  /** Holds back every `put` until the answer is called. */
  holdPuts(): () => void {
    let release = () => {};
    this.#putGate = new Promise((resolve) => {
      release = () => {
        this.#putGate = null;
        resolve();
      };
    });
    return release;
  }

  override async put(key: string, body: Body, ...rest: [options?: object]): Promise<PutResult> {
    this.#checkThere(key);
    await this.#putGate;
    if (this.isAway) throw new ArtifactError('StoreUnavailable', 'made to be away');
    return super.put(key, body, ...rest);
  }

  override async putStream(
    ...args: Parameters<MemoryStore['putStream']>
  ): ReturnType<MemoryStore['putStream']> {
    if (this.isAway) throw new ArtifactError('StoreUnavailable', 'made to be away');
    return super.putStream(...args);
  }

  #checkThere(key: string): void {
    if (this.isGone && key !== 'format.json') throw new ArtifactError('StoreUnavailable', 'made to be gone');
  }
}
