import { limits } from '../model/limits.js';
import { Listing } from './listing.js';
import type { Directory, Listed } from './node.js';

/** Numbers start again after so many: with 32 bits for the index an offset stays a safe integer. */
const numbersMax = 2 ** 20;

/**
 * The listings of a directory. A reader may be given offsets by the kernel that another one got before it: the kernel
 * keeps a listing for all who open the directory, and asks in the middle of it when it has lost a page. So the last
 * listing is kept as long as the directory is known, and while somebody has the directory open the last few.
 */
export class Listings<T extends Listed> {
  readonly #directory: Directory<T>;
  /** The newest last. */
  #kept: Listing<T>[] = [];
  #next = 0;
  #opened = 0;

  constructor(directory: Directory<T>) {
    this.#directory = directory;
  }

  opened(): void {
    this.#opened++;
  }

  closed(): void {
    this.#opened--;
    if (this.#opened > 0) return;
    this.#kept = this.#kept.slice(-1).filter((listing) => listing.names <= limits.closedListingNamesMax);
  }

  /** For who reads from the beginning: the directory as it is now. */
  start(): Listing<T> {
    const number = this.#next;
    this.#next = (number + 1) % numbersMax;
    return this.#keep(number);
  }

  /** That of an offset. One that is not known any more starts as the directory is now. */
  withNumber(number: number): Listing<T> {
    return this.#kept.find((listing) => listing.number === number) ?? this.#keep(number);
  }

  #keep(number: number): Listing<T> {
    const listing = new Listing(this.#directory, number);
    this.#kept.push(listing);
    if (this.#kept.length > limits.openListingsMax) this.#kept.shift();
    return listing;
  }
}
