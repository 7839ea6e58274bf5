import { setImmediate as nextTurn } from 'node:timers/promises';

/** Entries handled before the event loop gets a turn: the same thread answers the kernel. */
const sliceEntries = 500;

/** Counts entries of a long loop: `if (slices.due()) await slices.turn();`. */
export class Slices {
  #count = 0;

  due(): boolean {
    return ++this.#count % sliceEntries === 0;
  }

  turn(): Promise<void> {
    return nextTurn();
  }
}
