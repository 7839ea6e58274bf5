import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorFromBody } from '../http/error-body.js';
import type { ErrorBody } from '../http/schemas.js';
import { ArtifactError, toArtifactError } from '../model/errors.js';
import { exitCodeOf } from './exit-codes.js';
import { Interrupts } from './interrupts.js';
import { Terminal } from './terminal.js';
import { singleWriterText } from './text.js';

/** What a daemon in the background tells the command that started it, over Node's channel between the two. */
type Report =
  | {
      readonly artifactfs: 'ready';
      readonly mountPoint: string;
      readonly pid: number;
      readonly store: string;
      readonly isSingleWriter: boolean;
      /** Whether the result is wanted as JSON. */
      readonly json: boolean;
    }
  | { readonly artifactfs: 'failed'; readonly error: ErrorBody };

/** In a daemon that was started in the background: tells once how that went. False: there is nobody to be told. */
export function tellStarter(message: Report): Promise<boolean> {
  return new Promise((done) => {
    if (process.send === undefined || !process.connected) return done(false);
    process.send(message, () => {
      process.disconnect?.();
      done(true);
    });
  });
}

/**
 * Whether a command line starts a daemon in the background, as far as can be told without the parser, which takes as long as
 * all else of that: the daemon parses it, and tells what is wrong with it.
 */
export function startsDaemon(args: readonly string[]): boolean {
  return args[0] === 'mount' && args.every((arg) => !arg.startsWith('-') || isOption(arg));
}

const isOption = (arg: string) => /^--(?!foreground|background-child|help|version|no-)[a-z]/.test(arg);

/** The same command as `startsDaemon` means; answers the exit code. Nothing is thrown. */
export async function startDaemon(args: readonly string[]): Promise<number> {
  const interrupts = new Interrupts();
  try {
    return await mountInBackground(args, { cwd: process.cwd(), interrupts });
  } catch (error) {
    const failure = toArtifactError(error);
    new Terminal({ json: args.includes('--json') }).failure(failure);
    return exitCodeOf(failure.code);
  } finally {
    interrupts[Symbol.dispose]();
  }
}

/** Starts the daemon as a process of its own and waits until the mount can be used, or until it says why not. */
export async function mountInBackground(
  args: readonly string[],
  { cwd, interrupts }: { cwd: string; interrupts: Interrupts },
): Promise<number> {
  // What the child writes before its log is open (a crash of Node itself) would be lost without a terminal.
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-mount-'));
  const output = join(directory, 'output');
  const descriptor = openSync(output, 'wx', 0o600);
  try {
    const child = spawn(
      process.execPath,
      [...process.execArgv, mainPath(), ...args, '--foreground', '--background-child'],
      { cwd, detached: true, stdio: ['ignore', descriptor, descriptor, 'ipc'] },
    );
    const message = await interrupts.during(
      () => child.kill('SIGTERM'),
      () => firstReport(child, output),
    );
    if (message.artifactfs === 'failed') throw errorFromBody(message.error);
    child.disconnect();
    child.unref();
    const { mountPoint, pid, store, isSingleWriter, json } = message;
    const terminal = new Terminal({ json });
    if (json) terminal.document({ mountPoint, pid, store, isSingleWriter, state: 'mounted' });
    else terminal.line(`mounted ${store} at ${mountPoint}`);
    if (!json && isSingleWriter) terminal.line(terminal.style('bold', singleWriterText));
    return 0;
  } finally {
    closeSync(descriptor);
    rmSync(directory, { recursive: true, force: true });
  }
}

function firstReport(child: ChildProcess, output: string): Promise<Report> {
  return new Promise((resolve, reject) => {
    const exited = (code: number | null, signal: NodeJS.Signals | null) => {
      const said = readFileSync(output, 'utf8').trim();
      reject(
        new ArtifactError(
          signal === 'SIGTERM' ? 'Interrupted' : 'Internal',
          `the daemon ended (${signal ?? `exit ${code}`}) before the mount was ready${said === '' ? '' : `:\n${said}`}`,
        ),
      );
    };
    child.once('exit', exited);
    child.once('error', reject);
    child.once('message', (message) => {
      // A daemon that reports a failure ends next: what it wrote is removed by then.
      child.off('exit', exited);
      resolve(message as Report);
    });
  });
}

const mainPath = () => fileURLToPath(new URL('./main.js', import.meta.url));
