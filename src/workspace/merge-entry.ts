import { accessAclName, aclAfterChmod, encodeAcl, modeOfAcl, storedAcl } from '../model/acl.js';
import { compareTime, type Entry, type Time } from '../model/entry.js';
import { isSameContent, isSameEntry, isSameRecord, isSameThing, isSameTime } from './entry-compare.js';

/**
 * One path in three trees: `base` is what my stage was built on, `mine` what I made of it, `head` what somebody else
 * has published meanwhile. Answers what it is after both, or 'conflict' (doc/FORMAT.md "Conflicts"). Counts of names
 * are put right later, by whoever sees the whole tree.
 */
export function mergeEntry(
  base: Entry | null,
  mine: Entry | null,
  head: Entry | null,
): Entry | null | 'conflict' {
  if (base === null) return mergeAdded(mine, head);
  if (head === null) return mine === null || isUntouched(base, mine) ? null : 'conflict';
  if (mine === null) return isUntouched(base, head) ? null : 'conflict';
  return mergeChanged(base, mine, head);
}

/** Two directories of one name become one, with the attributes of the first. */
function mergeAdded(mine: Entry | null, head: Entry | null): Entry | null | 'conflict' {
  if (head === null || mine === null) return mine ?? head;
  if (mine.kind === 'dir' && head.kind === 'dir') return head;
  return isSameThing(mine, head) ? head : 'conflict';
}

/** Whether the other side may remove it without losing anything: a directory's times change with its names. */
function isUntouched(before: Entry, after: Entry): boolean {
  if (!isSameThing(before, after)) return false;
  return before.kind === 'dir' ? before.ino === after.ino : isSameTime(before.mtime, after.mtime);
}

function mergeChanged(base: Entry, mine: Entry, head: Entry): Entry | 'conflict' {
  const isMineNew = !isSameContent(base, mine);
  const isHeadNew = !isSameContent(base, head);
  if (isMineNew && isHeadNew && !isSameContent(mine, head)) return 'conflict';
  // What both changed alike is taken from the head: its bytes are shared already.
  const content = isMineNew && !isHeadNew ? mine : head;
  const pick = <T>(of: (entry: Entry) => T, isSame = (a: T, b: T) => a === b): T =>
    isSame(of(base), of(mine)) ? of(head) : of(mine);
  const mode = pick((entry) => entry.mode);
  const xattrs = inStep(
    pick((entry) => entry.xattrs, isSameRecord),
    mode,
  );
  const atime = pick((entry) => entry.atime, isSameTime);
  const { xattrs: _, atime: __, ...rest } = content;
  const merged: Entry = {
    ...rest,
    dir: head.dir,
    name: head.name,
    ino: head.ino === base.ino ? mine.ino : head.ino,
    mode,
    uid: pick((entry) => entry.uid),
    gid: pick((entry) => entry.gid),
    nlink: head.nlink,
    mtime: mergeTime(base.mtime, mine.mtime, head.mtime),
    ctime: later(mine.ctime, head.ctime),
    ...(xattrs === undefined ? {} : { xattrs }),
    ...(atime === undefined ? {} : { atime }),
  };
  return isSameEntry(merged, head) ? head : merged;
}

/** An access ACL of one side allows what the mode of the other does: as after its chmod. */
function inStep(xattrs: Entry['xattrs'], mode: number): Entry['xattrs'] {
  const acl = storedAcl(xattrs?.[accessAclName]);
  if (acl === null || modeOfAcl(acl, mode) === mode) return xattrs;
  return { ...xattrs, [accessAclName]: encodeAcl(aclAfterChmod(acl, mode)).toString('base64') };
}

function mergeTime(base: Time, mine: Time, head: Time): Time {
  if (isSameTime(base, mine)) return head;
  return isSameTime(base, head) ? mine : later(mine, head);
}

const later = (a: Time, b: Time): Time => (compareTime(a, b) >= 0 ? a : b);
