import { constants } from 'node:fs';
import { ArtifactError } from '../../model/errors.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { OpenReply } from '../../vfs/file-system.js';
import { O_APPEND, O_CREAT, O_RDWR, O_WRONLY } from '../../vfs/open-flags.js';
import { Call } from '../call.js';
import type { HeldNode } from '../path-table.js';
import type { Session } from '../session.js';
import { join64 } from '../structures.js';
import { buffered, type Handlers, simple, valued, type Workbench } from './operation.js';

type Transfer = [path: string, descriptor: number, memory: Buffer, length: number, low: number, high: number];

/** Operations about open files and their bytes. */
export function fileOperations(bench: Workbench): Handlers {
  const { session } = bench;
  const { fileSystem, files } = session;
  const memoryOf = (...[, , memory]: Transfer): Buffer => memory;
  const close = (descriptor: number): void => {
    const { handle, node } = files.remove(descriptor);
    fileSystem.release(handle);
    session.paths.release(node);
  };
  return {
    open: valued(
      bench,
      'open',
      0,
      (call, path: string, flags: number) => open(session, call, path, flags),
      close,
    ),
    create: valued(
      bench,
      'create',
      0,
      (call, path: string, mode: number) => create(session, call, path, mode),
      close,
    ),
    read: buffered(bench, 'read', memoryOf, (call, ...[, descriptor, memory, length, low, high]) =>
      chain(fileSystem.read(call, files.get(descriptor).handle, join64(low, high), length), (data) =>
        data.copy(memory),
      ),
    ),
    write: buffered(bench, 'write', memoryOf, (call, ...[, descriptor, memory, length, low, high]) =>
      fileSystem.write(
        call,
        files.get(descriptor).handle,
        join64(low, high),
        memory.subarray(0, length),
        // The kernel itself takes setuid and setgid away before a write, by chmod.
        { killPrivileges: false },
      ),
    ),
    flush: simple(bench, 'flush', (call, _path: string, descriptor: number) =>
      fileSystem.flush(call, files.get(descriptor).handle),
    ),
    fsync: simple(bench, 'fsync', (call, _path: string, dataOnly: number, descriptor: number) =>
      fileSystem.fsync(call, files.get(descriptor).handle, dataOnly !== 0),
    ),
    release: simple(bench, 'release', (_call, _path: string, descriptor: number) => close(descriptor)),
  };
}

function open(session: Session, call: Call, path: string, flags: number): MaybePromise<number> {
  const { fileSystem, paths } = session;
  const append = (flags & constants.O_APPEND) === 0 ? 0 : O_APPEND;
  const wanted = (flags & (O_WRONLY | O_RDWR)) | append;
  return chain(paths.hold(call, path), (node) =>
    orRelease(session, node, () =>
      chain(fileSystem.open(call, node.nodeId, wanted), (reply) =>
        opened(session, call, node, reply, wanted),
      ),
    ),
  );
}

/** The flags of open(2) are not told: the kernel has made of O_EXCL and O_TRUNC what they mean for a new file. */
function create(session: Session, call: Call, path: string, mode: number): MaybePromise<number> {
  const { fileSystem, paths } = session;
  const wanted = O_RDWR | O_CREAT;
  return paths.useParent(call, path, (parent, name) =>
    chain(fileSystem.create(call, parent.nodeId, name, mode & 0o7777, wanted), (entry) => {
      const node = paths.made(parent, name, entry);
      return orRelease(session, node, () => opened(session, call, node, entry.open, wanted));
    }),
  );
}

/** Takes over `node` and the handle in `reply`. */
function opened(
  session: Session,
  call: Call,
  node: HeldNode,
  { handle, directIo }: OpenReply,
  flags: number,
): MaybePromise<number> {
  const add = (textBytes?: number): number => session.files.add({ handle, node, textBytes });
  if (!directIo || (flags & O_WRONLY) !== 0) return add();
  return chain(session.fileSystem.getAttributes(call, node.nodeId), ({ attributes }) =>
    add(attributes.size === 0 ? textBytesOf(session, handle) : undefined),
  );
}

/** How long a text is that is there already and has no size; undefined for one that is still to come. */
function textBytesOf({ fileSystem }: Session, handle: number): number | undefined {
  const call = new Call('read');
  let end = 0;
  for (;;) {
    const data = fileSystem.read(call, handle, end, pieceBytes);
    if (data instanceof Promise) {
      data.catch(() => {}); // it was told that nobody waits
      call.abort(new ArtifactError('Interrupted', 'only its size was wanted'));
      return undefined;
    }
    end += data.length;
    if (data.length < pieceBytes) return end;
  }
}

const pieceBytes = 1 << 20;

function orRelease<T>(session: Session, node: HeldNode, work: () => MaybePromise<T>): MaybePromise<T> {
  const release = (error: unknown): never => {
    session.paths.release(node);
    throw error;
  };
  try {
    const result = work();
    return result instanceof Promise ? result.catch(release) : result;
  } catch (error) {
    return release(error);
  }
}
