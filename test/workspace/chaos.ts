import { setImmediate as turn } from 'node:timers/promises';
import { ArtifactError } from '../../src/model/errors.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type {
  Body,
  ByteRange,
  CallOptions,
  ObjectInfo,
  ObjectStore,
  UnfinishedUpload,
} from '../../src/store/object-store.js';

/** A small seeded generator: one number names a whole interleaving. */
function seeded(seed: number): () => number {
  let state = (seed + 1) * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Event {
  readonly label: string;
  /** Of which process; null for what is on its way in the network whoever lives. */
  readonly process: Process | null;
  readonly run: () => void | Promise<void>;
}

/** One life of a committer: after `kill` nothing it asked for is answered, but what it has sent may still arrive. */
export class Process {
  alive = true;
}

/** What may become of a create: what the store does, and what the client is told, are two things. */
type Fate = 'good' | 'lostAnswer' | 'lostRequest' | 'late' | 'duplicate' | 'busy' | 'lie';
const badFates: readonly Fate[] = ['lostAnswer', 'lostRequest', 'late', 'duplicate', 'busy', 'lie'];

/**
 * A store and a network in which every request waits until the scheduler lets it go on, in an order that a seed
 * decides. Nothing here runs by time.
 */
export class World {
  readonly truth = new MemoryStore();
  readonly random: () => number;
  /** How likely a request goes wrong. */
  faults: number;
  /** Each step as it happened: printed when an interleaving fails. */
  readonly trace: string[] = [];
  #events: Event[] = [];
  steps = 0;
  /** Creates that have reached the store. */
  creates = 0;
  /** Told what is about to be deleted, at the moment when it is, and at which step that was asked for. */
  onDelete: (keys: readonly string[], askedAtStep: number) => Promise<void> = async () => {};

  constructor(seed: number, faults: number) {
    this.random = seeded(seed);
    this.faults = faults;
  }

  /** Puts something into the future of a process; the promise stays open for ever when it is killed before. */
  request<T>(process: Process, label: string, run: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const answer = async () => {
        try {
          const value = await run();
          if (process.alive) resolve(value);
        } catch (error) {
          if (process.alive) reject(error);
        }
      };
      this.#events.push({ label, process, run: answer });
    });
  }

  /** Something that happens some time, whoever lives. */
  later(label: string, run: () => Promise<void>): void {
    this.#events.push({ label, process: null, run });
  }

  get waiting(): number {
    return this.#events.length;
  }

  /** Lets everybody run until all wait, then lets one event happen. */
  async step(
    pick: (count: number) => number = (count) => Math.floor(this.random() * count),
  ): Promise<boolean> {
    await turn();
    if (this.#events.length === 0) return false;
    const [event] = this.#events.splice(pick(this.#events.length), 1);
    this.trace.push(event?.label ?? '');
    this.steps++;
    await event?.run();
    await turn();
    return true;
  }

  async finish(): Promise<void> {
    while (await this.step(() => 0));
  }

  /** Ends a process now. What it had sent is dropped, or arrives some time without anybody to be told. */
  kill(process: Process, arrives: () => boolean): void {
    process.alive = false;
    this.trace.push('kill');
    this.#events = this.#events.flatMap((event) => {
      if (event.process !== process) return [event];
      return arrives() ? [{ ...event, process: null }] : [];
    });
  }

  fate(): Fate {
    if (this.random() >= this.faults) return 'good';
    return badFates[Math.floor(this.random() * badFates.length)] ?? 'good';
  }
}

const lost = () => new ArtifactError('StoreUnavailable', 'no answer');

/** What one process sees of the world's store. */
export class ChaosStore implements ObjectStore {
  readonly url = 'chaos:';
  readonly #world: World;
  readonly #process: Process;
  readonly #name: string;

  constructor(world: World, process: Process, name: string) {
    this.#world = world;
    this.#process = process;
    this.#name = name;
  }

  get(key: string, range?: ByteRange): Promise<Buffer> {
    return this.#request('get', key, async () => {
      if (this.#world.random() < this.#world.faults / 4) throw lost();
      return this.#world.truth.get(key, range);
    });
  }

  put(key: string, body: Body): Promise<{ etag: string }> {
    return this.#request('put', key, async () => {
      const apply = () => this.#world.truth.put(key, body);
      if (this.#world.random() >= this.#world.faults / 8) return apply();
      if (this.#world.random() < 0.5) this.#world.later(`late put ${key}`, async () => void (await apply()));
      throw lost();
    });
  }

  putIfAbsent(key: string, body: Buffer): Promise<{ etag: string }> {
    const world = this.#world;
    const apply = () => {
      world.creates++;
      return world.truth.putIfAbsent(key, body);
    };
    const arriveLater = () =>
      world.later(
        `${this.#name} late create ${key}`,
        async () => void (await apply().catch(() => undefined)),
      );
    return this.#request('create', key, async () => {
      const fate = world.fate();
      world.trace.push(`  ${fate}`);
      if (fate === 'lostAnswer') await apply().catch(() => undefined);
      if (fate === 'late') arriveLater();
      if (fate === 'lostAnswer' || fate === 'lostRequest' || fate === 'late') throw lost();
      if (fate === 'busy') throw new ArtifactError('Busy', 'a conflicting request is under way');
      // Gateways have answered 200 to both of two racing creates.
      if (fate === 'lie') return { etag: 'lie' };
      if (fate === 'duplicate') arriveLater();
      return apply();
    });
  }

  async *list(prefix: string, options?: CallOptions & { startAfter?: string }): AsyncIterable<ObjectInfo> {
    await this.#request('list', prefix, async () => undefined);
    yield* this.#world.truth.list(prefix, options);
  }

  head(key: string): Promise<ObjectInfo> {
    return this.#request('head', key, () => this.#world.truth.head(key));
  }

  deleteMany(keys: readonly string[]): Promise<void> {
    const world = this.#world;
    const askedAtStep = world.steps;
    const apply = async () => {
      await world.onDelete(keys, askedAtStep);
      await world.truth.deleteMany(keys);
    };
    return this.#request('delete', `${keys.length} keys`, async () => {
      if (world.random() >= world.faults / 4) return apply();
      const what = world.random();
      if (what < 0.3) await apply();
      else if (what < 0.6) world.later(`${this.#name} late delete`, apply);
      throw lost();
    });
  }

  unfinishedUploads(): Promise<readonly UnfinishedUpload[]> {
    return Promise.resolve([]);
  }

  sleep = (): Promise<void> => this.#request('sleep', '', async () => undefined);

  #request<T>(verb: string, key: string, run: () => Promise<T>): Promise<T> {
    return this.#world.request(this.#process, `${this.#name} ${verb} ${key.slice(-12)}`, run);
  }

  putStream = unused;
  createMultipart = unused;
  uploadPart = unused;
  copyPart = unused;
  listParts = unused;
  completeMultipart = unused;
  abortMultipart = unused;
  presignGet = unused;
  probe = unused;
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function unused(): never {
  throw new Error('the workspace does not use this');
}
