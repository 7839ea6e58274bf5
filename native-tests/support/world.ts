import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const projectRoot = join(import.meta.dirname, '..', '..');
const cli = join(projectRoot, 'dist', 'bin', 'main.js');

/** The driver that worlds mount with: `kernel`, or what ARTIFACTFS_TEST_DRIVER says. */
export const driver = process.env['ARTIFACTFS_TEST_DRIVER'] ?? 'kernel';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export interface WorldOptions {
  /** Default: a file store in the world's directory. */
  readonly store?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Runs the daemon and the commands as this user. */
  readonly user?: User;
}

/**
 * A directory with a store, and machines that mount it: each machine has state of its own, a mount point, and the
 * compiled command line. Nothing outside the directory is touched; `close` unmounts and removes it.
 */
export class World implements AsyncDisposable {
  readonly directory: string;
  readonly store: string;
  readonly #options: WorldOptions;
  readonly #machines: Machine[] = [];

  constructor(options: WorldOptions = {}) {
    if (!existsSync(cli)) throw new Error(`${cli} is missing: run npm run build first`);
    this.#options = options;
    this.directory = mkdtempSync(join(tmpdir(), 'artifactfs-world-'));
    chmodSync(this.directory, 0o755);
    this.store = options.store ?? `file://${join(this.directory, 'store')}`;
    if (options.user !== undefined) chownSync(this.directory, options.user.uid, options.user.gid);
  }

