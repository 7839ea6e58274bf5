import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { ArtifactError } from '../model/errors.js';

/**
 * The native part of the package `fuse-native`, which is libfuse 2.9 with each operation handed to the event loop. Its
 * JavaScript part is not used: that gives a handler too little (no handle in `fgetattr`, no size in `getxattr`).
 *
 * A thread of libfuse calls `handlers[op](task, op, ...values)` and sleeps until `fuse_native_signal_NAME(task, result,
 * ...values)` is called: exactly once, with all values also when `result` is an error, or it sleeps for ever.
 */
export interface Binding {
  readonly sizeof_fuse_thread_t: number;
  /** Mounts at once, by mount(2) or fusermount; throws `fuse failed`, and libfuse says why on standard error. */
  fuse_native_mount(
    mountPoint: string,
    options: string,
    thread: Buffer,
    self: object,
    malloc: (bytes: number) => Buffer,
    handlers: readonly Handler[],
    implemented: Uint32Array,
  ): void;
  /** Lets the process end though the thread's handle is there; unmounts nothing. */
  fuse_native_unmount(mountPoint: string, thread: Buffer): void;
  readonly [opcode: `op_${string}`]: number;
  readonly [signal: `fuse_native_signal_${string}`]: Signal;
}

export type Handler = (task: Buffer, opcode: number, ...values: never[]) => void;
export type Signal = (task: Buffer, result: number, ...values: unknown[]) => void;

export const bindingVersion = '2.2.6';
/** Length of the C strings that mount point and options are copied to, with their NUL. */
export const bindingTextBytesMax = 1024;
/** Handlers that the native part has room for. */
export const bindingHandlers = 35;

let loaded: Binding | undefined;

/**
 * Loads it once, when somebody wants it: it is an optional dependency, and a broken one is nobody's concern before.
 * Throws `Unsupported`.
 */
export function loadBinding(): Binding {
  loaded ??= load();
  return loaded;
}

function load(): Binding {
  const require = createRequire(import.meta.url);
  try {
    const packageFile = require.resolve('fuse-native/package.json');
    const folder = dirname(packageFile);
    if (process.platform === 'linux') {
      keepLoaded(join(folder, 'prebuilds', `${process.platform}-${process.arch}`, 'libfuse.so'));
    }
    const find = createRequire(packageFile)('node-gyp-build') as (folder: string) => Binding;
    return find(folder);
  } catch (error) {
    const why = (error as Error).message.split('\n', 1)[0] ?? '';
    throw new ArtifactError(
      'Unsupported',
      `the driver fuse-native cannot be loaded: ${why}`,
      {
        hint: `run: npm install --no-save fuse-native@${bindingVersion} (it needs a compiler where it is not prebuilt)`,
      },
      error,
    );
  }
}

/** glibc's flag for a library that stays, whatever comes. */
const noDelete = 0x1000;

/**
 * The prebuilt addon names the libfuse that it needs but not the folder where the package keeps it. A library of the
 * same name that is there already is taken; where it is not, the system may have one.
 */
function keepLoaded(library: string): void {
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, library, RTLD_NOW | RTLD_GLOBAL | noDelete);
  } catch {
    // Always: a library that is no addon stays loaded all the same.
  }
}
