import { limits } from '../model/limits.js';

/**
 * How far away the store is, by the time to the first byte of its answers to requests that it need not work for: the shortest one
 * lately, since others may also tell how busy this machine or the store is.
 */
export class StoreDistance {
  #count = 0;
  #shortestMs = Number.POSITIVE_INFINITY;
  #shortestBeforeMs = Number.POSITIVE_INFINITY;

  add(ms: number): void {
    if (this.#count++ % limits.nearStoreSamples === 0) {
      this.#shortestBeforeMs = this.#shortestMs;
      this.#shortestMs = ms;
    } else if (ms < this.#shortestMs) this.#shortestMs = ms;
  }

  /** Something has been added. */
  get isKnown(): boolean {
    return this.#count > 0;
  }

  /** Its answers begin so soon that a few connections carry all that it sends. False while nothing is known. */
  get isNear(): boolean {
    return Math.min(this.#shortestMs, this.#shortestBeforeMs) <= limits.nearStoreMsMax;
  }

  /** Only many connections at a time carry all that it sends or takes. False while nothing is known. */
  get isFar(): boolean {
    return this.isKnown && !this.isNear;
  }
}
