import { Worker } from 'node:worker_threads';
import { ArtifactError } from '../../model/errors.js';
import { type Deferred, deferred } from '../../util/deferred.js';

/** A local file, and the CRC32 each of its pieces was stored with; the last may be shorter than the others. */
export interface FileToCheck {
  readonly path: string;
  readonly size: number;
  readonly pieceBytes: number;
  readonly crcs: Uint32Array;
}

/**
 * What runs in the worker. It is text, so that the same program runs from sources and from the built package. A file of
 * another size has no good piece.
 */
const workerSource = `
const { parentPort } = require('node:worker_threads');
const { openSync, fstatSync, readSync, closeSync } = require('node:fs');
const { crc32 } = require('node:zlib');
function badPieces({ path, size, pieceBytes, crcs }) {
  const bad = [];
  const piece = Buffer.allocUnsafeSlow(pieceBytes);
  const fd = openSync(path, 'r');
  try {
    const isWhole = fstatSync(fd).size === size;
    for (let i = 0; i < crcs.length; i++) {
      const wanted = Math.min(pieceBytes, size - i * pieceBytes);
      let done = 0;
      for (let count = 1; isWhole && done < wanted && count > 0; done += count)
        count = readSync(fd, piece, done, wanted - done, i * pieceBytes + done);
      if (done < wanted || crc32(piece.subarray(0, wanted)) !== crcs[i]) bad.push(i);
    }
  } finally {
    closeSync(fd);
  }
  return bad;
}
parentPort.on('message', ({ call, file }) => {
  try {
    parentPort.postMessage({ call, bad: badPieces(file) });
  } catch (error) {
    parentPort.postMessage({ call, error: String(error && error.message) });
  }
});
`;

interface Answer {
  readonly call: number;
  readonly bad?: readonly number[];
  readonly error?: string;
}

/**
 * Reads whole local files and compares their checksums in one worker thread, one file after another: of a large file this
 * takes seconds. The thread starts with the first use, and keeps no process alive.
 */
export class BlockChecker implements AsyncDisposable {
  readonly #calls = new Map<number, Deferred<readonly number[]>>();
  #worker: Worker | undefined;
  #lastCall = 0;
  #closed = false;

  /** The pieces that are not what was stored. Throws when the file cannot be read. */
  badPieces(file: FileToCheck): Promise<readonly number[]> {
    if (this.#closed) throw new ArtifactError('Interrupted', 'checking was stopped');
    this.#worker ??= this.#start();
    const call = ++this.#lastCall;
    const waiting = deferred<readonly number[]>();
    this.#calls.set(call, waiting);
    this.#worker.ref();
    this.#worker.postMessage({ call, file });
    return waiting.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerSource, { eval: true });
    worker.unref();
    worker.on('message', ({ call, bad, error }: Answer) => {
      const waiting = this.#calls.get(call);
      this.#calls.delete(call);
      if (this.#calls.size === 0) worker.unref();
      if (bad !== undefined) waiting?.resolve(bad);
      else waiting?.reject(new ArtifactError('Internal', `cannot check a cached file: ${error}`));
    });
    const ended = (cause?: unknown) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      const failure = new ArtifactError('Interrupted', 'the thread that checks files ended', {}, cause);
      for (const waiting of this.#calls.values()) waiting.reject(failure);
      this.#calls.clear();
    };
    worker.on('error', ended);
    worker.on('exit', () => ended());
    return worker;
  }
}
