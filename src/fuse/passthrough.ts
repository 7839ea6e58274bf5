import { constants } from 'node:os';
import type { KernelLocalFiles } from '../vfs/file-system.js';
import type { NativeChannel } from './native.js';

/**
 * FUSE_PASSTHROUGH: registers local files with the kernel, which then reads them itself. It wants CAP_SYS_ADMIN outside of
 * every user namespace, and a file system that is no layer over another (overlayfs); both stay as they are while the
 * mount lives, so what is refused once is not tried again.
 */
export class Passthrough implements KernelLocalFiles {
  readonly #channel: Pick<NativeChannel, 'openBacking' | 'closeBacking'>;
  #isRefused = false;

  constructor(channel: Pick<NativeChannel, 'openBacking' | 'closeBacking'>) {
    this.#channel = channel;
  }

  get isRefused(): boolean {
    return this.#isRefused;
  }

  open(descriptor: number): number | undefined {
    if (this.#isRefused) return undefined;
    const id = this.#channel.openBacking(descriptor);
    if (id > 0) return id;
    this.#isRefused = !passing.has(-id);
    return undefined;
  }

  close(id: number): void {
    this.#channel.closeBacking(id);
  }
}

/** Another time it may work. */
const passing: ReadonlySet<number> = new Set([constants.errno.ENOMEM, constants.errno.ENOSPC]);
