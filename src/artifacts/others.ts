import { limits } from '../model/limits.js';
import type { ObjectStore } from '../store/object-store.js';
import { withinOwnTime } from '../util/within.js';
import type { Publisher } from '../workspace/commit-types.js';
import { readLeases } from '../workspace/lease.js';
import type { OtherStage } from './ports.js';

export interface OtherStagesParts {
  readonly artifactId: string;
  readonly store: ObjectStore;
  readonly publisher: Pick<Publisher, 'readLog'>;
  /** '' for none. */
  readonly ownStageId: () => string;
  readonly closing: AbortSignal;
  /** Monotonic. */
  readonly nowMs?: () => number;
}

/** Who else is staging in one artifact, as their leases say. Nothing is asked of the store before somebody wants to know. */
export class OtherStages {
  readonly #parts: OtherStagesParts;
  #known: readonly OtherStage[] = [];
  #readAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | null = null;
  /** Stages that were published or abandoned, by the log up to `#log`; the log is read when there are leases only. */
  readonly #over = new Set<string>();
  #log = { seq: 0, hash: '' };
  /** A lease of ours may outlive its stage by a little. */
  readonly #own = new Set<string>();

  constructor(parts: OtherStagesParts) {
    this.#parts = parts;
  }

  /** As it was read last, newest sign of life first. */
  get known(): readonly OtherStage[] {
    return this.#known;
  }

  /** The stage of this machine is about to be dropped. */
  noteOwn(): void {
    const stageId = this.#parts.ownStageId();
    if (stageId !== '') this.#own.add(stageId);
  }

  /** Never fails. Waits for a slow store a moment, once; what was read, or failed, some seconds ago is not asked again. */
  async ask(): Promise<void> {
    this.noteOwn();
    const { othersReadMsMax, othersKeptMs } = limits;
    if (this.#reading !== null || this.#nowMs() - this.#readAtMs < othersKeptMs) return;
    this.#reading = this.#read()
      .catch(() => undefined)
      .finally(() => {
        this.#readAtMs = this.#nowMs();
        this.#reading = null;
      });
    await withinOwnTime(othersReadMsMax, this.#reading);
  }

  async #read(): Promise<void> {
    const { artifactId, store, closing } = this.#parts;
    const options = { signal: closing };
    const leases = (await readLeases(store, artifactId, options)).filter(({ stageId }) =>
      this.#isOther(stageId),
    );
    if (leases.length > 0) await this.#readLog();
    // The clocks of store and machine differ by less than what is left of a month.
    const deadMs = Date.now() - limits.gcDeadAfterSeconds * 1000;
    this.#known = leases
      .filter(({ stageId, modifiedMs }) => this.#isOther(stageId) && modifiedMs > deadMs)
      .map(({ host, user, mount, base, bytes, state, modifiedMs }) => ({
        ...{ host, user, mount, base, bytes, state },
        seenMs: Math.round(modifiedMs),
      }))
      .reverse();
  }

  async #readLog(): Promise<void> {
    const { artifactId, publisher, closing } = this.#parts;
    const { seq, hash } = this.#log;
    for (const stored of await publisher.readLog(artifactId, seq, hash, { signal: closing })) {
      const { record } = stored;
      if (record.type === 'commit' || record.type === 'abandon')
        for (const stageId of record.stages) this.#over.add(stageId);
      this.#log = { seq: record.seq, hash: stored.hash };
    }
  }

  #isOther(stageId: string): boolean {
    this.noteOwn();
    return !this.#own.has(stageId) && !this.#over.has(stageId);
  }

  #nowMs(): number {
    return (this.#parts.nowMs ?? performance.now.bind(performance))();
  }
}
