import { limits } from '../../model/limits.js';
import { interrupted } from '../keys.js';
import type { ObjectStore } from '../object-store.js';
import { type StoreCall, WrappedStore } from './wrapped-store.js';

/** Bytes of a ranged GET from which on it is bulk. */
const bulkBytesMin = 64 << 10;
/** While both classes wait, bulk gets every nth slot that comes free. */
const bulkTurn = 4;

/**
 * At most `requestsMax` calls at a time, first come first served within two classes: urgent calls (log records,
 * creates, small reads, bookkeeping) and bulk transfers. Bulk leaves an eighth of the slots free, and urgent calls go
 * first when both wait, but not always: neither class can starve the other. A `list` asks for one page at a time by
 * its nature and is not counted.
 */
export class LimitStore extends WrappedStore {
  readonly #requestsMax: number;
  readonly #bulkMax: number;
  readonly #urgent: Waiter[] = [];
  readonly #bulk: Waiter[] = [];
  #running = 0;
  #bulkRunning = 0;
  #urgentInARow = 0;

  constructor(inner: ObjectStore, requestsMax: number = limits.storeRequestsMax) {
    super(inner);
    this.#requestsMax = requestsMax;
    this.#bulkMax = Math.max(1, requestsMax - Math.ceil(requestsMax / 8));
  }

  protected override async around<T>(call: StoreCall, run: () => Promise<T>): Promise<T> {
    // Its own requests are many, but it runs alone, before anything else.
    if (call.operation === 'probe' || call.operation === 'presignGet') return run();
    const bulk = isBulk(call);
    await this.#enter(bulk, call.signal);
    try {
      return await run();
    } finally {
      this.#running--;
      if (bulk) this.#bulkRunning--;
      this.#admit();
    }
  }

  #enter(bulk: boolean, signal: AbortSignal | undefined): Promise<void> {
    const queue = bulk ? this.#bulk : this.#urgent;
    return new Promise((resolve, reject) => {
      const leave = () => {
        if (signal === undefined) return;
        queue.splice(queue.indexOf(waiter), 1);
        reject(interrupted(signal));
      };
      const waiter: Waiter = {
        admit: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
      };
      queue.push(waiter);
      if (signal?.aborted === true) return leave();
      signal?.addEventListener('abort', leave, { once: true });
      this.#admit();
    });
  }

  #admit(): void {
    while (this.#running < this.#requestsMax) {
      const bulk = this.#nextIsBulk();
      const waiter = (bulk ? this.#bulk : this.#urgent).shift();
      if (waiter === undefined) return;
      this.#urgentInARow = bulk ? 0 : this.#urgentInARow + 1;
      this.#running++;
      if (bulk) this.#bulkRunning++;
      waiter.admit();
    }
  }

  #nextIsBulk(): boolean {
    if (this.#bulk.length === 0 || this.#bulkRunning >= this.#bulkMax) return false;
    return this.#urgent.length === 0 || this.#urgentInARow >= bulkTurn - 1;
  }
}

interface Waiter {
  readonly admit: () => void;
}

function isBulk({ operation, bytes = 0 }: StoreCall): boolean {
  if (operation === 'get' || operation === 'put') return bytes > bulkBytesMin;
  return operation === 'uploadPart' || operation === 'copyPart' || operation === 'putStream';
}
