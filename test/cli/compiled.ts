import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const build = join(root, 'build/test-cli');
const main = join(build, 'dist/bin/main.js');
/** The modules of the same before they are bundled: one for each source. */
export const modules = join(build, 'dist/cli');

/** Takes every processor for half a minute, when nothing else runs. */
export const compileMsMax = 900_000;

/** Compiles the program as it is released, when a source is newer than what was compiled before. */
export async function compile(): Promise<void> {
  const stamp = join(build, 'stamp');
  mkdirSync(build, { recursive: true });
  const lock = join(build, 'lock');
  while (!tryLock(lock)) await new Promise((again) => setTimeout(again, 200));
  try {
    if (existsSync(stamp) && newest(join(root, 'src')) <= statSync(stamp).mtimeMs) return;
    const began = new Date();
    rmSync(join(build, 'dist'), { recursive: true, force: true });
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const output = join(build, 'dist');
    // It compiles also what has wrong types; that is for the type check to say.
    spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', output], { cwd: root });
    const bundler = join(root, 'node_modules/rolldown/bin/cli.mjs');
    spawnSync(process.execPath, [bundler, '-c', join(root, 'rolldown.config.mjs')], { cwd: build });
    if (!existsSync(main)) throw new Error(`${main} was not compiled`);
    copyFileSync(join(root, 'package.json'), join(build, 'package.json'));
    if (!existsSync(join(build, 'build'))) symlinkSync(join(root, 'build'), join(build, 'build'));
    writeFileSync(stamp, began.toISOString());
    // Sources that change while they are compiled are compiled again next time.
    execFileSync('touch', ['-d', began.toISOString(), stamp]);
  } finally {
    rmdirSync(lock);
  }
}

/** Two test files may start together; a lock that a killed run left is taken after a while. */
function tryLock(path: string): boolean {
  try {
    mkdirSync(path);
    return true;
  } catch {
    if (existsSync(path) && Date.now() - statSync(path).mtimeMs > compileMsMax) rmdirSync(path);
    return false;
  }
}

function newest(directory: string): number {
  return Math.max(
    0,
    ...readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs),
  );
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A home of its own, and the compiled command line in it. */
export class Home implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'artifactfs-cli-'));
  readonly env: Record<string, string>;

  constructor(env: Record<string, string> = {}) {
    this.env = {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: this.directory,
      LANG: 'C.UTF-8',
      ...env,
    };
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  run(...args: string[]): Promise<Outcome> {
    return this.runWith({}, ...args);
  }

  runWith(
    options: { input?: string | Buffer; cwd?: string; env?: Record<string, string> },
    ...args: string[]
  ): Promise<Outcome> {
    return new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        [main, ...args],
        {
          cwd: options.cwd ?? this.directory,
          env: { ...this.env, ...options.env },
          maxBuffer: 64 << 20,
          encoding: 'utf8',
        },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
          resolve({ code, stdout, stderr });
        },
      );
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(options.input ?? '');
    });
  }

  start(...args: string[]): ChildProcess {
    return spawn(process.execPath, [main, ...args], { cwd: this.directory, env: this.env });
  }

  /** What a shell makes of a command line in which $A is the program. */
  shell(script: string): Promise<Outcome> {
    return new Promise((resolve) => {
      execFile(
        '/bin/bash',
        ['-c', script],
        { cwd: this.directory, env: { ...this.env, A: `${process.execPath} ${main}` } },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
          resolve({ code, stdout, stderr });
        },
      );
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
