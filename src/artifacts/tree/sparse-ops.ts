import { seekContent } from '../../content/local/seek.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { AllocateRange } from '../ports.js';
import type { Change } from './change.js';
import type { ContentOps } from './content-ops.js';
import type { Node } from './node.js';
import { dropCapabilities, dropPrivileges } from './privileges.js';
import type { TreeCore } from './tree-core.js';

/** Holes, and copies that share what is in the store. */

export function allocate(
  core: TreeCore,
  content: ContentOps,
  node: Node,
  range: AllocateRange,
  options: { killPrivileges?: boolean; keepTimes?: boolean; roomBytes?: number },
): void {
  const { offset, length, how, keepSize } = range;
  checkRange(core, node, offset, length);
  if (how === 'allocate') checkRoom(core, node, range, options.roomBytes ?? Number.POSITIVE_INFINITY);
  const end = offset + length;
  const size = keepSize || how === 'punch' ? node.size : Math.max(node.size, end);
  const cuts = how !== 'allocate' && node.map.pieces(offset, length).length > 0;
  const body = (change: Change | null): void => {
    if (cuts) content.cut(node, change, (map) => map.punch(offset, length));
    node.size = size;
    if (options.killPrivileges === true) dropPrivileges(node);
  };
  // As local file systems do, the times also change when the bytes do not.
  const keepTimes = options.keepTimes === true;
  if (cuts || size !== node.size) changeContent(core, node, keepTimes, body);
  else changeAttributes(core, node, keepTimes, body);
}

function checkRoom(core: TreeCore, node: Node, range: AllocateRange, roomBytes: number): void {
  let wanted = range.length;
  for (const { length } of node.map.pieces(range.offset, range.length)) wanted -= length;
  if (wanted > roomBytes)
    throw new ArtifactError('NoSpace', `${core.pathOf(node)}: no room for ${wanted} more bytes`, {
      hint: 'free space under the state directory',
    });
}

export function seek(core: TreeCore, node: Node, offset: number, what: 'data' | 'hole'): number {
  checkFile(core, node, offset);
  const content = {
    size: () => node.size,
    pieces: (at: number, length: number) => node.map.pieces(at, length),
  };
  const found = seekContent(content, offset, what);
  if (found === undefined)
    throw new ArtifactError('NotSeekable', `${core.pathOf(node)} has nothing at ${offset} or after it`);
  return found;
}

interface Place {
  readonly node: Node;
  readonly offset: number;
}

export function copyRange(
  core: TreeCore,
  content: ContentOps,
  from: Place,
  to: Place,
  length: number,
  options: { killPrivileges?: boolean; keepTimes?: boolean; signal?: AbortSignal },
): MaybePromise<number> {
  checkFile(core, from.node, from.offset);
  const count = Math.max(0, Math.min(length, from.node.size - from.offset));
  checkRange(core, to.node, to.offset, count);
  const overlaps = from.node === to.node && Math.abs(from.offset - to.offset) < count;
  if (overlaps) throw new ArtifactError('Invalid', `${core.pathOf(to.node)}: the ranges overlap`);
  if (count === 0) return 0;
  const pieces = from.node.map.pieces(from.offset, count);
  const local = pieces.find(({ source }) => source.type === 'local');
  const stored = local === undefined ? count : local.start - from.offset;
  if (stored > 0 && mayShare(from.node, to.node)) return share(core, content, from, to, stored, options);
  const after = pieces.find(({ source }) => source.type === 'object');
  const staged = stored > 0 ? stored : after === undefined ? count : after.start - from.offset;
  return copyBytes(content, from, to, staged, options);
}

/**
 * A stage uses objects of its base only: what has no name may be of an older version, or get a name on a later one.
 */
const mayShare = (from: Node, to: Node): boolean => from.hasName && (to.hasName || !to.isLinkable);

function share(
  core: TreeCore,
  content: ContentOps,
  from: Place,
  to: Place,
  count: number,
  options: { killPrivileges?: boolean; keepTimes?: boolean },
): number {
  const { node, offset } = to;
  const pieces = from.node.map.pieces(from.offset, count);
  changeContent(core, node, options.keepTimes === true, (change) => {
    content.cut(node, change, (map) => map.punch(offset, count));
    for (const { start, length, source } of pieces) {
      node.map.set(offset + start - from.offset, length, source);
    }
    node.size = Math.max(node.size, offset + count);
    // A copy of the whole file is that file. What has no name forgets no hash when it is written to, so it gets none.
    if (change !== null && count === from.node.size && count === node.size) node.sha256 = from.node.sha256;
    if (options.killPrivileges === true) dropPrivileges(node);
  });
  return count;
}

/** At most one part at a time: the caller asks again for the rest, as programs do. */
function copyBytes(
  content: ContentOps,
  from: Place,
  to: Place,
  count: number,
  options: { killPrivileges?: boolean; keepTimes?: boolean; signal?: AbortSignal },
): MaybePromise<number> {
  const reader = content.open(from.node);
  const close = () => reader.close();
  try {
    const bytes = reader.read(from.offset, Math.min(count, limits.partBytesMin), options.signal);
    const copied = chain(bytes, (read) =>
      content.write(to.node, to.offset, read, options.killPrivileges === true, options.keepTimes === true),
    );
    if (copied instanceof Promise) return copied.finally(close);
    close();
    return copied;
  } catch (error) {
    close();
    throw error;
  }
}

type Body = (change: Change | null) => void;

function changeContent(core: TreeCore, node: Node, keepTimes: boolean, body: Body): void {
  changeFile(core, node, keepTimes, body, (change) => change.touchContent(node));
}

function changeAttributes(core: TreeCore, node: Node, keepTimes: boolean, body: Body): void {
  changeFile(core, node, keepTimes, body, (change) => void change.touch(node));
}

function changeFile(
  core: TreeCore,
  node: Node,
  keepTimes: boolean,
  body: Body,
  touch: (change: Change) => void,
): void {
  const stamp = (now: Node['mtime']) => {
    if (keepTimes) return;
    node.mtime = now;
    node.ctime = now;
  };
  if (!node.hasName) {
    body(null);
    dropCapabilities(node, null);
    stamp(core.clock());
    return;
  }
  core.change((change) => {
    touch(change);
    body(change);
    dropCapabilities(node, change);
    stamp(change.now);
  });
}

function checkRange(core: TreeCore, node: Node, offset: number, length: number): void {
  checkFile(core, node, offset);
  if (!Number.isInteger(length) || length < 0)
    throw new ArtifactError('Invalid', `${core.pathOf(node)}: no range has ${length} bytes`);
  if (offset + length > limits.fileSizeBytesMax)
    throw new ArtifactError('TooLarge', `a file has at most ${limits.fileSizeBytesMax} bytes`);
}

function checkFile(core: TreeCore, node: Node, offset: number): void {
  if (node.kind === 'dir') throw new ArtifactError('IsDirectory', `${core.pathOf(node)} is a directory`);
  if (node.kind !== 'file' || !Number.isInteger(offset) || offset < 0)
    throw new ArtifactError('Invalid', `${core.pathOf(node)} has no bytes at ${offset}`);
}
