import { read } from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { limits } from '../../model/limits.js';
import type { LocalRange } from '../ports.js';
import type { OpenFile, OpenFiles } from './open-files.js';

const { checkBytes } = limits;
const readAsync = promisify(read);

/** A range of a file that is kept open until it is released. */
export class FileRange implements LocalRange {
  readonly offset: number;
  readonly length: number;
  readonly crcs: Uint32Array | null;
  readonly checkedEnd: number;
  readonly #files: Pick<OpenFiles<unknown>, 'release'>;
  readonly #file: OpenFile;
  readonly #onRead: ((bytes: number) => void) | null;

  /** Takes over a use of `file`. */
  constructor(
    files: Pick<OpenFiles<unknown>, 'release'>,
    file: OpenFile,
    range: Pick<LocalRange, 'offset' | 'length' | 'crcs' | 'checkedEnd'>,
    onRead: ((bytes: number) => void) | null = null,
  ) {
    this.offset = range.offset;
    this.length = range.length;
    this.crcs = range.crcs;
    this.checkedEnd = range.checkedEnd;
    this.#files = files;
    this.#file = file;
    this.#onRead = onRead;
  }

  get descriptor(): number {
    return this.#file.fd;
  }

  release(wasRead: boolean): void {
    this.#files.release(this.#file);
    if (wasRead) this.#onRead?.(this.length);
  }
}

/** Bytes at this offset of the file are not what their checksum says. */
interface Damage {
  readonly damagedAt: number;
}

/** Reads a range and releases it. Rejects when the file cannot be read or ends before. */
export async function readRange(range: LocalRange): Promise<Buffer | Damage> {
  let wasRead = false;
  try {
    const { offset, length, crcs, checkedEnd } = range;
    const start = crcs === null ? offset : Math.floor(offset / checkBytes) * checkBytes;
    const end = crcs === null ? offset + length : Math.min(roundUp(offset + length), checkedEnd);
    // Of its own, not a slice of Node's pool: a cache may keep it.
    const bytes = Buffer.allocUnsafeSlow(end - start);
    await fill(range.descriptor, start, bytes);
    for (let at = start; crcs !== null && at < end; at += checkBytes) {
      const piece = bytes.subarray(at - start, at - start + checkBytes);
      if (crc32(piece) !== crcs[at / checkBytes]) return { damagedAt: at };
    }
    wasRead = true;
    return bytes.subarray(offset - start, offset - start + length);
  } finally {
    range.release(wasRead);
  }
}

async function fill(descriptor: number, offset: number, target: Buffer): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await readAsync(descriptor, target, done, target.length - done, offset + done);
    if (bytesRead === 0) throw new Error(`a file ends at ${offset + done}, before what it should have`);
    done += bytesRead;
  }
}

const roundUp = (offset: number): number => Math.ceil(offset / checkBytes) * checkBytes;
