import type { BackgroundWork } from '../local/background-work.js';
import type { DiskBudget } from '../local/disk-budget.js';
import type { FoundObject } from '../local/disk-scan.js';
import type { CacheHolds } from './cache-holds.js';
import type { DiskObject } from './disk-object.js';
import type { ObjectFiles } from './object-files.js';

interface Entry {
  bytes: number;
  /** null: nobody opened it since the start. */
  object: DiskObject | null;
}

/**
 * Which objects the disk cache has, how much of the budget each takes, and in what order they go: whole objects, the one used
 * longest ago first. What is held goes only for staged files, and last.
 */
export class DiskEntries {
  readonly #files: ObjectFiles;
  readonly #budget: DiskBudget;
  readonly #holds: CacheHolds;
  readonly #work: BackgroundWork;
  /** In order of use: the first is the oldest. */
  #entries = new Map<string, Entry>();
  readonly #removals = new Map<string, Promise<void>>();

  constructor(files: ObjectFiles, budget: DiskBudget, holds: CacheHolds, work: BackgroundWork) {
    this.#files = files;
    this.#budget = budget;
    this.#holds = holds;
    this.#work = work;
    budget.attachCache(
      () => this.makeRoom(0, null),
      (bytes) => this.#reclaim(bytes),
    );
  }

  get count(): number {
    return this.#entries.size;
  }

  /** What is here of objects that are held. */
  get heldBytes(): number {
    let sum = 0;
    for (const name of this.#holds.names()) sum += this.#entries.get(name)?.bytes ?? 0;
    return sum;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The object, if somebody opened it since the start and it was not evicted. */
  object(name: string): DiskObject | undefined {
    return this.#entries.get(name)?.object ?? undefined;
  }

  /** While the files of an evicted object are removed. */
  removal(name: string): Promise<void> | undefined {
    return this.#removals.get(name);
  }

  /** undefined: nothing is being removed. */
  removals(): Promise<unknown> | undefined {
    return this.#removals.size === 0 ? undefined : Promise.all(this.#removals.values());
  }

  /** The object was opened, and has blocks here. */
  add(object: DiskObject): void {
    const entry = this.#entries.get(object.name);
    if (entry !== undefined) entry.object = object;
    else this.#entries.set(object.name, { bytes: this.#added(object.table.bytes), object });
  }

  /** What an earlier run left, in order of use. What was opened meanwhile is used more recently. */
  addFound(found: readonly FoundObject[]): void {
    const merged = new Map<string, Entry>();
    for (const { name, bytes } of found) {
      if (!this.#entries.has(name)) merged.set(name, { bytes: this.#added(bytes), object: null });
    }
    for (const [name, entry] of this.#entries) merged.set(name, entry);
    this.#entries = merged;
    this.makeRoom(0, null);
  }

  /** The object takes so many bytes more, or less. It may be evicted for them. */
  grow(object: DiskObject, bytes: number): void {
    const entry = this.#entries.get(object.name);
    if (entry === undefined) return;
    // Before the budget hears of it: what it evicts has to leave with all its bytes.
    entry.bytes += bytes;
    this.#added(bytes);
  }

  /** Makes the object the one used last. False: another record of the same object has taken its place. */
  use(object: DiskObject): boolean {
    const entry = this.#entries.get(object.name) ?? { bytes: 0, object };
    entry.object ??= object;
    if (entry.object !== object) return false;
    this.#entries.delete(object.name);
    this.#entries.set(object.name, entry);
    return true;
  }

  /** Evicts others than `keep` until `bytes` more fit. False: they do not. */
  makeRoom(bytes: number, keep: string | null): boolean {
    const max = this.#budget.cacheBytesMax;
    for (const [name, entry] of this.#entries) {
      if (this.#budget.cachedBytes + bytes <= max) return true;
      // What is only about to be written gives no room, nor does what somebody has open.
      if (name === keep || entry.bytes === 0 || isRead(entry)) continue;
      if (!this.#holds.has(name)) this.evict(name);
    }
    return this.#budget.cachedBytes + bytes <= max;
  }

  /** Evicts objects, or all (null), but not those that are held. Answers how many bytes they had, when these are gone. */
  async evictUnheld(names: readonly string[] | null): Promise<number> {
    let bytes = 0;
    for (const name of names ?? [...this.#entries.keys()]) {
      const entry = this.#entries.get(name);
      if (entry === undefined || this.#holds.has(name)) continue;
      bytes += entry.bytes;
      this.evict(name);
    }
    await this.removals();
    return bytes;
  }

  evict(name: string): void {
    const bytes = this.retire(name);
    const removed = this.#files.remove(name).finally(() => this.#removals.delete(name));
    const removal = this.#work.add(removed);
    this.#removals.set(name, removal);
    this.#budget.addLeaving(bytes, removal);
  }

  /** Forgets an object without touching its files. Returns the bytes they hold. */
  retire(name: string): number {
    const entry = this.#entries.get(name);
    if (entry === undefined) return 0;
    this.#entries.delete(name);
    if (entry.object !== null) entry.object.dead = true;
    this.#files.drop(name);
    this.#added(-entry.bytes);
    if (entry.object !== null && isRead(entry)) {
      entry.object.leftBytes = entry.bytes;
      this.#budget.addLeft(entry.bytes);
    }
    return entry.bytes;
  }

  /** Counts the room of the object's data file as taken, also after an eviction, until what is answered is called. */
  holdData(object: DiskObject): () => void {
    object.readers++;
    return () => {
      object.readers--;
      if (object.readers > 0 || object.leftBytes === 0) return;
      this.#budget.addLeft(-object.leftBytes);
      object.leftBytes = 0;
    };
  }

  /** For staged files: what is held goes, too, but last. */
  #reclaim(bytes: number): void {
    let freed = 0;
    for (const held of [false, true]) {
      for (const [name, entry] of this.#entries) {
        if (freed >= bytes) return;
        if (this.#holds.has(name) !== held || isRead(entry)) continue;
        freed += entry.bytes;
        this.evict(name);
      }
    }
  }

  #added(bytes: number): number {
    if (bytes !== 0) this.#budget.addCached(bytes);
    return bytes;
  }
}

/** Somebody has the data file open past us: removing it would free nothing. */
const isRead = (entry: Entry): boolean => entry.object !== null && entry.object.readers > 0;
