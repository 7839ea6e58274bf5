import { createHash } from 'node:crypto';
import { type Entry, entryPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { objectKey } from '../workspace/keys.js';

/** Bytes of a file in order; a number is a hole of so many zeros. */
export type Piece = Buffer | number;

const pieceBytesMax = 8 << 20;
/** Asked for before they are wanted. */
const piecesAhead = 2;

/** The bytes of a version's file from the store. Throws `Corrupt` after the last one when they are not those of its hash. */
export async function* storedContent(
  store: ObjectStore,
  artifactId: string,
  entry: Entry,
  options: CallOptions,
): AsyncGenerator<Piece> {
  const { sha256 } = entry;
  const hash = sha256 === undefined ? null : createHash('sha256');
  const reads = cut(entry).map(({ object, offset, length }) => ({
    length,
    get: object === null ? null : () => store.get(objectKey(artifactId, object), { offset, length }, options),
  }));
  const started: Promise<Buffer>[] = [];
  let next = 0;
  const gets = reads.flatMap(({ get }) => (get === null ? [] : [get]));
  const startMore = (): void => {
    for (; started.length <= piecesAhead && next < gets.length; next++) {
      const get = gets[next]?.();
      if (get === undefined) return;
      get.catch(() => undefined); // who waits for it is told
      started.push(get);
    }
  };
  for (const { length, get } of reads) {
    if (get === null) {
      for (let left = length; hash !== null && left > 0; left -= pieceBytesMax)
        hash.update(Buffer.alloc(Math.min(left, pieceBytesMax)));
      yield length;
      continue;
    }
    startMore();
    const bytes = await started.shift();
    if (bytes === undefined) throw new ArtifactError('Internal', 'a piece was not asked for');
    startMore();
    hash?.update(bytes);
    yield bytes;
  }
  if (hash !== null) requireHash(entry, hash.digest('hex'));
}

/** Throws `Corrupt` unless `found` is what the file table says. */
function requireHash(entry: Entry, found: string): void {
  if (entry.sha256 === undefined || entry.sha256 === found) return;
  throw new ArtifactError(
    'Corrupt',
    `${entryPath(entry)}: its bytes have the SHA-256 ${found}, not ${entry.sha256}`,
    {
      hint: 'run artifactfs verify',
    },
  );
}

function* pieces({ extents = [] }: Entry) {
  for (const { object, offset, length } of extents) {
    if (object === null) yield { object, offset, length };
    else
      for (let done = 0; done < length; done += pieceBytesMax)
        yield { object, offset: offset + done, length: Math.min(pieceBytesMax, length - done) };
  }
}

const cut = (entry: Entry) => [...pieces(entry)];
