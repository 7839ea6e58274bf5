import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { AttributeChanges } from '../ports.js';
import type { Change } from './change.js';
import type { ContentOps } from './content-ops.js';
import type { Node } from './node.js';
import { dropPrivileges } from './privileges.js';
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
  core.change((change) => {
    if (changes.size === undefined) change.touch(node);
    else change.touchContent(node);
    apply(core, content, node, changes, change);
  });
}

function apply(
  core: TreeCore,
  content: ContentOps,
  node: Node,
  changes: AttributeChanges,
  change: Change | null,
): void {
  const now = change?.now ?? core.clock();
  const { mode, uid, gid, size, atime, mtime, ctime } = changes;
  if (size !== undefined) {
    content.resize(node, size, change);
    node.mtime = now;
  }
  if (uid !== undefined) node.uid = uid;
  if (gid !== undefined) node.gid = gid;
  if (mode !== undefined) node.mode = mode & 0o7777;
  else if ((uid !== undefined || gid !== undefined) && node.kind !== 'dir') dropPrivileges(node);
  if (atime !== undefined) {
    node.atime = atime === 'now' ? now : atime;
    node.atimeSet = true;
  }
  if (mtime !== undefined) node.mtime = mtime === 'now' ? now : mtime;
  node.ctime = ctime ?? now;
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

export function setXattr(core: TreeCore, node: Node, name: string, value: Uint8Array | null): void {
  checkXattr(name, value);
  const xattrs: Record<string, string> = Object.assign(Object.create(null), node.xattrs);
  if (value !== null) xattrs[name] = Buffer.from(value).toString('base64');
  else {
    if (xattrs[name] === undefined)
      throw new ArtifactError('NoAttribute', `${core.pathOf(node)} has no attribute ${name}`);
    delete xattrs[name];
  }
  const next = Object.keys(xattrs).length === 0 ? null : xattrs;
  if (!node.hasName) {
    node.xattrs = next;
    node.ctime = core.clock();
    return;
  }
  core.change((change) => {
    change.touchXattrs(node);
    node.xattrs = next;
    node.ctime = change.now;
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
