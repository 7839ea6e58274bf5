import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RequestFailure } from '../../src/fuse/driver.js';
import { mountFileSystem } from '../../src/fuse/mount.js';
import type { MountOptions } from '../../src/fuse/mount-options.js';
import type { MountedFileSystem } from '../../src/fuse/mounted-file-system.js';
import { MemoryFileSystem, type MemoryFileSystemOptions } from '../../test/support/memory-file-system.js';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Identity {
  readonly uid?: number;
  readonly gid?: number;
}

export interface Running {
  readonly pid: number;
  readonly outcome: Promise<Outcome>;
}

/**
 * Starts a shell script. A process that serves a mount waits for itself when it calls into it synchronously, and also
 * when it starts a program with `cwd` in it, or with a file in it open: Node waits until the child runs, and the child
 * first changes its directory and closes (flushes) its copies of open files.
 */
function start(script: string, identity: Identity = {}): Running {
  let settle: (outcome: Outcome) => void = () => {};
  const outcome = new Promise<Outcome>((resolve) => {
    settle = resolve;
  });
  const child = execFile(
    '/bin/bash',
    ['-c', script],
    { ...identity, cwd: '/', maxBuffer: 64 << 20, env: { ...process.env, LC_ALL: 'C.UTF-8' } },
    (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 255;
      settle({ code, stdout, stderr });
    },
  );
  return { pid: child.pid ?? 0, outcome };
}

export const shell = (script: string, identity: Identity = {}): Promise<Outcome> =>
  start(script, identity).outcome;

/** A memory file system mounted for real in a directory of its own, served by this process. */
export class Place implements AsyncDisposable {
  readonly directory: string;
  readonly mountPoint: string;
  readonly fileSystem: MemoryFileSystem;
  readonly failures: RequestFailure[] = [];
  mounted: MountedFileSystem | undefined;

  private constructor(directory: string, options: MemoryFileSystemOptions) {
    this.directory = directory;
    this.mountPoint = join(directory, 'mnt');
    this.fileSystem = new MemoryFileSystem(options);
  }

  /** A directory with an empty mount point, open to other users. */
  static async make(options: MemoryFileSystemOptions = {}): Promise<Place> {
    if (!existsSync('/dev/fuse')) throw new Error('there is no /dev/fuse: these tests cannot run here');
    const place = new Place(await mkdtemp(join(tmpdir(), 'artifactfs-driver-')), options);
    await chmod(place.directory, 0o755);
    await mkdir(place.mountPoint);
    return place;
  }

  static async mount(
    options: Partial<MountOptions> = {},
    fileSystemOptions: MemoryFileSystemOptions = {},
  ): Promise<Place> {
    const place = await Place.make(fileSystemOptions);
    await place.mount(options);
    return place;
  }

  async mount(options: Partial<MountOptions> = {}): Promise<MountedFileSystem> {
    this.mounted = await mountFileSystem(this.fileSystem, {
      mountPoint: this.mountPoint,
      onError: (failure) => this.failures.push(failure),
      ...options,
    });
    return this.mounted;
  }

  /** Starts a shell script in the mount; `exec` in it makes `pid` that of the program. */
  start(script: string, identity: Identity = {}): Running {
    return start(`cd '${this.mountPoint}' && set -e\n${script}`, identity);
  }

  /** A shell script that starts in the mount, without throwing. */
  try(script: string, identity: Identity = {}): Promise<Outcome> {
    return this.start(script, identity).outcome;
  }

  /** The same; throws with its output when it fails. */
  async sh(script: string, identity: Identity = {}): Promise<string> {
    const outcome = await this.try(script, identity);
    if (outcome.code === 0) return outcome.stdout.trimEnd();
    throw new Error(`${script}\nexit ${outcome.code}\n${outcome.stdout}\n${outcome.stderr}`);
  }

  /** A Python script that starts in the mount. */
  python(script: string): Promise<string> {
    return this.sh(`python3 - <<'PYTHON'\n${script}\nPYTHON`);
  }

  async isMounted(): Promise<boolean> {
    return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${this.mountPoint} `);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mounted?.[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}
