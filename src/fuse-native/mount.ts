import { type FileHandle, open } from 'node:fs/promises';
import { checkUserAllowOther, proveDevice } from '../fuse/device.js';
import { tuneKernel } from '../fuse/kernel-settings.js';
import { type CheckedMountOptions, checkMountOptions, type MountOptions } from '../fuse/mount-options.js';
import { prepareMountPoint } from '../fuse/mount-point.js';
import { findMount } from '../fuse/mount-table.js';
import type { EndReason, MountedFileSystem } from '../fuse/mounted-file-system.js';
import { type UnmountOptions, unmountPath } from '../fuse/unmount.js';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { deferred } from '../util/deferred.js';
import { within } from '../util/within.js';
import type { FileSystem } from '../vfs/file-system.js';
import {
  type Binding,
  bindingHandlers,
  bindingTextBytesMax,
  bindingVersion,
  type Handler,
  loadBinding,
  type Signal,
} from './binding.js';
import { WaitingNotifier } from './notifier.js';
import { attributeOperations } from './operations/attributes.js';
import { directoryOperations } from './operations/directories.js';
import { fileOperations } from './operations/files.js';
import { nameOperations } from './operations/names.js';
import type { Workbench } from './operations/operation.js';
import { xattrOperations } from './operations/xattrs.js';
import { Session } from './session.js';
import { MountWatch } from './watch.js';

/**
 * Mounts a file system with the package fuse-native: where our own driver does not run. It is slower, and libfuse 2.9
 * cannot do everything (doc/SEMANTICS.md, "With --driver fuse-native"). The same contract as `mountFileSystem` of
 * fuse/mount.ts.
 */
export async function mountWithFuseNative(
  fileSystem: FileSystem,
  options: MountOptions,
): Promise<MountedFileSystem> {
  const binding = loadBinding();
  const checked = checkMountOptions(options, process.geteuid?.() === 0);
  const { path, recovered } = await prepareMountPoint(checked.mountPoint, checked.allowNonEmpty);
  if (process.platform === 'linux') proveDevice();
  if (checked.allowOther) await checkUserAllowOther();
  const session = new Session(fileSystem, checked);
  const library = new Library(binding, session, path, mountOptionsOf(checked));
  const watch = await MountWatch.around(path, () => library.mount());
  const notifier = new WaitingNotifier(session.paths, limits.fuseNativeEntryMs);
  fileSystem.attach(notifier);
  return mounted(session, library, watch, {
    path,
    recovered,
    notifier,
    readAheadBytes: await tuneKernel(path, checked.readAheadBytes),
    connection: await Connection.of(path),
    endTimeoutMs: checked.endTimeoutMs,
  });
}

/** Options of libfuse 2.9 and of mount(8). The kernel checks rights by mode and owner. */
function mountOptionsOf(options: CheckedMountOptions): string {
  const list = [
    `fsname=${options.fsName}`,
    'subtype=artifactfs',
    'default_permissions',
    'use_ino',
    'big_writes',
    `entry_timeout=${limits.fuseNativeEntryMs / 1000}`,
    'negative_timeout=0',
    // Nobody could tell the kernel of changes, and each name of a hard-linked file has attributes of its own there.
    'attr_timeout=0',
  ];
  if (options.allowOther) list.push('allow_other');
  if (options.allowNonEmpty) list.push('nonempty');
  if (options.readOnly) list.push('ro');
  if (options.allowSetuid) list.push('suid');
  if (options.allowDevices) list.push('dev');
  return `-o${list.join(',')}`;
}

/** Threads write into this memory until libfuse is done with the mount. */
const threadsInUse = new Set<Buffer>();

/** One mount of libfuse. */
class Library {
  readonly #binding: Binding;
  readonly #path: string;
  readonly #options: string;
  readonly #thread: Buffer;
  readonly #handlers: Handler[] = [];
  readonly #implemented = new Uint32Array(bindingHandlers);
  readonly #started = deferred<void>();

