import { setImmediate as nextTurn } from 'node:timers/promises';
import { compareEntries, type Entry, entryPath } from '../model/entry.js';
import { limits } from '../model/limits.js';
import { EntryDecoder, encodeEntry } from './entry-codec.js';
import { corrupt, Fields, parseJson } from './fields.js';
import { compress, decompress } from './gzip.js';
import type { RangeRef } from './trees.js';

/** The plain text of one range: lines, the first a header {kind, formatVersion, count}, then one entry a line. */
export interface RangeText {
  readonly plain: Buffer;
  readonly entries: number;
  readonly first: RangeRef['first'];
  readonly last: RangeRef['last'];
}

/** Collects the entries of one range, already as text. */
export class RangeEncoder {
  #lines: string[] = [];
  /** The lines before those: so that no turn of the event loop has a whole range to make bytes of. */
  #pieces: Buffer[] = [];
  #inPieces = { entries: 0, units: 0 };
  #first: RangeRef['first'] | undefined;
  #last: RangeRef['last'] | undefined;
  #units = 0;

  get count(): number {
    return this.#inPieces.entries + this.#lines.length;
  }

  /** UTF-16 units collected: near enough to bytes to bound memory. */
  get units(): number {
    return this.#units;
  }

  add(entry: Entry): void {
    const line = encodeEntry(entry);
    this.#lines.push(line);
    this.#units += line.length;
    this.#first ??= keyOf(entry);
    this.#last = entry;
    if (this.#units - this.#inPieces.units >= bytesAtOnce) this.#endPiece();
  }

  /** What was collected; the encoder starts anew. undefined when there is nothing. */
  take(): RangeText | undefined {
    if (this.#first === undefined || this.#last === undefined) return undefined;
    this.#endPiece();
    const { entries } = this.#inPieces;
    const header = JSON.stringify({ kind: rangeKind, formatVersion: 1, count: entries });
    const range: RangeText = {
      plain: Buffer.concat([Buffer.from(`${header}\n`), ...this.#pieces]),
      entries,
      first: this.#first,
      last: keyOf(this.#last),
    };
    this.#pieces = [];
    this.#inPieces = { entries: 0, units: 0 };
    this.#first = undefined;
    this.#last = undefined;
    this.#units = 0;
    return range;
  }

  #endPiece(): void {
    if (this.#lines.length === 0) return;
    this.#pieces.push(Buffer.from(`${this.#lines.join('\n')}\n`));
    this.#inPieces = { entries: this.count, units: this.#units };
    this.#lines = [];
  }
}

export const compressRange = (range: RangeText): Promise<Buffer> => compress(range.plain);

/** Entries of a stored range. `where` names it; whatever is not exactly what `ref` announces is `Corrupt`. */
export async function decodeRange(where: string, bytes: Buffer, ref: RangeRef): Promise<Entry[]> {
  const plain = await decompress(where, bytes, limits.rangeBytesMax);
  const headerEnd = plain.indexOf(newline);
  const header = new Fields(where, parseJson(where, plain.toString('utf8', 0, Math.max(0, headerEnd))));
  header.literal('kind', rangeKind);
  header.formatVersion(1);
  const count = header.integer('count', 1);
  const decoder = new EntryDecoder(where);
  const entries: Entry[] = [];
  for (let start = headerEnd + 1; start < plain.length; ) {
    const end = endOfLines(plain, start);
    decodeLines(where, plain.toString('utf8', start, end), decoder, entries);
    start = end + 1;
    if (start < plain.length) await nextTurn();
  }
  checkAgainst(where, entries, count, ref);
  return entries;
}

const newline = 0x0a;

/** Some hundred entries: about a millisecond. */
const bytesAtOnce = 64 << 10;

const rangeKind = 'artifactfs.range';

const keyOf = ({ dir, name }: { dir: string; name: string }) => ({ dir, name });

/** Where the line ends with which some whole lines from `start` on are enough for once. */
function endOfLines(plain: Buffer, start: number): number {
  const end = start + bytesAtOnce < plain.length ? plain.indexOf(newline, start + bytesAtOnce) : -1;
  if (end >= 0) return end;
  return plain.at(-1) === newline ? plain.length - 1 : plain.length;
}

/** Parses many lines as one array: several times faster than line by line. A raw newline cannot occur inside JSON. */
function decodeLines(where: string, lines: string, decoder: EntryDecoder, into: Entry[]): void {
  const values = parseJson(where, `[${lines.replaceAll('\n', ',')}]`) as unknown[];
  for (const value of values) {
    const entry = decoder.decode(value);
    const previous = into.at(-1);
    if (previous !== undefined && compareEntries(previous, entry) >= 0)
      throw corrupt(where, `has ${entryPath(entry)} after ${entryPath(previous)}, out of order`);
    into.push(entry);
  }
}

function checkAgainst(where: string, entries: readonly Entry[], count: number, ref: RangeRef): void {
  if (entries.length !== count || count !== ref.entries)
    throw corrupt(
      where,
      `has ${entries.length} entries; its header says ${count}, its reference ${ref.entries}`,
    );
  const first = entries[0];
  const last = entries.at(-1);
  const fits =
    first && last && compareEntries(first, ref.first) === 0 && compareEntries(last, ref.last) === 0;
  if (!fits) throw corrupt(where, 'does not begin and end with the entries its reference names');
}
