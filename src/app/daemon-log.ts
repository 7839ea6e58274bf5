import type { Config } from '../config/options.js';
import { createLogger, type LogFields, type RootLogger } from '../log/logger.js';
import type { StoreLogger } from '../store/wrap/log.js';

/**
 * The log, which may be wanted before its place is known: daemon.log lies in the state directory, whose name is in the
 * store. Lines about the store wait until then.
 */
export class EarlyLog implements StoreLogger {
  #logger: RootLogger | undefined;
  readonly #waiting: [LogFields, string][] = [];

  debug(fields: Record<string, unknown>, message: string): void {
    if (this.#logger === undefined) this.#waiting.push([fields, message]);
    else this.#logger.debug(fields, message);
  }

  open(config: Config, place: string | number): RootLogger {
    const logger = createLogger({
      level: config.logLevel,
      format: config.logFormat,
      destination: config.logFile ?? place,
    });
    this.#logger = logger;
    for (const [fields, message] of this.#waiting.splice(0)) logger.debug(fields, message);
    return logger;
  }
}
