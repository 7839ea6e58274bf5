import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { AttributesReply, NodeId, SetAttributes } from '../../vfs/file-system.js';
import type { Handler } from '../binding.js';
import type { Call } from '../call.js';
import type { Session } from '../session.js';
import { join64, noStat, noStatvfs, statOf, statvfsOf, timeOf } from '../structures.js';
import { type Handlers, simple, valued, type Workbench } from './operation.js';

/** Operations about what stat(2) and statfs(2) show. */
export function attributeOperations(bench: Workbench): Handlers {
  const { session } = bench;
  const { fileSystem, paths, files } = session;
  const change = (call: Call, path: string, changes: SetAttributes): MaybePromise<unknown> =>
    paths.use(call, path, (node) => fileSystem.setAttributes(call, node, changes));
  return {
    getattr: valued(bench, 'getattr', noStat, (call, path: string) =>
      paths.use(call, path, (node) =>
        chain(fileSystem.getAttributes(call, node), (reply) => shown(session, node, reply)),
      ),
    ),
    fgetattr: valued(bench, 'fgetattr', noStat, (call, _path: string, descriptor: number) => {
      const { node, textBytes } = files.get(descriptor);
      return chain(fileSystem.getAttributes(call, node.nodeId), (reply) =>
        shown(session, node.nodeId, reply, textBytes),
      );
    }),
    chmod: simple(bench, 'chmod', (call, path: string, mode: number) =>
      change(call, path, { mode: mode & 0o7777 }),
    ),
    chown: simple(bench, 'chown', (call, path: string, uid: number, gid: number) =>
      change(call, path, { ...(uid === keep ? {} : { uid }), ...(gid === keep ? {} : { gid }) }),
    ),
    truncate: simple(bench, 'truncate', (call, path: string, low: number, high: number) =>
      change(call, path, { size: join64(low, high) }),
    ),
    ftruncate: simple(
      bench,
      'ftruncate',
      (call, _path: string, descriptor: number, low: number, high: number) =>
        fileSystem.setAttributes(call, files.get(descriptor).node.nodeId, { size: join64(low, high) }),
    ),
    utimens: utimens(bench, change),
    statfs: valued(bench, 'statfs', noStatvfs, (call, path: string) =>
      paths.use(call, path, (node) => chain(fileSystem.statistics(call, node), statvfsOf)),
    ),
  };
}

/** An owner or group that stays. */
const keep = 0xffff_ffff;

/**
 * A text that is made when it is opened has no size before (the file system wants it read past the page cache, which
 * cannot be said through libfuse). While it is open it has the size of the text, or nobody could read it.
 */
function shown(
  session: Session,
  node: NodeId,
  { attributes }: AttributesReply,
  textBytes?: number,
): Uint32Array {
  const { size } = attributes;
  if (size > 0) return statOf(attributes, size);
  return statOf(attributes, textBytes ?? session.files.textBytesOf(node) ?? 0);
}

/** In the binding's memory of a thread: the time of access in ms, and after it that of change. */
const timesAt = process.platform === 'darwin' ? 96 : 104;

/** libfuse asks only when both times are set. The binding passes the first of them twice, but it keeps both. */
function utimens(
  bench: Workbench,
  change: (call: Call, path: string, changes: SetAttributes) => MaybePromise<unknown>,
): Handler {
  const { session } = bench;
  const answer = bench.signal('utimens');
  return (task, _opcode, path: string, low: number, high: number) => {
    const first = BigInt(low) + (BigInt(high) << 32n);
    const isThere = task.readBigUInt64LE(timesAt) === first;
    const second = isThere ? task.readBigUInt64LE(timesAt + 8) : first;
    session.run({
      operation: 'utimens',
      work: (call) => change(call, path, { atime: timeOf(first), mtime: timeOf(second) }),
      done: () => answer(task, 0),
      failed: (result) => answer(task, result),
    });
  };
}
