import {
  type Acl,
  accessAclName,
  aclAfterChmod,
  decodeAcl,
  defaultAclName,
  encodeAcl,
  isAclName,
  isPlainAcl,
  modeOfAcl,
  storedAcl,
} from '../../model/acl.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { AttributeChanges } from '../ports.js';
import type { Change } from './change.js';
import type { ContentOps } from './content-ops.js';
import type { Node } from './node.js';
import type { Xattrs } from './node-parts.js';
import { dropCapabilities, dropPrivileges } from './privileges.js';
import type { TreeCore } from './tree-core.js';

/** chmod, chown, truncate and utimens, in one change as the kernel sends them. */
export function setAttributes(
  core: TreeCore,
  content: ContentOps,
  node: Node,
  changes: AttributeChanges,
): void {
  if (changes.size !== undefined) checkSize(core, node, changes.size);
  if (!node.hasName) {
    apply(core, content, node, changes, null);
    return;
  }
  const body = (change: Change): void => {
    if (changes.size === undefined) change.touch(node);
    else change.touchContent(node);
    apply(core, content, node, changes, change);
  };
  if (changes.size !== undefined && changes.size < node.size) core.changeToFree(body);
  else core.change(body);
}

function apply(
  core: TreeCore,
  content: ContentOps,
  node: Node,
  changes: AttributeChanges,
  change: Change | null,
): void {
  const now = change?.now ?? core.clock();
  const { mode, uid, gid, size, atime, mtime, ctime, killPrivileges } = changes;
  if (size !== undefined) {
    content.resize(node, size, change);
    node.mtime = now;
  }
  if (uid !== undefined) node.uid = uid;
  if (gid !== undefined) node.gid = gid;
  const isNewOwner = (uid !== undefined || gid !== undefined) && node.kind !== 'dir';
  if (isNewOwner || size !== undefined) dropCapabilities(node, change);
  if (mode !== undefined) setMode(node, mode & 0o7777, change);
  else if (isNewOwner || (killPrivileges === true && node.kind !== 'dir')) dropPrivileges(node);
  if (atime !== undefined) {
    node.atime = atime === 'now' ? now : atime;
    node.atimeSet = true;
  }
  if (mtime !== undefined) {
    node.mtime = mtime === 'now' ? now : mtime;
    if (node.openForWriting > 0) {
      node.timesTold = true;
      node.timesOwed = null;
    }
  }
  node.ctime = ctime ?? now;
}

/**
 * Nobody writes to the file any more. A kernel that keeps writes sends their time before that, but not for a program
 * that it kills: then the content must not go with the time of what was there before. Room for it may be missing: the
 * time stays as it was.
 */
export function settleTimes(core: TreeCore, content: ContentOps, node: Node): void {
  const { timesOwed: owed } = node;
  node.timesTold = false;
  node.timesOwed = null;
  // A change within the kernel's clock tick leaves the time as it is, and is not told.
  if (owed === null || !node.staged || owed.s - node.mtime.s < 2) return;
  try {
    setAttributes(core, content, node, { mtime: owed, ctime: owed });
  } catch (error) {
    if (!isCode(error, 'NoSpace')) throw error;
  }
}

function setMode(node: Node, mode: number, change: Change | null): void {
  node.mode = mode;
  const acl = aclOf(node, accessAclName);
  if (acl === null) return;
  change?.touchXattrs(node);
  node.xattrs = withXattr(node.xattrs, accessAclName, encodeAcl(aclAfterChmod(acl, mode)));
}

function checkSize(core: TreeCore, node: Node, size: number): void {
  if (node.kind === 'dir') throw new ArtifactError('IsDirectory', `${core.pathOf(node)} is a directory`);
  if (node.kind !== 'file' || !Number.isInteger(size) || size < 0)
    throw new ArtifactError('Invalid', `${core.pathOf(node)} cannot be given the size ${size}`);
  if (size > limits.fileSizeBytesMax)
    throw new ArtifactError(
      'TooLarge',
      `${core.pathOf(node)}: a file has at most ${limits.fileSizeBytesMax} bytes`,
    );
}

