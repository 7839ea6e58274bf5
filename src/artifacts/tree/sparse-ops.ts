import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { Change } from './change.js';
import type { ContentOps } from './content-ops.js';
import type { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

/** Holes, and copies that share what is in the store. */

export function punch(core: TreeCore, content: ContentOps, node: Node, offset: number, length: number): void {
  checkRange(core, node, offset, length);
  changeContent(core, node, (change) => content.cut(node, change, (map) => map.punch(offset, length)));
}

export function allocate(core: TreeCore, content: ContentOps, node: Node, size: number): void {
  checkRange(core, node, 0, size);
  if (size > node.size) changeContent(core, node, (change) => content.resize(node, size, change));
}

export function seek(core: TreeCore, node: Node, offset: number, what: 'data' | 'hole'): number {
  checkRange(core, node, offset, 0);
  const beyond = () =>
    new ArtifactError('NotSeekable', `${core.pathOf(node)} has nothing at ${offset} or after it`);
  if (offset >= node.size) throw beyond();
  let at = offset;
  for (const { start, length } of node.map.pieces(offset, node.size - offset)) {
    if (what === 'data') return Math.max(start, offset);
    if (start > at) return at;
    at = start + length;
  }
  if (what === 'data') throw beyond();
  return at;
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
): MaybePromise<number> {
  checkRange(core, from.node, from.offset, length);
  checkRange(core, to.node, to.offset, length);
  const count = Math.max(0, Math.min(length, from.node.size - from.offset));
  const overlaps = from.node === to.node && Math.abs(from.offset - to.offset) < count;
  if (overlaps) throw new ArtifactError('Invalid', `${core.pathOf(to.node)}: the ranges overlap`);
  if (count === 0) return 0;
  const isStored = from.node.map.pieces(from.offset, count).every(({ source }) => source.type === 'object');
  return isStored ? share(core, content, from, to, count) : copyBytes(content, from, to, count);
}

function share(core: TreeCore, content: ContentOps, from: Place, to: Place, count: number): number {
  const { node, offset } = to;
  const pieces = from.node.map.pieces(from.offset, count);
  changeContent(core, node, (change) => {
    content.cut(node, change, (map) => map.punch(offset, count));
    for (const { start, length, source } of pieces) {
      node.map.set(offset + start - from.offset, length, source);
    }
    node.size = Math.max(node.size, offset + count);
  });
  return count;
}

/** At most one part at a time: the caller asks again for the rest, as programs do. */
function copyBytes(content: ContentOps, from: Place, to: Place, count: number): MaybePromise<number> {
  const reader = content.open(from.node);
  const close = () => reader.close();
  try {
    const bytes = reader.read(from.offset, Math.min(count, limits.partBytesMin));
    const copied = chain(bytes, (read) => content.write(to.node, to.offset, read, false));
    if (copied instanceof Promise) return copied.finally(close);
    close();
    return copied;
  } catch (error) {
    close();
    throw error;
  }
}

function changeContent(core: TreeCore, node: Node, body: (change: Change | null) => void): void {
  const stamp = (now: Node['mtime']) => {
    node.mtime = now;
    node.ctime = now;
  };
  if (!node.hasName) {
    body(null);
    stamp(core.clock());
    return;
  }
  core.change((change) => {
    change.touchContent(node);
    body(change);
    stamp(change.now);
  });
}

function checkRange(core: TreeCore, node: Node, offset: number, length: number): void {
  if (node.kind === 'dir') throw new ArtifactError('IsDirectory', `${core.pathOf(node)} is a directory`);
  if (node.kind !== 'file' || !Number.isInteger(offset + length) || offset < 0 || length < 0)
    throw new ArtifactError('Invalid', `${core.pathOf(node)} has no bytes at ${offset}`);
  if (offset + length > limits.fileSizeBytesMax)
    throw new ArtifactError('TooLarge', `a file has at most ${limits.fileSizeBytesMax} bytes`);
}
