import { constants } from 'node:os';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { Access, AccessRecorder, NodeId, RequestContext } from './file-system.js';
import type { FileHandle } from './node.js';

/**
 * The requests of the kernel as a file that grows while somebody has it open, and is empty and free again when the last
 * one closes it. Its newest `accessLogBytes` are kept; a reader who is slower than that is told how much he missed.
 */
export class AccessLog implements AccessRecorder {
  /** The log's own file, whose requests are not written down: each would make the next. */
  ownNode: NodeId = 0;
  /** Words for a node. */
  pathOf: (node: NodeId) => string = (node) => `#${node}`;
  #bytes: Buffer | null = null;
  /** Bytes written since it was opened. */
  #end = 0;
  #time = Date.now();
  #readers = 0;
  #waiting: (() => void)[] = [];

  get isOpen(): boolean {
    return this.#bytes !== null;
  }

  /** As `tail -f` wants to see it. */
  get size(): number {
    return this.#end;
  }

  /** When the last line came, in ms since 1970. */
  get timeMs(): number {
    return this.#time;
  }

  record(access: Access): void {
    if (this.#bytes === null || access.node === this.ownNode) return;
    this.#time = Date.now();
    this.#append(Buffer.from(`${this.#line(access)}\n`));
  }

  open(): FileHandle {
    this.#bytes ??= Buffer.alloc(limits.accessLogBytes);
    this.#readers++;
    return new AccessLogHandle(this);
  }

  closed(): void {
    if (--this.#readers > 0) return;
    this.#bytes = null;
    this.#end = 0;
    this.wake();
  }

  /** Where the first whole line begins that is still kept. */
  get start(): number {
    const oldest = this.#end - limits.accessLogBytes;
    if (oldest <= 0 || this.#bytes === null) return 0;
    for (let at = oldest; at < this.#end; at++)
      if (this.#bytes[at % this.#bytes.length] === newline) return at + 1;
    return this.#end;
  }

  /** Kept bytes from `position` on, at most `length`. */
  bytes(position: number, length: number): Buffer {
    const kept = this.#bytes;
    if (kept === null) return Buffer.alloc(0);
    const count = Math.max(0, Math.min(length, this.#end - position));
    const from = position % kept.length;
    const first = kept.subarray(from, Math.min(kept.length, from + count));
    return first.length === count
      ? Buffer.from(first)
      : Buffer.concat([first, kept.subarray(0, count - first.length)]);
  }

  /** Resolves with the next line, or when there will be none; rejects with the signal. */
  next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new ArtifactError('Interrupted', 'nobody reads on', {}, signal.reason));
      if (signal.aborted) return giveUp();
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.push(() => {
        signal.removeEventListener('abort', giveUp);
        resolve();
      });
    });
  }

  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #append(line: Buffer): void {
    const kept = this.#bytes;
    if (kept === null) return;
    const at = this.#end % kept.length;
    const first = line.copy(kept, at);
    if (first < line.length) line.copy(kept, 0, first);
    this.#end += line.length;
    if (this.#waiting.length > 0) this.wake();
  }

  #line(access: Access): string {
    const { operation, node, about, uid, gid, pid, errno, durationMs } = access;
    const places = about.length === 0 ? [this.pathOf(node)] : about.map((name) => this.#placeOf(name));
    const result = errno === 0 ? 'OK' : (errorNames.get(errno) ?? `errno ${errno}`);
    return [
      new Date(this.#time).toISOString(),
      operation,
      places.map(shown).join(' '),
      `[uid:${uid},gid:${gid},pid:${pid}]`,
      result,
      `${durationMs.toFixed(3)}ms`,
    ].join(' ');
  }

  #placeOf({ parent, name }: { parent: NodeId; name: string }): string {
    const directory = this.pathOf(parent);
    return directory === '/' ? `/${name}` : `${directory}/${name}`;
  }
}

/**
 * An open access log. At its end a large read waits for more, so that `cat` goes on; a small one is at the end of the
 * file, so that `tail -f` shows what there is and asks again.
 */
class AccessLogHandle implements FileHandle {
  readonly reply = { directIo: true, noFlush: true };
  readonly #log: AccessLog;
  /** What an offset of this handle lacks to its place in the log. */
  #skipped = 0;

  constructor(log: AccessLog) {
    this.#log = log;
  }

  read(context: RequestContext, offset: number, length: number): MaybePromise<Buffer> {
    const log = this.#log;
    const position = offset + this.#skipped;
    const { start } = log;
    if (position < start) {
      const note = Buffer.from(`# ${start - position} bytes dropped: read too slowly\n`).subarray(0, length);
      this.#skipped = start - offset - note.length;
      return note;
    }
    const bytes = log.bytes(position, length);
    if (bytes.length > 0 || length <= limits.accessLogPollBytesMax || !log.isOpen) return bytes;
    context.takeTime?.();
    return log.next(context.signal).then(() => this.read(context, offset, length));
  }

  write(): never {
    throw new ArtifactError('BadHandle', 'opened for reading');
  }
  sync(): void {}
  release(): void {
    this.#log.closed();
  }
}

const newline = 10;
const errorNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
/** A path as one word. */
const shown = (path: string): string => (/[\s"\\\p{Cc}]/u.test(path) ? JSON.stringify(path) : path);
