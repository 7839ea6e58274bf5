import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { ArtifactError } from '../../model/errors.js';
import { type Deferred, deferred } from '../../util/deferred.js';

/** A piece of a local file, in the order it is hashed. */
interface FilePiece {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * What runs in a worker. It is text, so that the same program runs from sources and from the built package. It reads
 * files itself. Bytes are handed over without a copy when their memory is shared; they must not change until the answer.
 */
const workerSource = `
const { parentPort } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const { openSync, readSync, closeSync } = require('node:fs');
const hashes = new Map();
const buffer = Buffer.allocUnsafeSlow(1 << 20);
function update(hash, piece) {
  if (ArrayBuffer.isView(piece)) return hash.update(piece);
  const { path, offset, length } = piece;
  const fd = openSync(path, 'r');
  try {
    for (let done = 0; done < length; ) {
      const count = readSync(fd, buffer, 0, Math.min(buffer.length, length - done), offset + done);
      if (count === 0) throw new Error(path + ' ends early');
      hash.update(buffer.subarray(0, count));
      done += count;
    }
  } finally {
    closeSync(fd);
  }
}
parentPort.on('message', ({ id, call, pieces, last }) => {
  try {
    let hash = hashes.get(id);
    if (hash === undefined) hashes.set(id, (hash = createHash('sha256')));
    for (const piece of pieces) update(hash, piece);
    if (last) hashes.delete(id);
    parentPort.postMessage({ call, digest: last ? hash.digest('hex') : null });
  } catch (error) {
    hashes.delete(id);
    parentPort.postMessage({ call, error: String(error && error.message) });
  }
});
`;

type Piece = FilePiece | Uint8Array;

interface Answer {
  readonly call: number;
  readonly digest?: string | null;
  readonly error?: string;
}

interface Lane {
  readonly worker: Worker;
  readonly calls: Map<number, Deferred<string | null>>;
}

/**
 * SHA-256 of large contents in worker threads, because on the event loop 8 MiB are 5 ms in which nobody is answered.
 * Contents below `limits.hashInlineBytesMax` are hashed by their owner: a thread hop costs more than they do.
 * Workers start with the first use; idle ones do not keep the process alive.
 */
export class HashPool implements AsyncDisposable {
  readonly #lanesMax = Math.min(2, Math.max(1, availableParallelism() - 1));
  readonly #lanes: Lane[] = [];
  #lastId = 0;
  #lastCall = 0;
  #closed = false;

  /** Lower-case hex of the pieces one after another. */
  async hash(pieces: readonly Piece[]): Promise<string> {
    const session = this.session();
    return session.finish(pieces);
  }

  /** A hash that is fed as the bytes come; ends with `finish` or `drop`, or when an update fails. */
  session(): HashSession {
    const id = ++this.#lastId;
    const lane = this.#lane();
    const send = (pieces: readonly Piece[], last: boolean) => this.#send(lane, id, pieces, last);
    return {
      update: async (pieces) => {
        await send(pieces, false);
      },
      drop: () => {
        send([], true).catch(() => {});
      },
      finish: async (pieces) => {
        const digest = await send(pieces, true);
        if (digest === null) throw new ArtifactError('Internal', 'a hash worker gave no digest');
        return digest;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#lanes.map(({ worker }) => worker.terminate()));
  }

  #lane(): Lane {
    if (this.#closed) throw new ArtifactError('Interrupted', 'hashing was stopped');
    if (this.#lanes.length < this.#lanesMax) {
      const lane = this.#start();
      this.#lanes.push(lane);
      return lane;
    }
    return this.#lanes.reduce((least, lane) => (lane.calls.size < least.calls.size ? lane : least));
  }

  #start(): Lane {
    const worker = new Worker(workerSource, { eval: true });
    worker.unref();
    const lane: Lane = { worker, calls: new Map() };
    worker.on('message', ({ call, digest, error }: Answer) => {
      const waiting = lane.calls.get(call);
      lane.calls.delete(call);
      if (lane.calls.size === 0) worker.unref();
      if (error === undefined) waiting?.resolve(digest ?? null);
      else waiting?.reject(new ArtifactError('Corrupt', `cannot hash staged bytes: ${error}`));
    });
    const ended = (cause?: unknown) => {
      const at = this.#lanes.indexOf(lane);
      if (at >= 0) this.#lanes.splice(at, 1);
      const failure = new ArtifactError('Interrupted', 'a hash worker ended', {}, cause);
      for (const waiting of lane.calls.values()) waiting.reject(failure);
      lane.calls.clear();
    };
    worker.on('error', ended);
    worker.on('exit', () => ended());
    return lane;
  }

  #send(lane: Lane, id: number, pieces: readonly Piece[], last: boolean): Promise<string | null> {
    if (this.#closed) throw new ArtifactError('Interrupted', 'hashing was stopped');
    const call = ++this.#lastCall;
    const waiting = deferred<string | null>();
    lane.calls.set(call, waiting);
    lane.worker.ref();
    lane.worker.postMessage({ id, call, pieces, last });
    return waiting.promise;
  }
}

export interface HashSession {
  update(pieces: readonly Piece[]): Promise<void>;
  finish(pieces: readonly Piece[]): Promise<string>;
  /** Forgets what was hashed. */
  drop(): void;
}
