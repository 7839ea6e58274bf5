import { ArtifactError } from '../../model/errors.js';
import type { PartInfo } from '../../store/object-store.js';
import type { JournaledPart, UploadJournal } from '../ports.js';

export interface SentPart {
  info: PartInfo;
  readonly crc32: string;
  /** CRC32 of each piece as the disk cache checks it; null for a part of an earlier process that was not read since. */
  checks: readonly number[] | null;
  /** False: sent by an earlier process; its checksum is compared with the local bytes before it counts. */
  trusted: boolean;
}

/** The parts of one upload that are in the store and still true, each in the journal before it counts. */
export class SentParts {
  readonly #file: number;
  readonly #journal: UploadJournal | null;
  readonly #parts = new Map<number, SentPart>();
  #bytes = 0;

  /** `file` is the number under which the journal knows the upload. */
  constructor(file: number, journal: UploadJournal | null) {
    this.#file = file;
    this.#journal = journal;
  }

  get bytes(): number {
    return this.#bytes;
  }

  has(part: number): boolean {
    return this.#parts.has(part);
  }

  get(part: number): SentPart | undefined {
    return this.#parts.get(part);
  }

  values(): Iterable<SentPart> {
    return this.#parts.values();
  }

  /** A part of an earlier process: it counts when `trusted` is set. */
  restore({ part, size, etag, crc32 }: JournaledPart): void {
    this.#set({ info: { part, size, etag }, crc32: crc32 ?? '', checks: null, trusted: false });
  }

  add(info: PartInfo, crc32: string, checks: readonly number[]): void {
    this.#set({ info, crc32, checks, trusted: true });
    const { part, size, etag } = info;
    this.#journal?.savePart(this.#file, { part, size, etag, crc32 });
  }

  drop(part: number): void {
    const sent = this.#parts.get(part);
    if (sent === undefined) return;
    this.#parts.delete(part);
    this.#bytes -= sent.info.size;
    this.#journal?.dropPart(this.#file, part);
  }

  /** Those with a number above `last`. */
  dropAfter(last: number): void {
    for (const part of [...this.#parts.keys()]) if (part > last) this.drop(part);
  }

  /** What the store says it has decides. */
  compareWith(stored: readonly PartInfo[]): void {
    const byNumber = new Map(stored.map((info) => [info.part, info]));
    for (const [part, sent] of [...this.#parts]) {
      const there = byNumber.get(part);
      if (there?.etag !== sent.info.etag || there.size !== sent.info.size) this.drop(part);
      // The store's own record: it must be handed back with the checksum the store keeps.
      else sent.info = there;
    }
  }

  /** Parts 1 to `last`, for the object to be completed. */
  list(key: string, last: number): PartInfo[] {
    return Array.from({ length: last }, (_, i) => {
      const sent = this.#parts.get(i + 1);
      if (sent === undefined) throw new ArtifactError('Internal', `part ${i + 1} of ${key} was not sent`);
      return sent.info;
    });
  }

  /** CRC32 of each cached piece of the object; null when this process has not read all of it. */
  checks(): number[] | null {
    const crcs: number[] = [];
    for (let part = 1; part <= this.#parts.size; part++) {
      const known = this.#parts.get(part)?.checks;
      if (!known) return null;
      for (const crc of known) crcs.push(crc);
    }
    return crcs;
  }

  #set(sent: SentPart): void {
    this.#bytes += sent.info.size - (this.#parts.get(sent.info.part)?.info.size ?? 0);
    this.#parts.set(sent.info.part, sent);
  }
}
