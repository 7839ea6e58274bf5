import { constants } from 'node:os';
import { limits } from '../model/limits.js';
import type { Driver } from './driver.js';
import type { EndReason } from './mounted-file-system.js';
import type { Native, NativeChannel } from './native.js';
import { Notifier } from './notifier.js';
import { Passthrough } from './passthrough.js';
import { requestStart } from './protocol/request.js';
import { RequestPool } from './request-pool.js';

export interface ConnectionOptions {
  /** Largest READ and WRITE, in bytes. */
  readonly requestBytesMax: number;
  /** For write data that the file system has not let go of; at least room for a few writes is taken all the same. */
  readonly memoryBytes: number;
  /** How long work under way may go on when the kernel is gone, in ms; 0 for as long as it takes. */
  readonly endTimeoutMs: number;
  /** So many requests were under way when that time was over. */
  readonly onUnfinished: (count: number) => void;
  readonly onNotifyFailure: (errno: number) => void;
}

/** Requests read in one turn of the event loop before everybody else gets a turn. */
const batchMax = 32;
/** Room beside the data of the largest write: the header, and the longest names. */
const headerBytesMax = 4096;
/** Memory for write data that the file system has not yet let go of: pieces of a few large writes each. */
const writesPerPiece = 3;

/** One mount's open /dev/fuse: reads requests when there are some and gives them to the driver. Owns the descriptor. */
export class Connection {
  readonly notifier: Notifier;
  /** Resolves when the kernel is gone and every request under way is settled, or `endTimeoutMs` over. Never rejects. */
  readonly closed: Promise<EndReason>;
  readonly #driver: Driver;
  readonly #channel: NativeChannel;
  readonly #pool: RequestPool;
  readonly #keepBytes: number;
  readonly #pieceBytes: number;
  readonly #options: ConnectionOptions;
  readonly #ends = new Uint32Array(batchMax);
  #resolveClosed: (reason: EndReason) => void = () => {};
  #ended = false;

  constructor(native: Native, fd: number, driver: Driver, options: ConnectionOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#keepBytes = options.requestBytesMax + headerBytesMax;
    this.#pieceBytes = requestStart(writesPerPiece * this.#keepBytes);
    this.#channel = new native.Channel(fd, driver.replyMemory, () => this.#readable());
    this.#pool = new RequestPool(
      this.#keepBytes,
      this.#pieceBytes,
      Math.max(limits.fuseWritePiecesMin, Math.floor(options.memoryBytes / this.#pieceBytes)),
      () => this.#start(),
    );
    this.notifier = new Notifier((messages) => this.#channel.notify(messages), options.onNotifyFailure);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    driver.connect(this.#channel, this.notifier);
    this.#start();
  }

  /** Memory that requests are read into, in bytes. */
  get memoryBytes(): number {
    return this.#pool.piecesCount * this.#pieceBytes;
  }

  /** The kernel has agreed to read local files by itself. */
  usePassthrough(): void {
    this.notifier.usePassthrough(new Passthrough(this.#channel));
  }

  /** Lets go of the device without unmounting; what still has the mount open gets ENOTCONN. */
  close(): void {
    this.#end('unmounted');
  }

  #start(): void {
    if (this.#ended) return;
    if (this.#channel.start() !== 0) this.#end('failed');
  }

  #readable(): void {
    const memory = this.#pool.take();
    if (memory === undefined) {
      this.#channel.stop(); // until the file system has let go of some write data
      return;
    }
    let start = this.#pool.position;
    const count = this.#channel.read(memory.bytes, start, this.#keepBytes, this.#ends);
    if (count < 0) {
      this.#end(endReason(-count));
      return;
    }
    const last = count === 0 ? start : (this.#ends[count - 1] as number);
    this.#pool.position = requestStart(last);
    for (let i = 0; i < count; i++) {
      const end = this.#ends[i] as number;
      this.#driver.handle(memory, start, end);
      start = requestStart(end);
    }
  }

  #end(reason: EndReason): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#channel.close();
    const { endTimeoutMs, onUnfinished } = this.#options;
    void this.#driver
      .end(`the connection to the kernel ended: ${reason}`, endTimeoutMs)
      .then((unfinished) => {
        if (unfinished > 0) onUnfinished(unfinished);
        this.#resolveClosed(reason);
      });
  }
}

function endReason(errno: number): EndReason {
  if (errno === constants.errno.ENODEV) return 'unmounted';
  return errno === constants.errno.ECONNABORTED ? 'aborted' : 'failed';
}
