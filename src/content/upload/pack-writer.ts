import { createHash } from 'node:crypto';
import type { Extent } from '../../model/entry.js';
import { limits } from '../../model/limits.js';
import type { StagingFiles } from '../local/staging.js';
import { encodePackFooter, type PackEntry, packFooterBytes } from './pack.js';
import type { UploadPlan } from './upload-plan.js';

/** A file's place in the pack, or its base's extents because it is equal to them. */
export interface PackedFile {
  readonly plan: UploadPlan;
  readonly sha256: string | null;
  /** null: equal to the base, nothing of it is in the pack. */
  readonly offset: number | null;
}

/** One pack being filled, in one buffer that is sent as it is. Equal contents are stored once. */
export class PackWriter {
  readonly files: PackedFile[] = [];
  readonly #buffer: Buffer;
  readonly #dataBytesMax: number;
  readonly #entriesMax: number;
  readonly #entries: PackEntry[] = [];
  readonly #bySha256 = new Map<string, number>();
  #end = 0;

  /** For `files` files of `bytes` bytes, or as many of them as one pack takes. */
  constructor(files: number, bytes: number) {
    this.#entriesMax = Math.min(files, limits.packEntriesMax);
    this.#dataBytesMax = Math.min(bytes, limits.packBytesTarget);
    // Memory that is never written to is never taken.
    this.#buffer = Buffer.allocUnsafeSlow(this.#dataBytesMax + packFooterBytes(this.#entriesMax));
  }

  fits(bytes: number): boolean {
    return this.#end + bytes <= this.#dataBytesMax && this.#entries.length < this.#entriesMax;
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /**
   * Reads the plan's bytes into the pack. Answers at once when its pieces are small. `known`: the bytes, when some of them
   * had to be fetched first.
   */
  async add(plan: UploadPlan, staging: StagingFiles, known?: Buffer): Promise<void> {
    const target = this.#buffer.subarray(this.#end, this.#end + plan.bytes);
    if (known === undefined) await readLocal(plan, staging, target);
    else known.copy(target);
    const sha256 = createHash('sha256').update(target).digest('hex');
    const whole = plan.wholeIsSent ? sha256 : null;
    const { base } = plan.request;
    if (whole !== null && base?.sha256 === whole && base.size === plan.request.size) {
      this.files.push({ plan, sha256: whole, offset: null });
      return;
    }
    let at = this.#bySha256.get(sha256);
    if (at === undefined) {
      at = this.#end;
      this.#bySha256.set(sha256, at);
      this.#entries.push({ sha256, offset: at, length: plan.bytes });
      this.#end += plan.bytes;
    }
    this.files.push({ plan, sha256: whole, offset: at });
  }

  /** The finished pack. Nothing may be added after it. */
  seal(): Buffer {
    const footer = encodePackFooter(this.#entries, this.#end);
    footer.copy(this.#buffer, this.#end);
    return this.#buffer.subarray(0, this.#end + footer.length);
  }
}

async function readLocal(plan: UploadPlan, staging: StagingFiles, target: Buffer): Promise<void> {
  let done = 0;
  for (const { file, offset, length } of plan.local()) {
    const reading = staging.readInto(file, offset, target.subarray(done, done + length));
    if (reading !== undefined) await reading;
    done += length;
  }
}

/** The extents of a packed file, given the pack's name. */
export function packedExtents({ plan, offset }: PackedFile, object: string): readonly Extent[] {
  return offset === null ? (plan.request.base?.extents ?? []) : plan.extentsAt(object, offset);
}
