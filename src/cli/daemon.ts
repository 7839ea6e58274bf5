import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorBody, errorFromBody } from '../http/error-body.js';
import type { ErrorBody } from '../http/schemas.js';
import { ArtifactError, toArtifactError } from '../model/errors.js';
import type { VerbContext } from './context.js';
import { exitCodeOf } from './exit-codes.js';

/** What a daemon in the background tells the command that started it, over Node's channel between the two. */
type Report =
  | {
      readonly artifactfs: 'ready';
      readonly mountPoint: string;
      readonly pid: number;
      readonly store: string;
    }
  | { readonly artifactfs: 'failed'; readonly error: ErrorBody };

/** Serves the mount until it is unmounted, or a signal comes. */
export async function mountInForeground(context: VerbContext): Promise<number> {
  const isChild = context.isSet('background-child');
  const { config } = context.loaded;
  const mountPoint = resolve(context.cwd, context.text('mountpoint') ?? '');
  // From here on signals are the daemon's own.
  context.interrupts[Symbol.dispose]();
  const { runDaemon } = await import('../app/daemon.js');
  // The working directory of the terminal must not be kept busy by the daemon.
  process.chdir('/');
  try {
    await runDaemon(
      config,
      { env: context.env, mountPoint, background: isChild, create: context.isSet('create') || 'if-empty' },
      async (app) => {
        const ready = { mountPoint: app.mountPoint ?? mountPoint, pid: process.pid, store: config.store };
        if (isChild) await report({ artifactfs: 'ready', ...ready });
        else if (context.terminal.json) context.terminal.document({ ...ready, state: 'mounted' });
      },
    );
    leaveSoon();
    return 0;
  } catch (error) {
    if (!isChild || !process.connected) throw error;
    const failure = toArtifactError(error);
    await report({ artifactfs: 'failed', error: errorBody(failure) });
    return exitCodeOf(failure.code);
  }
}

/** Requests to a store that is away would keep the process for minutes, and nobody waits for them any more. */
function leaveSoon(): void {
  setTimeout(() => process.exit(), leaveMsMax).unref();
}

const leaveMsMax = 500;

function report(message: Report): Promise<void> {
  return new Promise((done) => {
    if (process.send === undefined) return done();
    process.send(message, () => {
      process.disconnect?.();
      done();
    });
  });
}

/** Starts the daemon as a process of its own and waits until the mount can be used, or until it says why not. */
export async function mountInBackground(context: VerbContext): Promise<number> {
  const { terminal } = context;
  // A setting that is wrong is better said by this process, which the user looks at.
  void context.loaded;
  // What the child writes before its log is open (a crash of Node itself) would be lost without a terminal.
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-mount-'));
  const output = join(directory, 'output');
  const descriptor = openSync(output, 'wx', 0o600);
  try {
    const child = spawn(
      process.execPath,
      [...process.execArgv, mainPath(), ...process.argv.slice(2), '--foreground', '--background-child'],
      { cwd: context.cwd, detached: true, stdio: ['ignore', descriptor, descriptor, 'ipc'] },
    );
    const message = await context.interrupts.during(
      () => child.kill('SIGTERM'),
      () => firstReport(child, output),
    );
    if (message.artifactfs === 'failed') throw errorFromBody(message.error);
    child.disconnect();
    child.unref();
    const { mountPoint, pid, store } = message;
    if (terminal.json) terminal.document({ mountPoint, pid, store, state: 'mounted' });
    else terminal.line(`mounted ${store} at ${mountPoint}`);
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
