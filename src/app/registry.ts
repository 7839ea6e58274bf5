import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join, sep } from 'node:path';
import { type Environment, stateHome } from '../config/directories.js';

/** A running daemon, or a command that works on a workspace without one. */
export interface DaemonRecord {
  readonly pid: number;
  readonly startedMs: number;
  readonly version: string;
  readonly store: string;
  readonly workspaceId: string;
  readonly stateDirectory: string;
  readonly socketPath: string;
  readonly mountPoint: string | null;
  /** A command's own, gone in a moment: others wait for it instead of talking to it. */
  readonly transient: boolean;
}

/**
 * Where daemons are found whatever their --state-dir is: one file each. Not in $XDG_RUNTIME_DIR, because cron jobs and
 * services often run without it and must find the same daemons.
 */
export const registryDirectory = (env: Environment) => join(stateHome(env), 'artifactfs', 'daemons');

export async function register(env: Environment, record: DaemonRecord): Promise<void> {
  const directory = registryDirectory(env);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeRecord(recordPath(env, record), record);
}

export async function unregister(env: Environment, record: DaemonRecord): Promise<void> {
  await rm(recordPath(env, record), { force: true });
}

export async function writeRecord(path: string, record: DaemonRecord): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, path);
}

/** undefined when there is none, or when it was cut off by a crash. */
export async function readRecord(path: string): Promise<DaemonRecord | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as DaemonRecord;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** All daemons whose socket answers, by mount point. Files of dead ones are removed. */
export async function runningDaemons(env: Environment): Promise<DaemonRecord[]> {
  const directory = registryDirectory(env);
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const records = await Promise.all(
    names
      .filter((name) => name.endsWith('.json'))
      .map(async (name) => {
        const path = join(directory, name);
        const record = await readRecord(path);
        if (record !== undefined && (await listens(record.socketPath))) return record;
        await rm(path, { force: true });
        return undefined;
      }),
  );
  return records.filter((record) => record !== undefined).sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

const order = ({ mountPoint, store }: DaemonRecord) => `${mountPoint ?? ''}\n${store}`;

/** The daemon whose mount holds this absolute path: the longest mount point wins. Only compares text. */
export function daemonAt(daemons: readonly DaemonRecord[], path: string): DaemonRecord | undefined {
  let best: DaemonRecord | undefined;
  for (const daemon of daemons) {
    const { mountPoint } = daemon;
    if (mountPoint === null || !isInside(path, mountPoint)) continue;
    if (best === undefined || mountPoint.length > (best.mountPoint?.length ?? 0)) best = daemon;
  }
  return best;
}

const isInside = (path: string, directory: string) =>
  path === directory || path.startsWith(directory.endsWith(sep) ? directory : `${directory}${sep}`);

/** True also for a daemon that is stuck: the kernel accepts for it. */
function listens(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Refused and absent mean dead; anything else (EACCES, EAGAIN) means that somebody is there.
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

function recordPath(env: Environment, { workspaceId, stateDirectory }: DaemonRecord): string {
  const hash = createHash('sha256').update(stateDirectory).digest('hex').slice(0, 8);
  return join(registryDirectory(env), `${workspaceId}-${hash}.json`);
}