export function xattr(node: Node, name: string): Uint8Array | undefined {
  const value = node.xattrs !== null && Object.hasOwn(node.xattrs, name) ? node.xattrs[name] : undefined;
  return value === undefined ? undefined : Buffer.from(value, 'base64');
}

export function aclOf(node: Node, name: typeof accessAclName | typeof defaultAclName): Acl | null {
  return storedAcl(node.xattrs?.[name]);
}

export function setXattr(
  core: TreeCore,
  node: Node,
  name: string,
  value: Uint8Array | null,
  clearSetgid: boolean,
): void {
  checkXattr(name, value);
  let mode: number | null = null;
  let kept = value;
  if (isAclName(name)) {
    if (node.kind === 'symlink')
      throw new ArtifactError('Unsupported', `${core.pathOf(node)}: symbolic links have no ACL`);
    const acl = value === null ? null : decodeAcl(value);
    if (name === defaultAclName && node.kind !== 'dir' && acl !== null)
      throw new ArtifactError('AccessDenied', `${core.pathOf(node)} is no directory: it has no default ACL`);
    const isAccess = name === accessAclName && acl !== null;
    if (isAccess) mode = modeOfAcl(acl, clearSetgid ? node.mode & ~0o2000 : node.mode);
    kept = acl === null || (isAccess && isPlainAcl(acl)) ? null : encodeAcl(acl);
  }
  if (value === null && xattr(node, name) === undefined) {
    // To have no ACL is what was asked for.
    if (isAclName(name)) return;
    throw new ArtifactError('NoAttribute', `${core.pathOf(node)} has no attribute ${name}`);
  }
  const xattrs = withXattr(node.xattrs, name, kept);
  if (kept !== null) checkAll(core, node, xattrs);
  const apply = (now: Node['ctime']): void => {
    node.xattrs = xattrs;
    if (mode !== null) node.mode = mode;
    node.ctime = now;
  };
  if (!node.hasName) {
    apply(core.clock());
    return;
  }
  core.change((change) => {
    change.touchXattrs(node);
    apply(change.now);
  });
}

function withXattr(before: Xattrs | null, name: string, value: Uint8Array | null): Xattrs | null {
  const xattrs: Record<string, string> = Object.assign(Object.create(null), before);
  if (value === null) delete xattrs[name];
  else xattrs[name] = Buffer.from(value).toString('base64');
  return Object.keys(xattrs).length === 0 ? null : xattrs;
}

/** The kernel hands no longer list of names to programs, and all of them are one row. */
function checkAll(core: TreeCore, node: Node, xattrs: Xattrs | null): void {
  let names = 0;
  let values = 0;
  for (const [name, value] of Object.entries(xattrs ?? {})) {
    names += Buffer.byteLength(name) + 1;
    values += value.length;
  }
  if (names > limits.xattrNamesBytesMax || values > limits.xattrsBytesMax)
    throw new ArtifactError('NoSpace', `${core.pathOf(node)} has too many or too large attributes`, {
      hint: `keep names within ${limits.xattrNamesBytesMax} and values within ${limits.xattrsBytesMax} bytes (in base64)`,
    });
}

function checkXattr(name: string, value: Uint8Array | null): void {
  if (name === '' || name.includes('\0'))
    throw new ArtifactError('Invalid', 'an attribute needs a name without NUL');
  if (Buffer.byteLength(name) > limits.xattrNameBytesMax)
    throw new ArtifactError(
      'NameTooLong',
      `an attribute's name has at most ${limits.xattrNameBytesMax} bytes`,
    );
  if (value !== null && value.length > limits.xattrValueBytesMax)
    throw new ArtifactError('TooLarge', `an attribute has at most ${limits.xattrValueBytesMax} bytes`);
}
