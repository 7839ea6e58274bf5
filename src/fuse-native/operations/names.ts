import { constants } from 'node:os';
import { kindOf, permissionsOf } from '../../fuse/protocol/attributes.js';
import { Refusal } from '../../fuse/protocol/refusal.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { NodeEntry } from '../../vfs/file-system.js';
import type { Call } from '../call.js';
import type { HeldNode } from '../path-table.js';
import type { Session } from '../session.js';
import { type Handlers, simple, valued, type Workbench } from './operation.js';

/** Operations about names: making, moving and removing them. */
export function nameOperations(bench: Workbench): Handlers {
  const { session } = bench;
  const { fileSystem, paths } = session;
  const make = (
    call: Call,
    path: string,
    work: (parent: HeldNode, name: string) => MaybePromise<NodeEntry>,
  ): MaybePromise<void> =>
    paths.useParent(call, path, (parent, name) =>
      chain(work(parent, name), (entry) => paths.release(paths.made(parent, name, entry))),
    );
  return {
    mknod: simple(bench, 'mknod', (call, path: string, mode: number, device: number) => {
      const kind = kindOf(mode);
      if (kind === undefined || kind === 'dir' || kind === 'symlink') {
        throw new Refusal(constants.errno.EINVAL, `mknod of type ${mode.toString(8)}`);
      }
      return make(call, path, (parent, name) =>
        fileSystem.makeNode(call, parent.nodeId, name, permissionsOf(mode), kind, device),
      );
    }),
    mkdir: simple(bench, 'mkdir', (call, path: string, mode: number) =>
      make(call, path, (parent, name) =>
        fileSystem.makeDirectory(call, parent.nodeId, name, permissionsOf(mode)),
      ),
    ),
    symlink: simple(bench, 'symlink', (call, target: string, path: string) =>
      make(call, path, (parent, name) => fileSystem.symlink(call, parent.nodeId, name, checkText(target))),
    ),
    link: simple(bench, 'link', (call, from: string, to: string) =>
      paths.use(call, from, (node) =>
        make(call, to, (parent, name) => fileSystem.link(call, node, parent.nodeId, name)),
      ),
    ),
    readlink: valued(bench, 'readlink', '', (call, path: string) =>
      paths.use(call, path, (node) => fileSystem.readLink(call, node)),
    ),
    unlink: simple(bench, 'unlink', (call, path: string) =>
      // libfuse removes what it had hidden when the last handle is closed.
      paths.unhide(lastName(path)) ? undefined : unlink(session, call, path),
    ),
    rmdir: simple(bench, 'rmdir', (call, path: string) =>
      paths.useParent(call, path, (parent, name) =>
        chain(fileSystem.removeDirectory(call, parent.nodeId, name), () => paths.removed(parent, name)),
      ),
    ),
    rename: simple(bench, 'rename', (call, from: string, to: string) => rename(session, call, from, to)),
  };
}

function unlink({ fileSystem, paths }: Session, call: Call, path: string): MaybePromise<void> {
  return paths.useParent(call, path, (parent, name) =>
    chain(fileSystem.unlink(call, parent.nodeId, name), () => paths.removed(parent, name)),
  );
}

/**
 * libfuse never removes a file that is open: it gives it another name, and removes that when it is closed. The file
 * system can do better: an open file lives on without a name. So the name that libfuse gives exists only here.
 */
const hiddenName = /^\.fuse_hidden[0-9a-f]{16}$/;

function rename(session: Session, call: Call, from: string, to: string): MaybePromise<void> {
  const { paths } = session;
  if (!hiddenName.test(lastName(to)) || parentOf(from) !== parentOf(to)) return move(session, call, from, to);
  return chain(paths.hold(call, from), (node) => {
    const hide = (): MaybePromise<void> =>
      session.files.isOpen(node.nodeId)
        ? hideOpen(session, call, from, node, lastName(to))
        : move(session, call, from, to);
    return finished(hide, () => paths.release(node));
  });
}

function hideOpen(
  { fileSystem, paths }: Session,
  call: Call,
  path: string,
  node: HeldNode,
  hidden: string,
): MaybePromise<void> {
  return paths.useParent(call, path, (parent, name) =>
    chain(fileSystem.unlink(call, parent.nodeId, name), () => paths.hide(parent, name, node, hidden)),
  );
}

function move({ fileSystem, paths }: Session, call: Call, from: string, to: string): MaybePromise<void> {
  return paths.useParent(call, from, (parent, name) =>
    paths.useParent(call, to, (newParent, newName) =>
      chain(
        fileSystem.rename(call, parent.nodeId, name, newParent.nodeId, newName, {
          noReplace: false,
          exchange: false,
        }),
        () => paths.moved(parent, name, newParent, newName),
      ),
    ),
  );
}

/** Runs `work`, and `last` when it is over. */
function finished<T>(work: () => MaybePromise<T>, last: () => void): MaybePromise<T> {
  let result: MaybePromise<T>;
  try {
    result = work();
  } catch (error) {
    last();
    throw error;
  }
  if (result instanceof Promise) return result.finally(last);
  last();
  return result;
}

/** A target of bytes that are no UTF-8 came as something else. */
function checkText(target: string): string {
  if (target.includes('\ufffd')) throw new Refusal(constants.errno.EILSEQ, 'a target that is not UTF-8');
  return target;
}

const lastName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));