  constructor(binding: Binding, session: Session, path: string, options: string) {
    this.#binding = binding;
    this.#path = path;
    this.#options = options;
    this.#thread = Buffer.alloc(binding.sizeof_fuse_thread_t);
    // The native part of this version has what we name.
    const signal: Workbench['signal'] = (operation) => binding[`fuse_native_signal_${operation}`] as Signal;
    const bench: Workbench = { session, signal };
    const init = signal('init');
    const handlers = {
      ...attributeOperations(bench),
      ...nameOperations(bench),
      ...fileOperations(bench),
      ...directoryOperations(bench),
      ...xattrOperations(bench),
      init: (task: Buffer) => {
        this.#started.resolve();
        init(task, 0);
      },
    };
    for (const [name, handler] of Object.entries(handlers)) {
      const opcode = binding[`op_${name}`] as number;
      this.#handlers[opcode] = handler;
      this.#implemented[opcode] = 1;
    }
    for (const text of [path, options]) {
      if (Buffer.byteLength(text) < bindingTextBytesMax) continue;
      throw new ArtifactError(
        'NameTooLong',
        `${text.slice(0, 40)}...: over ${bindingTextBytesMax - 1} bytes`,
      );
    }
  }

  /** Resolves when the kernel may use it. */
  async mount(): Promise<void> {
    threadsInUse.add(this.#thread);
    try {
      this.#binding.fuse_native_mount(
        this.#path,
        this.#options,
        this.#thread,
        {},
        (bytes) => Buffer.alloc(bytes),
        this.#handlers,
        this.#implemented,
      );
    } catch (error) {
      threadsInUse.delete(this.#thread);
      throw new ArtifactError(
        'NotPermitted',
        `libfuse could not mount at ${this.#path}`,
        { hint: 'it says why on standard error; ordinary users need fusermount: apt install fuse3' },
        error,
      );
    }
    await this.#started.promise;
  }

  /** Lets the process end. */
  release(): void {
    this.#binding.fuse_native_unmount(this.#path, this.#thread);
  }

  ended(): void {
    threadsInUse.delete(this.#thread);
  }
}

function mounted(
  session: Session,
  library: Library,
  watch: MountWatch,
  facts: {
    readonly path: string;
    readonly recovered: boolean;
    readonly notifier: WaitingNotifier;
    readonly readAheadBytes: number;
    readonly connection: Connection | undefined;
    readonly endTimeoutMs: number;
  },
): MountedFileSystem {
  const { path, recovered, notifier, readAheadBytes, connection, endTimeoutMs } = facts;
  const closed = watch.over().then(async (): Promise<EndReason> => {
    library.release();
    await connection?.close();
    return 'unmounted';
  });
  const unmount = async (options: UnmountOptions = {}): Promise<void> => {
    await unmountPath(path, options);
    watch.hurry();
    if (!options.lazy) await closed;
  };
  return {
    mountPoint: path,
    recovered,
    protocol: `libfuse 2.9 (fuse-native ${bindingVersion})`,
    readAheadBytes,
    notifier,
    closed,
    unmount,
    requestCounts: () => ({ ...session.counts }),
    pending: () => session.pending,
    // libfuse's threads have a buffer each for one request.
    requestMemoryBytes: () => 0,
    [Symbol.asyncDispose]: async () => {
      await unmount({ lazy: true }).catch(() => {}); // unmounted already
      session.abort('the mount is over');
      await connection?.abort();
      await within(Math.max(endTimeoutMs, limits.mountAnswerMsMax), closed);
      watch.giveUp();
      await closed;
    },
  };
}

/**
 * What ends a connection to the kernel, under /sys/fs/fuse where that is mounted: opened while the mount is there, since
 * its number is another mount's soon after it.
 */
class Connection {
  readonly #control: FileHandle;

  private constructor(control: FileHandle) {
    this.#control = control;
  }

  /** Undefined where there is none, or not for us. */
  static async of(path: string): Promise<Connection | undefined> {
    const number = (await findMount(path))?.device.split(':')[1];
    const control = await open(`/sys/fs/fuse/connections/${number}/abort`, 'w').catch(() => undefined);
    return control === undefined ? undefined : new Connection(control);
  }

  /** Files that are open in a mount without a name keep it alive; here they get ENOTCONN. Nothing when it is over. */
  async abort(): Promise<void> {
    await this.#control.write('1').catch(() => {}); // closed, or gone
  }

  async close(): Promise<void> {
    await this.#control.close().catch(() => {});
  }
}
