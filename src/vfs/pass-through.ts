import { closeSync } from 'node:fs';
import type { LocalObject } from '../content/ports.js';
import type { KernelLocalFiles } from './file-system.js';
import type { KernelNotices } from './kernel-notices.js';

interface Registered {
  readonly kernel: KernelLocalFiles;
  readonly id: number;
  /** The kernel reads the local file no more. */
  readonly release: () => void;
}

/**
 * Who reads the open handles of one file that never changes: we do, for the kernel's page cache, or the kernel by itself,
 * from a local file. It refuses a mixture, so the first handle decides for all that are open at the same time.
 *
 * INVARIANT: while handles are open, all of them were opened with the same id, or all without.
 */
export class PassThrough {
  readonly #notices: KernelNotices;
  readonly #object: LocalObject;
  readonly #size: number;
  #handles = 0;
  #readBytes = 0;
  /** The kernel's word for the local file. Held while handles are open, and let go of with the last. */
  #registered: Registered | undefined;

  constructor(notices: KernelNotices, object: LocalObject, size: number) {
    this.#notices = notices;
    this.#object = object;
    this.#size = size;
  }

  /** One more handle; balanced by `closed`. Answers the id that it is to be opened with. */
  opened(): number | undefined {
    if (this.#handles === 0) this.#registered = this.#register();
    this.#handles++;
    return this.#registered?.id;
  }

  /** So many bytes were read through us. */
  read(bytes: number): void {
    this.#readBytes += bytes;
  }

  closed(): void {
    this.#handles--;
    if (this.#handles > 0) return;
    if (this.#registered === undefined) this.#verify();
    else {
      this.#registered.kernel.close(this.#registered.id);
      this.#registered.release();
    }
    this.#registered = undefined;
  }

  #register(): Registered | undefined {
    const kernel = this.#notices.localFiles;
    if (kernel === undefined) return undefined;
    const descriptor = this.#object.open();
    if (descriptor === undefined) {
      this.#verify();
      return undefined;
    }
    const id = kernel.open(descriptor);
    closeSync(descriptor);
    return id === undefined ? undefined : { kernel, id, release: this.#object.hold() };
  }

  /** Reading all of a file once more pays when most of it is read, and not for who looks at its beginning. */
  #verify(): void {
    if (this.#readBytes * 2 >= this.#size && this.#notices.localFiles !== undefined) this.#object.verify();
  }
}
