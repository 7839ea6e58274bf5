import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ArtifactError } from '../model/errors.js';
import type { BlockWriter } from '../util/block-writer.js';
import type { FileCalls } from '../util/file-calls.js';

/** One open /dev/fuse. What each call does is told in native/channel.h. */
export interface NativeChannel {
  start(): number;
  stop(): void;
  read(into: Buffer, from: number, keep: number, ends: Uint32Array): number;
  reply(bytes: number): number;
  replyWith(bytes: number, payload: Uint8Array): number;
  replyRange(...range: RangeArguments): number;
  replyRangeLater(...range: RangeArguments): Promise<number>;
  notify(messages: Buffer): Promise<number>;
  openBacking(file: number): number;
  closeBacking(id: number): number;
  close(): void;
}

/** The request, then which bytes of which file answer it, and what they must be. */
export type RangeArguments = [
  unique: number,
  file: number,
  offset: number,
  length: number,
  crcs: Uint32Array | null,
  checkBytes: number,
  checkedEnd: number,
];

/** The addon. Nothing in it checks arguments: use the classes and functions of this folder. */
export interface Native extends BlockWriter, FileCalls {
  readonly Channel: new (fd: number, head: Buffer, onReadable: () => void) => NativeChannel;
  mount(source: string, target: string, type: string, flags: number, data: string): Promise<number>;
  unmount(target: string, flags: number): Promise<number>;
  /** fsync of a file in a mount of this process, which a killed process does not wait for. 0, or a negative errno. */
  syncFile(path: string): Promise<number>;
  socketPair(): [number, number] | number;
  receiveDescriptor(socket: number): number;
}

/** The same for src/fuse (tests) and dist/fuse (the program). */
const addonPath = fileURLToPath(new URL('../../build/native/artifactfs.node', import.meta.url));

let loaded: Native | undefined;

/** Loads the addon once. Throws `Unsupported` where it is not built or cannot run. */
export function loadNative(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  if (process.platform !== 'linux' || endianness() !== 'LE') {
    throw new ArtifactError(
      'Unsupported',
      `the kernel driver does not run on ${process.platform} ${process.arch}`,
      { hint: 'mount on Linux; put, get, cat, ls and commit work here with --store' },
    );
  }
  try {
    return createRequire(import.meta.url)(addonPath) as Native;
  } catch (error) {
    throw new ArtifactError(
      'Unsupported',
      `the native part of the kernel driver cannot be loaded: ${addonPath}`,
      { hint: 'run scripts/build-native (it needs a C++ compiler, make and python3)' },
      error,
    );
  }
}
