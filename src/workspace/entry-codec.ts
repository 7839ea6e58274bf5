import type { Entry, Extent, Kind, Time } from '../model/entry.js';
import { Fields, newerFormat, shown } from './fields.js';

/**
 * An entry as one JSON object: the fields of `Entry` by name, times as [s, ns], extents as [object, offset, length]
 * with null for a hole. Fields of later builds are kept in `extra` and written back beside ours.
 */
export function encodeEntry(entry: Entry): string {
  const { dir, name, kind, ino, mode, uid, gid, nlink, size } = entry;
  const mtime = encodeTime(entry.mtime);
  const ctime = encodeTime(entry.ctime);
  const raw: MutableRawEntry = { dir, name, kind, ino, mode, uid, gid, nlink, size, mtime, ctime };
  if (entry.atime !== undefined) raw.atime = encodeTime(entry.atime);
  if (entry.extents !== undefined && entry.extents.length > 0)
    raw.extents = entry.extents.map(({ object, offset, length }) => [object, offset, length]);
  if (entry.sha256 !== undefined) raw.sha256 = entry.sha256;
  if (entry.target !== undefined) raw.target = entry.target;
  if (entry.rdev !== undefined) raw.rdev = entry.rdev;
  if (entry.xattrs !== undefined) raw.xattrs = entry.xattrs;
  if (entry.extra === undefined) return JSON.stringify(raw);
  const unknown = Object.entries(entry.extra).filter(([field]) => !knownFields.has(field));
  // Not by assignment: a field named __proto__ is a field too.
  return JSON.stringify({ ...raw, ...Object.fromEntries(unknown) });
}

const knownFields: ReadonlySet<string> = new Set([
  'dir',
  'name',
  'kind',
  'ino',
  'mode',
  'uid',
  'gid',
  'nlink',
  'size',
  'mtime',
  'ctime',
  'atime',
  'extents',
  'sha256',
  'target',
  'rdev',
  'xattrs',
]);
const requiredFields = 11;

type MutableEntry = { -readonly [K in keyof Entry]: Entry[K] };
type MutableRawEntry = { -readonly [K in keyof RawEntry]: RawEntry[K] };

/** Decodes parsed lines that follow each other: equal neighbouring strings become one in memory. */
export class EntryDecoder {
  readonly #where: string;
  #dir = '';
  #object: string | null = null;

  constructor(where: string) {
    this.#where = where;
  }

