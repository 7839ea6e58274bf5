import type { ObjectStore } from '../store/object-store.js';
import { within } from '../util/within.js';
import { leaseKey } from '../workspace/keys.js';
import { encodeLease, type Lease } from '../workspace/lease.js';

/** A stage that is alive here. */
export interface LiveStage extends Pick<Lease, 'stageId' | 'base' | 'versions' | 'stages' | 'state'> {
  readonly artifactId: string;
}

export interface LeaseKeeperParts {
  readonly store: ObjectStore;
  /** Throws where nothing may be written: asked before each lease. */
  readonly admitWrite: () => Promise<void>;
  /** Asked often; must be cheap. */
  readonly stages: () => readonly LiveStage[];
  readonly host: string;
  readonly user: string;
  readonly mount: string | null;
  readonly stagedBytes: () => number;
  readonly checkMs: number;
  /** A lease is written again when it is so old. */
  readonly renewMs: number;
  /** Monotonic. */
  readonly nowMs?: () => number;
}

interface Written {
  readonly artifactId: string;
  readonly base: number | null;
  readonly atMs: number;
}

/**
 * Tells others by leases which stages are alive here, so that nobody deletes what they are built on. A stage that is over by
 * the second look gets none. Without stages nothing is sent. A store that does not answer is asked again at a later look: a
 * lease is a courtesy, and what keeps the store right is the commit's own check.
 */
export class LeaseKeeper implements AsyncDisposable {
  readonly #parts: LeaseKeeperParts;
  readonly #timer: NodeJS.Timeout;
  readonly #closing = new AbortController();
  readonly #written = new Map<string, Written>();
  #seen = new Set<string>();
  #looking: Promise<void> | null = null;

  constructor(parts: LeaseKeeperParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => void this.look(), parts.checkMs);
    this.#timer.unref();
  }

  /** Never fails. One look at a time: who asks during one waits for that. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch(() => undefined)
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  /** Leases of stages that are over are removed; the others stay, for what is staged stays, too. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort();
    await this.#looking;
    if (this.#written.size > 0) await within(stopMsMax, this.#removeOver(this.#parts.stages(), {}));
  }

  async #look(): Promise<void> {
    const { stages, renewMs } = this.#parts;
    const alive = stages();
    const known = this.#seen;
    this.#seen = new Set(alive.map(({ stageId }) => stageId));
    const options = { signal: this.#closing.signal };
    for (const stage of alive) {
      const { stageId, base } = stage;
      if (!known.has(stageId)) continue;
      const written = this.#written.get(stageId);
      if (written !== undefined && written.base === base && this.#nowMs() - written.atMs < renewMs) continue;
      await this.#write(stage, options);
    }
    await this.#removeOver(stages(), options);
  }

  async #write(stage: LiveStage, options: { signal: AbortSignal }): Promise<void> {
    const { store, admitWrite, host, user, mount, stagedBytes } = this.#parts;
    await admitWrite();
    const { artifactId, ...facts } = stage;
    const bytes = encodeLease({ ...facts, host, user, mount, bytes: stagedBytes() });
    // Also one whose answer is lost may be there, and is to be removed.
    const written = { artifactId, base: stage.base, atMs: Number.NEGATIVE_INFINITY };
    this.#written.set(stage.stageId, this.#written.get(stage.stageId) ?? written);
    await store.put(leaseKey(artifactId, stage.stageId), bytes, options);
    this.#written.set(stage.stageId, { ...written, atMs: this.#nowMs() });
  }

  async #removeOver(alive: readonly LiveStage[], options: { signal?: AbortSignal }): Promise<void> {
    const ids = new Set(alive.map(({ stageId }) => stageId));
    const over = [...this.#written].filter(([stageId]) => !ids.has(stageId));
    if (over.length === 0) return;
    const keys = over.map(([stageId, { artifactId }]) => leaseKey(artifactId, stageId));
    await this.#parts.store.deleteMany(keys, options);
    for (const [stageId] of over) this.#written.delete(stageId);
  }

  #nowMs(): number {
    return (this.#parts.nowMs ?? performance.now.bind(performance))();
  }
}

const stopMsMax = 1_000;
