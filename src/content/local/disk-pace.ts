import { limits } from '../../model/limits.js';

/**
 * Whether a disk keeps up with writes past the page cache. A slow one is left to the page cache, which takes a burst at once, and is
 * asked again after a while.
 */
export class DiskPace {
  readonly #bytesPerMsMin: number;
  #slowUntilMs = 0;
  /** Of the writes looked at now: what they are together, and the best pace of any of them, in bytes per ms. */
  #sampleBytes = 0;
  #bestPace = 0;

  /** `bytesPerMsMin`: what a single write brings at its best, at least. */
  constructor(bytesPerMsMin: number) {
    this.#bytesPerMsMin = bytesPerMsMin;
  }

  isSlow(nowMs: number): boolean {
    return nowMs < this.#slowUntilMs;
  }

  /** The best of several tells the disk's pace: on a busy machine most are slow for other reasons. */
  note(bytes: number, ms: number, nowMs: number): void {
    this.#sampleBytes += bytes;
    this.#bestPace = Math.max(this.#bestPace, bytes / ms);
    if (this.#sampleBytes < limits.directSampleBytes) return;
    if (this.#bestPace < this.#bytesPerMsMin) this.#slowUntilMs = nowMs + limits.directSlowMs;
    this.#sampleBytes = 0;
    this.#bestPace = 0;
  }
}
