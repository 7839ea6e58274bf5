import type { Config } from '../config/options.js';
import { ArtifactError } from '../model/errors.js';
import { deferred } from '../util/deferred.js';
import { type App, type StartOptions, startApp } from './start.js';

/**
 * Runs the app until it is asked to stop: by the API, an unmount from outside, SIGTERM or SIGINT. A second signal ends
 * the process at once: everything acknowledged is on disk at any time. SIGHUP opens the log file again.
 */
export async function runDaemon(
  config: Config,
  options: StartOptions,
  onReady: (app: App) => Promise<void>,
): Promise<void> {
  const signal = deferred<string>();
  let signalled = false;
  const onSignal = (name: NodeJS.Signals) => {
    if (signalled) process.kill(process.pid, 'SIGKILL');
    signalled = true;
    signal.resolve(name);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    await using app = await startApp(config, options);
    const reopen = () => app.log.reopen();
    process.on('SIGHUP', reopen);
    const onBug = (error: unknown) => {
      // State on disk is whole at any time: better to end and say why than to go on in an unknown state.
      app.log.error({ err: error }, 'unexpected failure: the daemon ends');
      process.kill(process.pid, 'SIGABRT');
    };
    process.on('uncaughtException', onBug);
    if (signalled) throw new ArtifactError('Interrupted', 'told to stop while it started');
    await onReady(app);
    const reason = await Promise.race([signal.promise, app.stopRequested]);
    app.log.info({ reason }, 'stopping');
    endAnyhow(app, config);
    process.off('SIGHUP', reopen);
  } finally {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}

/** Beside the time that requests are given. */
const closeMsMax = 15_000;

/** What is acknowledged is on disk at any time: closing that hangs is no reason to stay. */
function endAnyhow(app: App, config: Config): void {
  const end = (): void => {
    app.log.error({}, 'closing takes too long: the daemon ends without it');
    process.exit(1);
  };
  setTimeout(end, 2 * config.stopTimeout * 1000 + closeMsMax).unref();
}
