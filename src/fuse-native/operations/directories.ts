import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { NodeId } from '../../vfs/file-system.js';
import type { Call } from '../call.js';
import type { Session } from '../session.js';
import { entryStat } from '../structures.js';
import { type Handlers, simple, type Workbench } from './operation.js';

interface Listing {
  readonly names: string[];
  readonly stats: Uint32Array[];
}

/** Operations about directories. libfuse has whole listings, and keeps one for each open directory. */
export function directoryOperations(bench: Workbench): Handlers {
  const { session } = bench;
  const { fileSystem, paths } = session;
  const answer = bench.signal('readdir');
  return {
    readdir: (task, _opcode, path: string) =>
      session.run({
        operation: 'readdir',
        work: (call) => paths.use(call, path, (node) => list(session, call, node)),
        done: ({ names, stats }) => answer(task, 0, names, stats),
        failed: (result) => answer(task, result, [], []),
      }),
    fsyncdir: simple(bench, 'fsyncdir', (call, path: string) =>
      paths.use(call, path, (node) =>
        withDirectory(session, call, node, (handle) => fileSystem.fsyncDirectory(call, handle)),
      ),
    ),
  };
}

function list(session: Session, call: Call, node: NodeId): MaybePromise<Listing> {
  const names: string[] = [];
  const stats: Uint32Array[] = [];
  const readFrom = (handle: number, offset: number): MaybePromise<Listing> => {
    let next = offset;
    const before = names.length;
    const read = session.fileSystem.readDirectory(call, handle, offset, ({ name, ino, kind, nextOffset }) => {
      names.push(name);
      stats.push(entryStat(kind, ino));
      next = nextOffset;
      return true;
    });
    return chain(read, () => (names.length === before ? { names, stats } : readFrom(handle, next)));
  };
  return withDirectory(session, call, node, (handle) => readFrom(handle, 0));
}

async function withDirectory<T>(
  { fileSystem }: Session,
  call: Call,
  node: NodeId,
  work: (handle: number) => MaybePromise<T>,
): Promise<T> {
  const { handle } = await fileSystem.openDirectory(call, node, 0);
  try {
    return await work(handle);
  } finally {
    fileSystem.releaseDirectory(handle);
  }
}
