import type { AllocateRange, Inode, WorkingTree } from '../../artifacts/ports.js';
import type { FileReader, LocalRange } from '../../content/ports.js';
import { ArtifactError } from '../../model/errors.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { RequestContext } from '../file-system.js';
import type { FileHandle, Node } from '../node.js';
import { O_APPEND, O_EXEC, wantsWrite } from '../open-flags.js';
import type { WorkingOwner } from './working-owner.js';

/** The last append under way on an inode, so that the next one starts where it ended. */
const appends = new WeakMap<Inode, Promise<unknown>>();

/** How many handles programs run from. */
const runs = new WeakMap<Inode, number>();

export const isRunning = (inode: Inode): boolean => (runs.get(inode) ?? 0) > 0;

/** An open file of the working view. It keeps the inode and its bytes until released. */
export class WorkingHandle implements FileHandle {
  // close has nothing to tell: every write has answered for itself. Those that the kernel keeps it sends before.
  readonly reply = { keepCache: true, noFlush: true };
  readonly #owner: WorkingOwner;
  readonly #tree: WorkingTree;
  readonly #inode: Inode;
  readonly #writes: boolean;
  readonly #appends: boolean;
  readonly #executes: boolean;
  readonly #node: Node;
  #reader: FileReader | null = null;
  #allocatedTold = -1;

  /** `node`: by which it was opened. */
  constructor(owner: WorkingOwner, inode: Inode, flags: number, node: Node) {
    const { tree } = owner;
    this.#owner = owner;
    this.#tree = tree;
    this.#inode = inode;
    this.#writes = wantsWrite(flags);
    this.#appends = (flags & O_APPEND) !== 0;
    this.#executes = (flags & O_EXEC) !== 0;
    tree.opened(inode, this.#writes);
    this.#node = node;
    if (this.#executes) this.#countRun(1);
    if (this.#writes && !owner.isFormer(node)) owner.sizeAgreed(inode, node);
  }

  read(context: RequestContext, offset: number, length: number): MaybePromise<Buffer> {
    // Also through a handle for writing: the kernel fills the page around a partial write.
    this.#reader ??= this.#tree.open(this.#inode);
    return this.#reader.read(offset, length, undefined, context);
  }

  localRange(offset: number, length: number): LocalRange | undefined {
    this.#reader ??= this.#tree.open(this.#inode);
    return this.#reader.local(offset, length);
  }

  write(
    _context: RequestContext,
    offset: number,
    data: Buffer,
    flags: { killPrivileges: boolean; fromCache?: boolean },
  ): MaybePromise<number> {
    // Only a write that is certainly the program's own may be moved to the end: the kernel sends mapped pages through
    // any handle of the file, with offsets that must be kept.
    const { mode } = this.#inode;
    const written =
      this.#appends && flags.fromCache === false && !this.#owner.kernelKeepsWrites
        ? this.#append(data, flags.killPrivileges)
        : this.#tree.write(this.#inode, offset, data, flags.killPrivileges, this.#owner.kernelKeepsWrites);
    return this.#changed(mode, written);
  }

  /** The kernel knows what its changes of the bytes make of the size, but not that they took setuid and setgid away. */
  #changed<T>(before: number, changed: MaybePromise<T>): MaybePromise<T> {
    return chain(changed, (result) => {
      this.#owner.sizeAgreed(this.#inode, this.#node);
      if (this.#inode.mode !== before) this.#owner.attributesChanged(this.#inode);
      return result;
    });
  }

  #append(data: Buffer, killPrivileges: boolean): MaybePromise<number> {
    const inode = this.#inode;
    const write = (): MaybePromise<number> => this.#tree.write(inode, inode.size, data, killPrivileges);
    const before = appends.get(inode);
    const written = before === undefined ? write() : before.then(write, write);
    if (!(written instanceof Promise)) return written;
    const last = written.finally(() => {
      if (appends.get(inode) === last) appends.delete(inode);
    });
    appends.set(inode, last);
    return last;
  }

  allocate(context: RequestContext, range: AllocateRange, roomBytes: number): MaybePromise<void> {
    const killPrivileges = takesPrivileges(context);
    const keepTimes = this.#owner.kernelKeepsWrites;
    const { mode } = this.#inode;
    const allocated = this.#tree.allocate(this.#inode, range, { killPrivileges, keepTimes, roomBytes });
    return this.#changed(mode, allocated);
  }

  seek(offset: number, what: 'data' | 'hole'): MaybePromise<number> {
    return chain(this.#owner.settle(this.#inode), () => this.#tree.seek(this.#inode, offset, what));
  }

  copyTo(
    context: RequestContext,
    offset: number,
    target: FileHandle,
    targetOffset: number,
    length: number,
  ): MaybePromise<number> {
    if (!(target instanceof WorkingHandle) || target.#tree !== this.#tree)
      throw new ArtifactError('CrossDevice', 'ranges are copied within an artifact only');
    const from = { inode: this.#inode, offset };
    const to = { inode: target.#inode, offset: targetOffset };
    const killPrivileges = takesPrivileges(context);
    const keepTimes = this.#owner.kernelKeepsWrites;
    const { mode } = target.#inode;
    const options = { killPrivileges, keepTimes, signal: context.signal };
    const copied = this.#tree.copyRange(from, to, length, options);
    return target.#changed(mode, copied);
  }

  async sync(): Promise<void> {
    await this.#tree.sync(this.#inode);
    if (this.#writes && this.#owner.kernelKeepsWrites) this.#tellBlocks();
  }

  /** A kernel that keeps writes shows the blocks from before them until it is told, or the file is closed. */
  #tellBlocks(): void {
    const { allocated } = this.#inode;
    if (allocated === this.#allocatedTold) return;
    this.#allocatedTold = allocated;
    this.#owner.attributesChanged(this.#inode);
  }

  release(): void {
    this.#reader?.close();
    this.#reader = null;
    if (this.#executes) this.#countRun(-1);
    this.#tree.closed(this.#inode, this.#writes);
  }

  #countRun(change: number): void {
    runs.set(this.#inode, (runs.get(this.#inode) ?? 0) + change);
  }
}

/** The kernel says it of writes; of other changes of the bytes only that root keeps setuid and setgid is known. */
const takesPrivileges = (context: RequestContext): boolean => context.uid !== 0;
