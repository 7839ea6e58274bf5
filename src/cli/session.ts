import { type DaemonRecord, runningDaemons } from '../app/registry.js';
import { ControlClient } from '../http/client.js';
import { ArtifactError, isCode } from '../model/errors.js';
import type { VerbContext } from './context.js';

/** A connection to the control API: of a running daemon, or of an app that this process runs for itself. */
export interface Session extends AsyncDisposable {
  readonly client: ControlClient;
  /** null: the app is our own. */
  readonly daemon: DaemonRecord | null;
}

export interface SessionOptions {
  /** Make the workspace where there is none. Who only looks at one makes none by a misspelt name. */
  readonly create?: boolean;
}

export function connectTo(daemon: DaemonRecord): Session {
  const client = new ControlClient(daemon.socketPath);
  return { client, daemon, [Symbol.asyncDispose]: async () => client[Symbol.dispose]() };
}

/**
 * The workspace of --store or the other settings: through the daemon that has it, if one runs; else this process opens it
 * without a mount. Without any setting the only running daemon is meant.
 */
export async function openSession(context: VerbContext, options: SessionOptions = {}): Promise<Session> {
  const daemon = await daemonOfSettings(context);
  return daemon === null ? ownSession(context, options.create ?? false) : connectTo(daemon);
}

/** The daemon that has the workspace which the settings name; null when none has. */
export async function daemonOfSettings(context: VerbContext): Promise<DaemonRecord | null> {
  const { config, origin } = context.loaded;
  const daemons = await runningDaemons(context.env);
  const found = daemons.find((daemon) => daemon.store === config.store);
  if (found !== undefined && !isSeparate(context, found)) return found;
  if (origin.store === 'default' && found === undefined) {
    const [only, ...others] = daemons;
    if (only !== undefined && others.length === 0) return only;
    if (only !== undefined) throw ambiguous(daemons);
  }
  return null;
}

/** Another --state-dir means another stage, even of the same store. */
function isSeparate({ loaded }: VerbContext, daemon: DaemonRecord): boolean {
  return (
    loaded.origin['state-dir'] !== 'default' && !daemon.stateDirectory.startsWith(loaded.config.stateDir)
  );
}

async function ownSession(context: VerbContext, create: boolean): Promise<Session> {
  // Loads SQLite, the store and the server: only commands without a daemon pay for it.
  const { startApp } = await import('../app/start.js');
  const { config, origin } = context.loaded;
  const quiet = origin['log-level'] === 'default' && origin['log-file'] === 'default';
  try {
    const app = await startApp(quiet ? { ...config, logLevel: 'silent' } : config, {
      env: context.env,
      transient: true,
      create: create ? 'if-empty' : false,
    });
    const client = new ControlClient(app.socketPath);
    return {
      client,
      daemon: null,
      [Symbol.asyncDispose]: async () => {
        client[Symbol.dispose]();
        await app[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    if (!create && isCode(error, 'StoreMissing') && config.store.startsWith('file:')) {
      throw new ArtifactError('StoreMissing', `there is no workspace at ${config.store} yet`, {
        hint: 'check --store; mount, create and put make a workspace where nothing is',
      });
    }
    const socketPath = isCode(error, 'Busy') ? error.details['socketPath'] : undefined;
    if (typeof socketPath !== 'string' || (error as ArtifactError).details['transient'] === true) throw error;
    // A daemon has this workspace under another spelling of its URL.
    const client = new ControlClient(socketPath);
    const daemon =
      (await runningDaemons(context.env)).find((record) => record.socketPath === socketPath) ?? null;
    return { client, daemon, [Symbol.asyncDispose]: async () => client[Symbol.dispose]() };
  }
}

function ambiguous(daemons: readonly DaemonRecord[]): ArtifactError {
  return new ArtifactError('Invalid', `${daemons.length} workspaces are mounted: which one is meant?`, {
    hint: 'name a path inside a mount, or give --store',
    paths: daemons.map(({ mountPoint, store }) => `${mountPoint ?? '(not mounted)'}  ${store}`),
  });
}
