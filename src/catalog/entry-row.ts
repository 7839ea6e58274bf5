import type { Entry, Extent, Kind } from '../model/entry.js';

/**
 * The `body` of an entry's row: a JSON array with the fields in fixed places and what few entries have in an object
 * at the end. Compared with a column per field it is a third faster to read and as large on disk; compared with the
 * entry's own JSON half as large. Decoding gives plain objects, so that copies by spread keep every field.
 */
export function encodeEntry(entry: Entry): string {
  const { dir, name, kind, ino, mode, uid, gid, nlink, size, mtime, ctime, extents, sha256, ...rare } = entry;
  const fields: unknown[] = [
    kinds.indexOf(kind),
    ino,
    mode,
    uid,
    gid,
    nlink,
    size,
    mtime.s,
    mtime.ns,
    ctime.s,
    ctime.ns,
    extents === undefined ? 0 : flatten(extents),
    sha256 ?? 0,
  ];
  for (const _ in rare) {
    fields.push(rare);
    break;
  }
  return JSON.stringify(fields);
}

export function decodeEntry(dir: string, name: string, body: string): Entry {
  const row = JSON.parse(body) as Row;
  const mtime = { s: row[7], ns: row[8] };
  const entry: Writable<Entry> = {
    dir,
    name,
    kind: kinds[row[0]] ?? 'file',
    ino: row[1],
    mode: row[2],
    uid: row[3],
    gid: row[4],
    nlink: row[5],
    size: row[6],
    mtime,
    ctime: row[9] === mtime.s && row[10] === mtime.ns ? mtime : { s: row[9], ns: row[10] },
  };
  if (row[11] !== 0) entry.extents = unflatten(row[11]);
  if (row[12] !== 0) entry.sha256 = row[12];
  return row[13] === undefined ? entry : Object.assign(entry, row[13]);
}

type Numbers = [number, number, number, number, number, number, number, number, number, number, number];
type Row = [...Numbers, FlatExtents | 0, string | 0, Partial<Entry>?];
/** object, offset, length, object, offset, length, ... */
type FlatExtents = (string | number | null)[];
type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** By position: only ever appended to. */
const kinds: readonly Kind[] = ['file', 'dir', 'symlink', 'fifo', 'socket', 'char', 'block'];

function flatten(extents: readonly Extent[]): FlatExtents {
  const flat: FlatExtents = [];
  for (const extent of extents) flat.push(extent.object, extent.offset, extent.length);
  return flat;
}

/** Equal names are held once. */
let lastObject: string | null = null;

function unflatten(flat: FlatExtents): Extent[] {
  const [object, offset, length] = flat as [string | null, number, number];
  // Most files have one (an array that grows has room for 17), in the same pack as the file before.
  if (flat.length === 3) {
    if (object !== lastObject) lastObject = object;
    return [{ object: lastObject, offset, length }];
  }
  const extents: Extent[] = [];
  for (let i = 0; i < flat.length; i += 3) {
    extents.push({
      object: flat[i] as string | null,
      offset: flat[i + 1] as number,
      length: flat[i + 2] as number,
    });
  }
  return extents;
}
