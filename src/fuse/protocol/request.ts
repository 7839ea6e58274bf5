import { constants } from 'node:os';
import type { Time } from '../../model/entry.js';
import type { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { alignedMemory, alignmentBytes } from '../../util/aligned-memory.js';
import type { RequestContext } from '../../vfs/file-system.js';
import { decodeName, decodeText, type Text } from './names.js';
import { Refusal } from './refusal.js';

/** fuse_in_header: length, opcode, unique (64), nodeid (64), uid, gid, pid, extension length. */
export const requestHeaderBytes = 40;
const bodyWord = requestHeaderBytes / 4;
/** fuse_write_in: handle, offset (64 each), length, flags, lock owner (64), open flags, padding. */
export const writeFieldsBytes = 40;
const twoTo32 = 2 ** 32;

/** Where a request may begin, from `offset` on: the data of a write then begins a page, and can go to the disk as it is. */
export function requestStart(offset: number): number {
  const before = requestHeaderBytes + writeFieldsBytes;
  return Math.ceil((offset + before) / alignmentBytes) * alignmentBytes - before;
}

/** Memory that requests are read into, and the same memory seen as words of the host (the protocol's byte order). */
export class RequestMemory {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  /** Requests under way whose data is still in use here. */
  loans = 0;
  readonly #onReturned: () => void;

  constructor(length: number, onReturned: () => void = () => {}) {
    this.bytes = alignedMemory(length);
    this.words = new Uint32Array(this.bytes.buffer, 0, Math.floor(length / 4));
    this.#onReturned = onReturned;
  }

  giveBack(): void {
    this.loans -= 1;
    if (this.loans === 0) this.#onReturned();
  }
}

/**
 * One request of the kernel. The header is decoded at once; the body is read by the operation, from memory that is
 * used again when the operation has returned: only numbers, strings, copies and lent data may outlive it.
 *
 * A field of a body is named by the word it starts at: `u32(2)` is 8 bytes into the body.
 */
export class Request implements RequestContext {
  readonly opcode: number;
  /** Even and below 2^53: the kernel counts up from 2. */
  readonly unique: number;
  readonly nodeId: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Only requests that make something carry one; they set it. */
  umask = 0;
  readonly #memory: RequestMemory;
  readonly #body: number;
  readonly #end: number;
  /** When its answer became a promise, by performance.now(). */
  sinceMs = 0;
  /** When it came, by performance.now(), if somebody reads the access log; else 0. */
  startedMs = 0;
  /** The names in its body, kept by who needs them after the body is gone. */
  about: readonly { readonly parent: number; readonly name: string }[] = [];
  #lends = false;
  #takesItsTime = false;
  #onAnswered: (() => void)[] | undefined;
  #isOver = false;
  #abortedBy: ArtifactError | undefined;
  #controller: AbortController | undefined;

  /** `start` is a multiple of 4; the caller has checked that a whole header is there. */
  constructor(memory: RequestMemory, start: number, end: number) {
    const words = memory.words;
    const at = start >> 2;
    this.#memory = memory;
    this.#body = at + bodyWord;
    this.#end = end;
    this.opcode = words[at + 1] as number;
    this.unique = (words[at + 2] as number) + (words[at + 3] as number) * twoTo32;
    this.nodeId = (words[at + 4] as number) + (words[at + 5] as number) * twoTo32;
    this.uid = words[at + 6] as number;
    this.gid = words[at + 7] as number;
    this.pid = words[at + 8] as number;
  }

  get bodyBytes(): number {
    return this.#end - this.#body * 4;
  }

  u32(word: number): number {
    return this.#memory.words[this.#body + word] as number;
  }

  /** Exact up to 2^53; handles and node numbers are ours and stay below. */
  u64(word: number): number {
    const words = this.#memory.words;
    const at = this.#body + word;
    return (words[at] as number) + (words[at + 1] as number) * twoTo32;
  }

  i64(word: number): number {
    const words = this.#memory.words;
    const at = this.#body + word;
    return (words[at] as number) + ((words[at + 1] as number) | 0) * twoTo32;
  }

  /** A file offset or size. Throws EFBIG above what a file of ours can have. */
  size(word: number): number {
    const value = this.u64(word);
    if (value > limits.fileSizeBytesMax) {
      throw new Refusal(
        constants.errno.EFBIG,
        `offset or size ${value}: at most ${limits.fileSizeBytesMax} is possible`,
      );
    }
    return value;
  }

  /** Throws EFBIG when a change of `length` bytes at `offset` ends above that. */
  checkEnd(offset: number, length: number): void {
    if (offset + length > limits.fileSizeBytesMax) {
      throw new Refusal(constants.errno.EFBIG, `a change that ends at ${offset + length}`);
    }
  }

  /** Beyond what is exact: the last second that is, as local file systems do beyond their own. */
  time(secondsWord: number, nanosecondsWord: number): Time {
    const seconds = Math.min(this.i64(secondsWord), Number.MAX_SAFE_INTEGER);
    return { s: Math.max(seconds, Number.MIN_SAFE_INTEGER), ns: this.u32(nanosecondsWord) };
  }

  /** The name that starts `skip` bytes into the body. */
  name(skip: number): string {
    return decodeName(this.#memory.bytes, this.#body * 4 + skip, this.#end).value;
  }

  /** Two names one after the other; the second may be longer than a file name can (a symlink's target). */
  names(skip: number, secondBytesMax: number = limits.nameBytesMax): [string, string] {
    const first = decodeName(this.#memory.bytes, this.#body * 4 + skip, this.#end);
    const second = decodeText(this.#memory.bytes, first.next, this.#end, secondBytesMax);
    return [first.value, second.value];
  }

  /** The name of an extended attribute at `skip`, and where the bytes after it start, counted from the body. */
  xattrName(skip: number): Text {
    const base = this.#body * 4;
    const text = decodeText(this.#memory.bytes, base + skip, this.#end, limits.xattrNameBytesMax);
    return { value: text.value, next: text.next - base };
  }

  /** `length` bytes from `skip` bytes into the body: a view, not a copy. */
  data(skip: number, length: number): Buffer {
    const from = this.#body * 4 + skip;
    if (from + length > this.#end) {
      throw new Refusal(constants.errno.EINVAL, 'a request of the kernel is shorter than it says');
    }
    return this.#memory.bytes.subarray(from, from + length);
  }

  /** The same for data that stays in use until the request is answered. */
  lendData(skip: number, length: number): Buffer {
    this.#lends = true;
    return this.data(skip, length);
  }

  /** The answer comes later: memory that was lent stays ours until `settled`. */
  wait(): void {
    this.sinceMs = performance.now();
    if (this.#lends) this.#memory.loans += 1;
  }

  settled(): void {
    if (this.#lends) this.#memory.giveBack();
  }

  /** Made when somebody asks: almost no request is ever waited for. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortedBy !== undefined) this.#controller.abort(this.#abortedBy);
    }
    return this.#controller.signal;
  }

  abort(why: ArtifactError): void {
    this.#abortedBy ??= why;
    this.#controller?.abort(why);
  }

  onAnswered(done: () => void): void {
    if (this.#isOver) {
      done();
      return;
    }
    this.#onAnswered ??= [];
    this.#onAnswered.push(done);
  }

  /** The result has been sent, or never will be: what was lent for it goes back. */
  over(): void {
    this.#isOver = true;
    const waiting = this.#onAnswered ?? [];
    this.#onAnswered = undefined;
    for (const done of waiting) done();
  }

  get takesItsTime(): boolean {
    return this.#takesItsTime;
  }

  takeTime(): void {
    this.#takesItsTime = true;
  }
}
