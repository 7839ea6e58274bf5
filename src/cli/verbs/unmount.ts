import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonRecord, runningDaemons } from '../../app/registry.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import { within } from '../../util/within.js';
import type { VerbContext } from '../context.js';
import { connectTo } from '../session.js';
import type { Verb } from '../verb.js';

/** A daemon that is asked to stop waits up to its --stop-timeout; longer than the longest of these nothing takes. */
const stopMsMax = 3_700_000;

export const unmount: Verb = {
  command: 'unmount <path>',
  describe: 'unmount a workspace and end its daemon; what is staged stays',
  examples: [
    ['artifactfs unmount ~/artifacts', 'fails when files in it are open'],
    ['artifactfs unmount --force ~/artifacts', 'also then, and when the daemon hangs'],
  ],
  settings: 'none',
  build: (parts) =>
    parts.positional('path', { type: 'string', describe: 'the mount point' }).option('force', {
      type: 'boolean',
      describe: 'although files are open or the daemon does not answer',
    }),
  async run(context) {
    const given = context.text('path') ?? '';
    const force = context.isSet('force');
    const path = resolve(context.cwd, given);
    const daemon = await daemonOf(context, path);
    if (daemon === undefined) await removeOrphan(path, force);
    else await stop(context, daemon, force);
    if (context.terminal.json)
      context.terminal.document({ mountPoint: daemon?.mountPoint ?? path, pid: daemon?.pid ?? null });
    else context.terminal.line(`unmounted ${daemon?.mountPoint ?? path}`);
    return 0;
  },
};

/** By text first: the mount may hang. */
async function daemonOf(context: VerbContext, path: string): Promise<DaemonRecord | undefined> {
  const daemons = await runningDaemons(context.env);
  const found = daemons.find((daemon) => daemon.mountPoint === path);
  if (found !== undefined) return found;
  const real = await within(2_000, realpath(path)).catch(() => undefined);
  return daemons.find((daemon) => daemon.mountPoint === real);
}

async function stop(context: VerbContext, daemon: DaemonRecord, force: boolean): Promise<void> {
  await using session = connectTo(daemon);
  try {
    // Stopping may take its time, but an answer to this may not.
    await session.client.status();
    await session.client.shutdown(force);
  } catch (error) {
    if (isCode(error, 'TimedOut') && force) {
      process.kill(daemon.pid, 'SIGKILL');
      if (daemon.mountPoint !== null) await removeOrphan(daemon.mountPoint, true);
      return;
    }
    if (!isCode(error, 'NotFound')) throw error;
  }
  const deadline = Date.now() + stopMsMax;
  // Its record is the last thing that it takes away.
  while ((await runningDaemons(context.env)).some(({ pid }) => pid === daemon.pid)) {
    if (Date.now() > deadline) throw new ArtifactError('TimedOut', `process ${daemon.pid} does not end`);
    await sleep(20);
  }
}

/** A mount of ours without a daemon that we know. */
async function removeOrphan(path: string, force: boolean): Promise<void> {
  const { removeMount } = await import('../../app/orphan.js');
  await removeMount(path, force);
}
