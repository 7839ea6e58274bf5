import type { MaybePromise } from '../util/maybe-promise.js';
import type { OpenReply } from './file-system.js';
import type { Listing } from './listing.js';
import { Listings } from './listings.js';
import type { Directory, EmitName, Listed, OpenDirectory } from './node.js';

const noNode = (): undefined => undefined;
const indexes = 2 ** 32;

/**
 * An open directory. Offset 0 starts anew; others are, with the number of a listing times 2^32, 1 for '..' and an index
 * in the listing plus 2 for the rest.
 */
export class DirectoryHandle<T extends Listed> implements OpenDirectory {
  readonly node: Directory<T>;
  readonly reply: Omit<OpenReply, 'handle'>;
  readonly #listings: Listings<T>;
  readonly #onReleased: () => void;
  #listing: Listing<T> | null = null;

  /** A directory that never changes needs no `listings` that its handles share. */
  constructor(
    node: Directory<T>,
    reply: Omit<OpenReply, 'handle'>,
    listings = new Listings(node),
    onReleased: () => void = () => {},
  ) {
    this.node = node;
    this.reply = reply;
    this.#listings = listings;
    this.#onReleased = onReleased;
    listings.opened();
  }

  read(offset: number, emit: EmitName): MaybePromise<void> {
    const { node } = this;
    const listing = this.#enter(offset);
    const first = listing.number * indexes;
    if (offset === 0 && !emit('.', 'dir', node.ino, first + 1, noNode)) return;
    if (offset <= first + 1 && !emit('..', 'dir', node.parentIno(), first + 2, noNode)) return;
    return listing.read(Math.max(0, offset - first - 2), (item, index, nodeOf) =>
      emit(item.name, node.kindOf(item), node.inoOf(item), first + index + 3, nodeOf),
    );
  }

  release(): void {
    this.#listing?.leave();
    this.#listing = null;
    this.#listings.closed();
    this.#onReleased();
  }

  /** The listing of this offset, which is the one that is read now. */
  #enter(offset: number): Listing<T> {
    const number = Math.floor(offset / indexes);
    const last = this.#listing;
    if (last !== null && offset !== 0 && last.number === number) return last;
    const listing = offset === 0 ? this.#listings.start() : this.#listings.withNumber(number);
    last?.leave();
    listing.enter();
    this.#listing = listing;
    return listing;
  }
}
