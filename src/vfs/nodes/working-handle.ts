import type { Inode, WorkingTree } from '../../artifacts/ports.js';
import type { FileReader } from '../../content/ports.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { RequestContext } from '../file-system.js';
import type { FileHandle } from '../node.js';
import { O_APPEND, wantsWrite } from '../open-flags.js';

/** The last append under way on an inode, so that the next one starts where it ended. */
const appends = new WeakMap<Inode, Promise<unknown>>();

/** An open file of the working view. It keeps the inode and its bytes until released. */
export class WorkingHandle implements FileHandle {
  // close has nothing to tell: every write has answered for itself.
  readonly reply = { keepCache: true, noFlush: true };
  readonly #tree: WorkingTree;
  readonly #inode: Inode;
  readonly #writes: boolean;
  readonly #appends: boolean;
  #reader: FileReader | null = null;

  constructor(tree: WorkingTree, inode: Inode, flags: number) {
    this.#tree = tree;
    this.#inode = inode;
    this.#writes = wantsWrite(flags);
    this.#appends = (flags & O_APPEND) !== 0;
    tree.retain(inode);
    if (this.#writes) tree.opened(inode);
  }

  read(context: RequestContext, offset: number, length: number): MaybePromise<Buffer> {
    // Also through a handle for writing: the kernel fills the page around a partial write.
    this.#reader ??= this.#tree.open(this.#inode);
    return this.#reader.read(offset, length, context.signal);
  }

  write(
    _context: RequestContext,
    offset: number,
    data: Buffer,
    flags: { killPrivileges: boolean; fromCache?: boolean },
  ): MaybePromise<number> {
    // Only a write that is certainly the program's own may be moved to the end: the kernel sends mapped pages through
    // any handle of the file, with offsets that must be kept.
    if (this.#appends && flags.fromCache === false) return this.#append(data, flags.killPrivileges);
    return this.#tree.write(this.#inode, offset, data, flags.killPrivileges);
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

  flush(): void {}

  sync(): Promise<void> {
    return this.#tree.sync(this.#inode);
  }

  release(): void {
    this.#reader?.close();
    this.#reader = null;
    if (this.#writes) this.#tree.closed(this.#inode);
    this.#tree.release(this.#inode);
  }
}
