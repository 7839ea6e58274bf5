import type { Entry, Extent, Time } from '../model/entry.js';

/** Kind and bytes: what a reader of the file gets. Fields this build does not know count as bytes. */
export function isSameContent(a: Entry, b: Entry): boolean {
  return (
    a.kind === b.kind &&
    a.size === b.size &&
    a.target === b.target &&
    a.rdev === b.rdev &&
    isSameJson(a.extra, b.extra) &&
    (a.kind !== 'file' || isSameBytes(a, b))
  );
}

/** Content, rights, owner and extended attributes: all but times, number and count of names. */
export function isSameThing(a: Entry, b: Entry): boolean {
  return (
    isSameContent(a, b) &&
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    isSameRecord(a.xattrs, b.xattrs)
  );
}

/** The same thing with the same number, count of names and times, wherever it is. */
export const isSameEntry = (a: Entry, b: Entry): boolean =>
  isSameThing(a, b) &&
  a.ino === b.ino &&
  a.nlink === b.nlink &&
  isSameTime(a.mtime, b.mtime) &&
  isSameTime(a.ctime, b.ctime) &&
  isSameTime(a.atime, b.atime);

export const isSameTime = (a: Time | undefined, b: Time | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.s === b.s && a.ns === b.ns);

export function isSameRecord(
  a: Readonly<Record<string, string>> | undefined,
  b: Readonly<Record<string, string>> | undefined,
): boolean {
  const left = Object.entries(a ?? {});
  const right = b ?? {};
  return (
    left.length === Object.keys(right).length &&
    left.every(([name, value]) => Object.hasOwn(right, name) && right[name] === value)
  );
}

/** Where both hashes are known they decide; otherwise only the same pieces of the same objects are surely equal. */
function isSameBytes(a: Entry, b: Entry): boolean {
  if (a.size === 0) return true;
  if (a.sha256 !== undefined && b.sha256 !== undefined) return a.sha256 === b.sha256;
  return isSameExtents(a.extents ?? [], b.extents ?? []);
}

/** The same pieces of the same objects. */
export function isSameExtents(a: readonly Extent[], b: readonly Extent[]): boolean {
  return (
    a.length === b.length &&
    a.every((extent, i) => {
      const other = b[i];
      return (
        other !== undefined &&
        extent.object === other.object &&
        extent.offset === other.offset &&
        extent.length === other.length
      );
    })
  );
}

/** Member order counts: at worst two equal things are taken for different ones. */
export const isSameJson = (a: unknown, b: unknown): boolean =>
  a === b || JSON.stringify(a) === JSON.stringify(b);