  machine(name = `m${this.#machines.length}`, env: Readonly<Record<string, string>> = {}): Machine {
    const machine = new Machine(
      join(this.directory, name),
      this.store,
      { ...this.#options.env, ...env },
      this.#options.user,
    );
    this.#machines.push(machine);
    return machine;
  }

  /** Ends all daemons. */
  async stop(): Promise<void> {
    for (const machine of this.#machines) await machine.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One computer: empty local state at first, a mount point `mnt`, and a daemon when `mount` was called. */
export class Machine {
  readonly directory: string;
  readonly mnt: string;
  readonly store: string;
  readonly env: Record<string, string>;
  readonly #user: User | undefined;
  /** Put before the command line of the daemon: a program that becomes what follows it. */
  startedBy: readonly string[] = [];
  #daemon: ChildProcess | undefined;
  #output = '';
  #cli = cli;

  constructor(directory: string, store: string, env: Readonly<Record<string, string>>, user?: User) {
    this.directory = directory;
    this.store = store;
    this.mnt = join(directory, 'mnt');
    this.#user = user;
    this.env = {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: join(directory, 'home'),
      LANG: 'C.UTF-8',
      XDG_STATE_HOME: join(directory, 'state'),
      XDG_DATA_HOME: join(directory, 'data'),
      XDG_CONFIG_HOME: join(directory, 'config'),
      XDG_RUNTIME_DIR: join(directory, 'run'),
      GIT_CONFIG_NOSYSTEM: '1',
      ARTIFACTFS_DRIVER: driver,
      ...env,
    };
    for (const path of [
      directory,
      this.mnt,
      join(directory, 'home'),
      join(directory, 'run'),
      join(directory, 'tmp'),
    ]) {
      mkdirSync(path, { recursive: true });
      if (user !== undefined) chownSync(path, user.uid, user.gid);
    }
  }

  /** A path inside the mount. */
  path(...parts: string[]): string {
    return join(this.mnt, ...parts);
  }

  get pid(): number {
    if (this.#daemon?.pid === undefined) throw new Error('the daemon is not running');
    return this.#daemon.pid;
  }

  get running(): boolean {
    return this.#daemon !== undefined && this.#daemon.exitCode === null && this.#daemon.signalCode === null;
  }

  /** What the daemon wrote to its terminal so far. */
  get output(): string {
    return this.#output;
  }

  /** The same machine with a copy of the program, in its `program`, that a test may change. */
  withOwnProgram(): this {
    this.withoutAddon();
    symlinkSync(join(projectRoot, 'build'), join(this.directory, 'program', 'build'));
    return this;
  }

  /** The same machine with a copy of the program that has no compiled addon. */
  withoutAddon(): this {
    const copy = join(this.directory, 'program');
    cpSync(join(projectRoot, 'dist'), join(copy, 'dist'), { recursive: true });
    cpSync(join(projectRoot, 'package.json'), join(copy, 'package.json'));
    symlinkSync(join(projectRoot, 'node_modules'), join(copy, 'node_modules'));
    this.#cli = join(copy, 'dist', 'bin', 'main.js');
    return this;
  }

  /** Mounts with a daemon in the foreground, so that the test owns its process; resolves when usable. */
  async mount(...flags: string[]): Promise<void> {
    const command = [process.execPath, this.#cli, 'mount', '--foreground', '--store', this.store, ...flags];
    const [program = process.execPath, ...args] = [...this.startedBy, ...command, this.mnt];
    const daemon = spawn(program, args, {
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...this.#identity(),
    });
    this.#daemon = daemon;
    this.#output = '';
    daemon.stdout.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    daemon.stderr.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    let exited: number | string | null = null;
    daemon.on('exit', (code, signal) => (exited = signal ?? code ?? 'gone'));
    const deadline = Date.now() + 120_000;
    // A mount that a dead daemon left behind looks mounted, too: only the new daemon's word counts.
    while (!this.#output.includes('"msg":"ready"')) {
      if (exited !== null) throw new Error(`mount ended (${exited}): ${this.#output}`);
      if (Date.now() > deadline) throw new Error(`not mounted after 120 s: ${this.#output}`);
      await sleep(10);
    }
  }

  isMounted(): boolean {
    return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mnt} `);
  }

  /** kill -9 of the daemon, then the dead mount is taken away, as a restart would find it or an operator would do. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', cleanMount = true): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    this.#daemon = undefined;
    if (daemon.exitCode === null && daemon.signalCode === null) {
      const gone = new Promise((resolve) => daemon.once('exit', resolve));
      daemon.kill(signal);
      await gone;
    }
    if (cleanMount) await this.#detach();
  }

  /** A clean end, as `artifactfs unmount` does it. Refused, the daemon goes on. */
  async unmount(): Promise<Outcome> {
    const outcome = await this.artifactfs('unmount', this.mnt);
    if (outcome.code !== 0 && this.running && this.isMounted()) return outcome;
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon !== undefined && daemon.exitCode === null && daemon.signalCode === null) {
      await new Promise((resolve) => daemon.once('exit', resolve));
    }
    return outcome;
  }

  /** Forgets everything local: what another machine would know. */
  forget(): void {
    rmSync(join(this.directory, 'state'), { recursive: true, force: true });
  }

  artifactfs(...args: string[]): Promise<Outcome> {
    return this.exec(process.execPath, [this.#cli, ...args], { cwd: this.directory });
  }

  /** A shell command with $MNT and $TMP; throws with its output when it fails. */
  async sh(script: string, options: { cwd?: string; timeoutMs?: number } = {}): Promise<string> {
    const outcome = await this.try(script, options);
    if (outcome.code !== 0)
      throw new Error(
        `${script}\nexit ${outcome.code}\n${outcome.stdout}\n${outcome.stderr}\ndaemon: ${this.#output}`,
      );
    return outcome.stdout;
  }

  /** The same, without throwing. */
  try(script: string, options: { cwd?: string; timeoutMs?: number } = {}): Promise<Outcome> {
    return this.exec('/bin/bash', ['-c', `set -e -o pipefail\n${script}`], {
      cwd: this.directory,
      ...options,
    });
  }

  async exec(
    file: string,
    args: readonly string[],
    options: { cwd?: string; timeoutMs?: number } = {},
  ): Promise<Outcome> {
    try {
      const { stdout, stderr } = await run(file, args, {
        env: { ...this.env, MNT: this.mnt, TMP: join(this.directory, 'tmp') },
        cwd: options.cwd ?? this.directory,
        timeout: options.timeoutMs ?? 120_000,
        maxBuffer: 64 << 20,
        ...this.#identity(),
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const failure = error as { code?: unknown; stdout?: string; stderr?: string; message: string };
      if (typeof failure.code !== 'number') throw error;
      return { code: failure.code, stdout: failure.stdout ?? '', stderr: failure.stderr ?? '' };
    }
  }

  async stop(): Promise<void> {
    await this.kill('SIGTERM');
  }

  async #detach(): Promise<void> {
    for (let i = 0; i < 20 && this.isMounted(); i++) {
      await run('umount', ['-l', this.mnt]).catch(() => undefined);
      if (this.isMounted()) await sleep(20);
    }
  }

  #identity(): { uid?: number; gid?: number } {
    return this.#user === undefined ? {} : { uid: this.#user.uid, gid: this.#user.gid };
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
