import { limits } from '../../model/limits.js';

/** Who fetches ahead: a stream in a file, or a walk over files. */
export interface AheadHolder {
  /** Set by the budget. */
  usedAt: number;
  /** Gives back all that it holds of the budget. */
  settle(budget: ReadAheadBudget): void;
}

/**
 * How much all streams of the daemon together may have fetched and not read yet: a part of the memory cache, so that
 * what was fetched ahead is still there when it is read.
 */
export class ReadAheadBudget {
  readonly bytesMax: number;
  readonly #isNear: () => boolean;
  /** In order of use: the first was read longest ago. */
  readonly #streams = new Set<AheadHolder>();
  #bytes = 0;
  #reads = 0;

  /** `isNear`: whether the store is so close that a few requests at a time fetch as fast as many. */
  constructor(bytesMax: number, isNear: () => boolean = () => false) {
    this.bytesMax = bytesMax;
    this.#isNear = isNear;
  }

  /** How large one GET of a stream with this window is: a full window is many at a time. */
  getBytes(window: number): number {
    const share = this.#isNear()
      ? Math.min(window, this.bytesMax) / limits.nearStoreWindowGets
      : window / limits.readWindowGets;
    return Math.min(limits.getBytesMax, Math.max(limits.getBytesMin, roundUp(share)));
  }

  /** Bytes granted and not read yet. */
  get bytes(): number {
    return this.#bytes;
  }

  used(stream: AheadHolder): void {
    this.#streams.delete(stream);
    this.#streams.add(stream);
    stream.usedAt = ++this.#reads;
  }

  /** False: not now. A stream nobody read for a while gives up what it has not used. */
  take(stream: AheadHolder, bytes: number): boolean {
    for (const other of this.#streams) {
      if (this.#bytes + bytes <= this.bytesMax) break;
      if (other === stream || this.#reads - other.usedAt < limits.readStreamIdleReads) return false;
      this.forget(other);
    }
    if (this.#bytes + bytes > this.bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }

  forget(stream: AheadHolder): void {
    this.#streams.delete(stream);
    stream.settle(this);
  }
}

/** One sequential reader inside an open file: where it is, and how far ahead of it bytes were asked for. */
export class Stream implements AheadHolder {
  /** Where the next read is expected. */
  next: number;
  usedAt = 0;
  /** How large one GET of what is to be fetched is. */
  getBytes: number = limits.getBytesMin;
  /** 0 until a second read has followed the first. */
  #window = 0;
  /** Everything before it was asked for. */
  #frontier: number;
  #taken = 0;
  #readBytes = 0;

  constructor(next: number) {
    this.next = next;
    this.#frontier = next;
  }

  /** True when a read at `offset` may be this stream's next; requests overtake each other on their way. */
  expects(offset: number): boolean {
    return offset >= this.next - limits.readJumpBytesMax && offset <= this.next + limits.readJumpBytesMax;
  }

  /**
   * The read of [offset, end) belongs to this stream: answers the ranges to fetch ahead, nearest first. The window
   * grows fourfold with every read that moves on, but stays in proportion to what was read: a long read soon has many GETs
   * under way, and a short one wastes little.
   */
  advance(offset: number, end: number, fileSize: number, budget: ReadAheadBudget): [number, number][] {
    budget.used(this);
    if (end <= this.next) return [];
    this.#readBytes += end - Math.max(offset, this.next);
    const wanted = Math.min(this.#window * 4, this.#readBytes * 4);
    this.#window = Math.min(Math.max(wanted, limits.readWindowBytesMin), limits.readWindowBytesMax);
    this.next = end;
    const passed = this.#taken - Math.min(this.#taken, Math.max(0, this.#frontier - end));
    budget.give(passed);
    this.#taken -= passed;
    if (this.#frontier < end) this.#frontier = roundUp(end);
    const ranges: [number, number][] = [];
    const step = budget.getBytes(this.#window);
    this.getBytes = step;
    while (this.#frontier < fileSize && this.#frontier + step <= end + this.#window) {
      // Pieces end where the kernel's requests end, so that none lies in two.
      const whole = step >= requestBytes ? step - (this.#frontier % requestBytes) : step;
      const length = Math.min(whole, fileSize - this.#frontier);
      if (!budget.take(this, length)) break;
      ranges.push([this.#frontier, length]);
      this.#taken += length;
      this.#frontier += length;
    }
    return ranges;
  }

  /** Gives back what it had taken of the budget. */
  settle(budget: ReadAheadBudget): void {
    budget.give(this.#taken);
    this.#taken = 0;
    this.#frontier = this.next;
    this.#window = 0;
  }
}

const { fuseRequestBytesMax: requestBytes } = limits;

const roundUp = (bytes: number) => Math.ceil(bytes / limits.blockBytes) * limits.blockBytes;
