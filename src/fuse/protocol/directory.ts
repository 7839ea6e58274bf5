import type { DirectoryEntry, NodeEntry, NodeId } from '../../vfs/file-system.js';
import { directoryType, entryWords, packEntry } from './attributes.js';
import { Fields } from './fields.js';

const direntBytes = 24;
const align8 = (bytes: number): number => (bytes + 7) & ~7;

/** Collects the answer to one READDIR or READDIRPLUS: as many entries as fit into the bytes the kernel asked for. */
export class DirectoryList {
  readonly #fields: Fields;
  readonly #bytesMax: number;
  #used = 0;
  #closed = false;

  constructor(bytesMax: number) {
    this.#fields = new Fields(align8(bytesMax));
    this.#bytesMax = bytesMax;
  }

  /** Takes an entry, or answers false when it does not fit (or the answer was already sent). */
  add(entry: DirectoryEntry): boolean {
    const nameBytes = Buffer.byteLength(entry.name);
    const length = align8(direntBytes + nameBytes);
    if (this.#closed || this.#used + length > this.#bytesMax) return false;
    this.#dirent(this.#used >> 2, entry, nameBytes);
    this.#used += length;
    return true;
  }

  /** The same with what a LOOKUP would have answered; `undefined` (for '.' and '..') makes the kernel not count one. */
  addPlus(entry: DirectoryEntry, node: NodeEntry | undefined): boolean {
    const nameBytes = Buffer.byteLength(entry.name);
    const length = align8(entryWords * 4 + direntBytes + nameBytes);
    if (this.#closed || this.#used + length > this.#bytesMax) return false;
    const at = this.#used >> 2;
    if (node === undefined) this.#fields.zero(at, entryWords);
    else packEntry(this.#fields, at, node);
    this.#dirent(at + entryWords, entry, nameBytes);
    this.#used += length;
    return true;
  }

  /** The nodes of all that `addPlus` took: each was looked up once. */
  *nodes(): Generator<NodeId> {
    for (let at = 0; at < this.#used; ) {
      const word = at >> 2;
      const node = this.#fields.u64At(word);
      if (node !== 0) yield node;
      at += align8(entryWords * 4 + direntBytes + this.#fields.u32At(word + entryWords + 4));
    }
  }

  get isEmpty(): boolean {
    return this.#used === 0;
  }

  /** Takes no more, and gives the bytes to send. */
  close(): Uint8Array {
    this.#closed = true;
    return this.#fields.bytes.subarray(0, this.#used);
  }

  #dirent(at: number, entry: DirectoryEntry, nameBytes: number): void {
    const fields = this.#fields;
    fields.big64(at, entry.ino);
    fields.u64(at + 2, entry.nextOffset);
    fields.u32(at + 4, nameBytes);
    fields.u32(at + 5, directoryType(entry.kind));
    const name = at * 4 + direntBytes;
    fields.bytes.write(entry.name, name);
    fields.bytes.fill(0, name + nameBytes, align8(name + nameBytes));
  }
}
