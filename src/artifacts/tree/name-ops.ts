import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, isPromise, type MaybePromise } from '../../util/maybe-promise.js';
import { checkFileName } from '../../workspace/names.js';
import type { CreateInit, RenameFlags } from '../ports.js';
import { inherit } from './inherit.js';
import { isEmpty } from './listing.js';
import type { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

/** Operations on names: each checks, then changes, in one turn of the event loop. */

export function create(core: TreeCore, parent: Node, name: string, init: CreateInit): MaybePromise<Node> {
  checkFileName(name);
  if (init.kind === 'symlink') checkTarget(init.target ?? '');
  return core.settled(
    () => core.lookup(parent, name),
    (existing) => {
      checkParent(core, parent);
      if (existing !== undefined) throw exists(core, parent, name);
      return insert(core, parent, name, init);
    },
  );
}

function insert(core: TreeCore, parent: Node, name: string, init: CreateInit): Node {
  let made: Node | undefined;
  core.change((change) => {
    change.touch(parent);
    const node = change.create(inherit(parent, init));
    change.putName(parent, name, node.ino);
    if (node.kind === 'dir') parent.nlink++;
    parent.mtime = change.now;
    parent.ctime = change.now;
    change.afterwards(() => core.table.locate(node, parent, name));
    made = node;
  });
  if (made === undefined) throw new Error('unreachable: a change that returns has run');
  return made;
}

export function link(core: TreeCore, node: Node, parent: Node, name: string): MaybePromise<void> {
  checkFileName(name);
  return core.settled(
    () => core.lookup(parent, name),
    (existing) => {
      checkParent(core, parent);
      if (node.kind === 'dir')
        throw new ArtifactError('NotPermitted', `${core.pathOf(node)} is a directory: it has one name`);
      if (!node.hasName && !node.isLinkable) throw missing(core, node.parent ?? core.root, node.name);
      if (existing !== undefined) throw exists(core, parent, name);
      if (node.nlink >= limits.hardLinksMax)
        throw new ArtifactError('TooManyLinks', `${core.pathOf(node)} has ${node.nlink} names already`);
      core.change((change) => {
        change.touch(parent);
        if (node.hasName) change.touch(node);
        else change.appear(node);
        change.putName(parent, name, node.ino);
        node.nlink++;
        node.ctime = change.now;
        parent.mtime = change.now;
        parent.ctime = change.now;
        change.afterwards(() => {
          if (node.parent === null) core.table.locate(node, parent, name);
        });
      });
    },
  );
}

export function unlink(core: TreeCore, parent: Node, name: string): MaybePromise<Node> {
  return core.settled(
    () => core.lookup(parent, name),
    (node) => {
      if (node === undefined) throw missing(core, parent, name);
      if (node.kind === 'dir')
        throw new ArtifactError('IsDirectory', `${core.pathOf(parent, name)} is a directory`);
      removeName(core, parent, name, node);
      return node;
    },
  );
}

export function rmdir(core: TreeCore, parent: Node, name: string): MaybePromise<void> {
  return core.settled(
    () => chain(core.lookup(parent, name), (node) => withEmptiness(core, node)),
    ({ node, empty }) => {
      if (node === undefined) throw missing(core, parent, name);
      if (node.kind !== 'dir') throw notDirectory(core, parent, name);
      if (!empty) throw notEmpty(core, parent, name);
      removeName(core, parent, name, node);
    },
  );
}

function removeName(core: TreeCore, parent: Node, name: string, node: Node): void {
  core.changeToFree((change) => {
    change.touch(parent);
    change.unlink(node, parent, name);
    change.removeName(parent, name);
    if (node.kind === 'dir') parent.nlink--;
    parent.mtime = change.now;
    parent.ctime = change.now;
  });
}

interface Found {
  readonly node: Node | undefined;
  /** Of a directory: nothing is in it. */
  readonly empty: boolean;
}

function withEmptiness(core: TreeCore, node: Node | undefined): MaybePromise<Found> {
  if (node?.kind !== 'dir') return { node, empty: true };
  return chain(isEmpty(core, node), (empty) => ({ node, empty }));
}

export function rename(
  core: TreeCore,
  from: Node,
  fromName: string,
  to: Node,
  toName: string,
  flags: RenameFlags,
): MaybePromise<void> {
  checkFileName(toName);
  const look = (): MaybePromise<{ source: Node | undefined; target: Found }> => {
    const source = core.lookup(from, fromName);
    const target = chain(core.lookup(to, toName), (node) => withEmptiness(core, node));
    if (isPromise(source) || isPromise(target))
      return Promise.all([source, target]).then(([s, t]) => ({ source: s, target: t }));
    return { source, target };
  };
  return core.settled(look, ({ source, target }) => {
    checkParent(core, to);
    if (source === undefined) throw missing(core, from, fromName);
    if (flags.exchange === true) exchange(core, from, fromName, source, to, toName, target.node);
    else {
      if (target.node !== undefined && flags.noReplace === true) throw exists(core, to, toName);
      if (source === target.node) return;
      checkReplace(core, from, fromName, source, to, toName, target);
      move(core, from, fromName, source, to, toName, target.node);
    }
  });
}

function checkReplace(
  core: TreeCore,
  from: Node,
  fromName: string,
  source: Node,
  to: Node,
  toName: string,
  target: Found,
): void {
  if (source.kind === 'dir' && isWithin(core, to, source)) throw loop(core, from, fromName);
  const { node, empty } = target;
  if (node === undefined) return;
  if (source.kind === 'dir' && node.kind !== 'dir') throw notDirectory(core, to, toName);
  if (source.kind !== 'dir' && node.kind === 'dir')
    throw new ArtifactError('IsDirectory', `${core.pathOf(to, toName)} is a directory`);
  if (!empty) throw notEmpty(core, to, toName);
}

function move(
  core: TreeCore,
  from: Node,
  fromName: string,
  source: Node,
  to: Node,
  toName: string,
  target: Node | undefined,
): void {
  core.change((change) => {
    change.touch(from);
    change.touch(to);
    change.touch(source);
    if (target !== undefined) change.unlink(target, to, toName);
    change.removeName(from, fromName);
    change.putName(to, toName, source.ino);
    if (target?.kind === 'dir') to.nlink--;
    if (source.kind === 'dir') {
      from.nlink--;
      to.nlink++;
    }
    source.ctime = change.now;
    stampBoth(from, to, change.now);
    change.afterwards(() => relocate(core, source, from, fromName, to, toName));
  });
}

function exchange(
  core: TreeCore,
  from: Node,
  fromName: string,
  source: Node,
  to: Node,
  toName: string,
  target: Node | undefined,
): void {
  if (target === undefined) throw missing(core, to, toName);
  if (source === target) return;
  if (source.kind === 'dir' && isWithin(core, to, source)) throw loop(core, from, fromName);
  if (target.kind === 'dir' && isWithin(core, from, target)) throw loop(core, to, toName);
  core.change((change) => {
    for (const node of [from, to, source, target]) change.touch(node);
    change.putName(from, fromName, target.ino);
    change.putName(to, toName, source.ino);
    const moved = (source.kind === 'dir' ? 1 : 0) - (target.kind === 'dir' ? 1 : 0);
    from.nlink -= moved;
    to.nlink += moved;
    source.ctime = change.now;
    target.ctime = change.now;
    stampBoth(from, to, change.now);
    change.afterwards(() => {
      relocate(core, source, from, fromName, to, toName);
      relocate(core, target, to, toName, from, fromName);
    });
  });
}

function stampBoth(from: Node, to: Node, now: Node['mtime']): void {
  from.mtime = now;
  from.ctime = now;
  to.mtime = now;
  to.ctime = now;
}

/** A hard link may be known by another of its names, which stays. */
function relocate(core: TreeCore, node: Node, from: Node, fromName: string, to: Node, toName: string): void {
  const known = node.parent !== null && !(node.parent === from && node.name === fromName);
  if (!known) core.table.locate(node, to, toName);
}

/** Whether `node` is `ancestor` or below it. */
function isWithin(core: TreeCore, node: Node, ancestor: Node): boolean {
  for (let at: Node | null = node; at !== null; at = at.parent) {
    if (at === ancestor) return true;
    if (at === core.root) return false;
  }
  return false;
}

export function checkParent(core: TreeCore, parent: Node): void {
  if (parent.kind !== 'dir')
    throw new ArtifactError('NotDirectory', `${core.pathOf(parent)} is no directory`);
  if (!parent.hasName)
    throw new ArtifactError('NotFound', `the directory ${core.pathOf(parent)} was removed`);
}

function checkTarget(target: string): void {
  if (target === '') throw new ArtifactError('NotFound', 'a symbolic link to an empty path cannot be made');
  if (target.includes('\0')) throw new ArtifactError('Invalid', 'the target of a symbolic link holds a NUL');
  if (Buffer.byteLength(target) > limits.symlinkTargetBytesMax)
    throw new ArtifactError(
      'NameTooLong',
      `a symbolic link holds at most ${limits.symlinkTargetBytesMax} bytes`,
    );
}

const missing = (core: TreeCore, parent: Node, name: string) =>
  new ArtifactError('NotFound', `${core.pathOf(parent, name)} does not exist`);
const exists = (core: TreeCore, parent: Node, name: string) =>
  new ArtifactError('Exists', `${core.pathOf(parent, name)} exists`);
const notDirectory = (core: TreeCore, parent: Node, name: string) =>
  new ArtifactError('NotDirectory', `${core.pathOf(parent, name)} is no directory`);
const notEmpty = (core: TreeCore, parent: Node, name: string) =>
  new ArtifactError('NotEmpty', `the directory ${core.pathOf(parent, name)} is not empty`);
const loop = (core: TreeCore, parent: Node, name: string) =>
  new ArtifactError('Loop', `${core.pathOf(parent, name)} cannot be moved into itself`);
