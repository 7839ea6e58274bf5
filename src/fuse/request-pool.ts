import { limits } from '../model/limits.js';
import { RequestMemory, requestStart } from './protocol/request.js';

/**
 * The memory requests are read into. Requests follow each other in one piece of memory; it starts over as soon as no
 * request lends its data on, and another piece is taken when it is full of lent data. Pieces are kept while anybody
 * writes: a fresh one costs the kernel more than all that is done with it, and V8 collects all garbage for a few of them.
 *
 * INVARIANT: at most `piecesMax` pieces exist.
 */
export class RequestPool {
  readonly #pieceBytes: number;
  readonly #keepBytes: number;
  readonly #piecesMax: number;
  readonly #onFree: () => void;
  #pieces: RequestMemory[] = [];
  #current: RequestMemory | undefined;
  #idle: NodeJS.Timeout | undefined;
  /** Where the next request goes in the current piece. */
  position = requestStart(0);

  /**
   * `keepBytes` is the room the kernel insists on for any request. `onFree` is called when a piece came back after
   * `take` had none.
   */
  constructor(keepBytes: number, pieceBytes: number, piecesMax: number, onFree: () => void) {
    this.#keepBytes = keepBytes;
    this.#pieceBytes = pieceBytes;
    this.#piecesMax = piecesMax;
    this.#onFree = onFree;
  }

  /** Memory with room for at least one request from `position` on, or undefined while all of it is lent. */
  take(): RequestMemory | undefined {
    const current = this.#current;
    if (current !== undefined) {
      if (current.loans === 0) this.position = requestStart(0);
      if (this.position + this.#keepBytes <= current.bytes.length) return current;
    }
    this.position = requestStart(0);
    this.#current = this.#pieces.find((piece) => piece.loans === 0) ?? this.#make();
    return this.#current;
  }

  get piecesCount(): number {
    return this.#pieces.length;
  }

  #make(): RequestMemory | undefined {
    if (this.#pieces.length >= this.#piecesMax) return undefined;
    const piece = new RequestMemory(this.#pieceBytes, () => {
      if (this.#current === undefined) this.#onFree();
      if (this.#pieces.length > limits.fuseWritePiecesKept) this.#dropLater();
    });
    this.#pieces.push(piece);
    return piece;
  }

  /** Lets go of the pieces that nobody uses when none has come back for a while. */
  #dropLater(): void {
    if (this.#idle !== undefined) {
      this.#idle.refresh();
      return;
    }
    this.#idle = setTimeout(() => {
      this.#idle = undefined;
      const free = this.#pieces.filter((piece) => piece.loans === 0 && piece !== this.#current);
      const dropped = new Set(free.slice(0, Math.max(0, this.#pieces.length - limits.fuseWritePiecesKept)));
      this.#pieces = this.#pieces.filter((piece) => !dropped.has(piece));
    }, limits.fuseWritePiecesIdleMs).unref();
  }
}