  decode(value: unknown): Entry {
    const raw = value as RawEntry | null;
    if (!isPlausible(raw)) throw this.#explain(value);
    if (raw.dir !== this.#dir) this.#dir = raw.dir;
    const entry: MutableEntry = {
      dir: this.#dir,
      name: raw.name,
      kind: raw.kind,
      ino: raw.ino,
      mode: raw.mode,
      uid: raw.uid,
      gid: raw.gid,
      nlink: raw.nlink,
      size: raw.size,
      mtime: decodeTime(raw.mtime),
      ctime: decodeTime(raw.ctime),
    };
    const optional = this.#decodeOptional(entry, raw);
    const keys = Object.keys(raw);
    if (keys.length > requiredFields + optional) {
      const unknown = Object.entries(raw).filter(([key]) => !knownFields.has(key));
      entry.extra = Object.fromEntries(unknown);
    }
    return entry;
  }

  /** Answers how many of the optional fields there are. */
  #decodeOptional(entry: MutableEntry, raw: RawEntry): number {
    let count = 0;
    if (raw.atime !== undefined) {
      entry.atime = decodeTime(raw.atime);
      count++;
    }
    if (raw.extents !== undefined) {
      entry.extents = raw.extents.map((extent) => this.#decodeExtent(extent));
      count++;
    }
    if (raw.sha256 !== undefined) {
      entry.sha256 = raw.sha256;
      count++;
    }
    if (raw.target !== undefined) {
      entry.target = raw.target;
      count++;
    }
    if (raw.rdev !== undefined) {
      entry.rdev = raw.rdev;
      count++;
    }
    if (raw.xattrs !== undefined) {
      entry.xattrs = raw.xattrs;
      count++;
    }
    return count;
  }

  #decodeExtent([object, offset, length]: RawExtent): Extent {
    if (object !== this.#object) this.#object = object;
    return { object: this.#object, offset, length };
  }

  /** Finds what is wrong, slowly and in words. */
  #explain(value: unknown): Error {
    const name = (value as { name?: unknown } | null)?.name;
    const fields = new Fields(`${this.#where}: entry ${shown(name)}`, value);
    if (typeof fields.get('kind') === 'string' && !kinds.has(fields.string('kind')))
      return newerFormat(fields.where, `kind ${shown(fields.get('kind'))}`);
    const broken = Object.entries(fieldChecks).find(([field, isGood]) => {
      const optional = optionalFields.has(field) && !fields.has(field);
      return !optional && !isGood(fields.get(field));
    });
    return fields.wrong(broken?.[0] ?? 'name', 'what the format allows');
  }
}

type RawTime = readonly [number, number];
type RawExtent = readonly [string | null, number, number];

interface RawEntry {
  readonly dir: string;
  readonly name: string;
  readonly kind: Kind;
  readonly ino: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly mtime: RawTime;
  readonly ctime: RawTime;
  readonly atime?: RawTime;
  readonly extents?: readonly RawExtent[];
  readonly sha256?: string;
  readonly target?: string;
  readonly rdev?: number;
  readonly xattrs?: Readonly<Record<string, string>>;
}

const kinds: ReadonlySet<string> = new Set<Kind>([
  'file',
  'dir',
  'symlink',
  'fifo',
  'socket',
  'char',
  'block',
]);

const isText = (value: unknown): boolean => typeof value === 'string';
const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isTime = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length === 2 &&
  Number.isSafeInteger(value[0]) &&
  isWhole(value[1]) &&
  value[1] < 1e9;
const isExtent = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length === 3 &&
  (value[0] === null || typeof value[0] === 'string') &&
  isWhole(value[1]) &&
  isWhole(value[2]);
const isExtents = (value: unknown): boolean => Array.isArray(value) && value.every(isExtent);
const isXattrs = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.values(value).every((item) => typeof item === 'string');

const fieldChecks: Readonly<Record<string, (value: unknown) => boolean>> = {
  dir: isText,
  name: isText,
  kind: (value) => typeof value === 'string' && kinds.has(value),
  ino: isWhole,
  mode: isWhole,
  uid: isWhole,
  gid: isWhole,
  nlink: isWhole,
  size: isWhole,
  mtime: isTime,
  ctime: isTime,
  atime: isTime,
  extents: isExtents,
  sha256: isText,
  target: isText,
  rdev: isWhole,
  xattrs: isXattrs,
};
const optionalFields: ReadonlySet<string> = new Set([
  'atime',
  'extents',
  'sha256',
  'target',
  'rdev',
  'xattrs',
]);

/** All checks of `fieldChecks`, written out: this runs a million times for a large tree. */
function isPlausible(raw: RawEntry | null): raw is RawEntry {
  return (
    typeof raw === 'object' &&
    raw !== null &&
    typeof raw.dir === 'string' &&
    typeof raw.name === 'string' &&
    kinds.has(raw.kind) &&
    isWhole(raw.ino) &&
    isWhole(raw.mode) &&
    isWhole(raw.uid) &&
    isWhole(raw.gid) &&
    isWhole(raw.nlink) &&
    isWhole(raw.size) &&
    isTime(raw.mtime) &&
    isTime(raw.ctime) &&
    (raw.atime === undefined || isTime(raw.atime)) &&
    (raw.extents === undefined || isExtents(raw.extents)) &&
    (raw.sha256 === undefined || typeof raw.sha256 === 'string') &&
    (raw.target === undefined || typeof raw.target === 'string') &&
    (raw.rdev === undefined || isWhole(raw.rdev)) &&
    (raw.xattrs === undefined || isXattrs(raw.xattrs))
  );
}

const encodeTime = ({ s, ns }: Time): RawTime => [s, ns];
const decodeTime = ([s, ns]: RawTime): Time => ({ s, ns });
