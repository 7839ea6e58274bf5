import { resolve } from 'node:path';
import { tellStarter } from './background.js';
import type { VerbContext } from './context.js';

/** Serves the mount until it is unmounted, or a signal comes. */
export async function mountInForeground(context: VerbContext): Promise<number> {
  const isChild = context.isSet('background-child');
  const { json } = context.terminal;
  const { config } = context.loaded;
  const mountPoint = resolve(context.cwd, context.text('mountpoint') ?? '');
  // From here on signals are the daemon's own.
  context.interrupts[Symbol.dispose]();
  const { runDaemon } = await import('../app/daemon.js');
  // The working directory of the terminal must not be kept busy by the daemon.
  process.chdir('/');
  await runDaemon(
    config,
    { env: context.env, mountPoint, background: isChild, create: context.isSet('create') || 'if-empty' },
    async (app) => {
      const { isSingleWriter } = app;
      const ready = {
        mountPoint: app.mountPoint ?? mountPoint,
        pid: process.pid,
        store: config.store,
        isSingleWriter,
      };
      if (isChild) await tellStarter({ artifactfs: 'ready', ...ready, json });
      else if (json) context.terminal.document({ ...ready, state: 'mounted' });
    },
  );
  leaveSoon();
  return 0;
}

/** Requests to a store that is away would keep the process for minutes, and nobody waits for them any more. */
function leaveSoon(): void {
  setTimeout(() => process.exit(), leaveMsMax).unref();
}

const leaveMsMax = 500;
