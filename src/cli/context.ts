import { type LoadedConfig, loadConfig } from '../config/load.js';
import { ArtifactError } from '../model/errors.js';
import { restoreDashes } from './arguments.js';
import { Terminal } from './terminal.js';

/** Values of flags as yargs gives them, by their long names. */
export type Flags = Readonly<Record<string, unknown>>;

/** What every verb is given. */
export class VerbContext {
  readonly terminal: Terminal;
  readonly env = process.env;
  readonly cwd: string;
  readonly flags: Flags;
  readonly interrupts: Interrupts;
  #loaded: LoadedConfig | undefined;

  constructor(flags: Flags, interrupts: Interrupts) {
    this.terminal = new Terminal({ json: flags['json'] === true });
    this.cwd = process.cwd();
    this.flags = flags;
    this.interrupts = interrupts;
  }

  /** Read when it is first wanted: `unmount` must work whatever a configuration file says. */
  get loaded(): LoadedConfig {
    this.#loaded ??= loadConfig({
      flags: this.flags,
      env: this.env,
      cwd: this.cwd,
      configFile: this.flags['config'] as string | undefined,
    });
    return this.#loaded;
  }

  text(name: string): string | undefined {
    const value = this.flags[name] as string | undefined;
    return value === undefined ? undefined : restoreDashes(value);
  }

  texts(name: string): readonly string[] {
    return ((this.flags[name] as readonly string[] | undefined) ?? []).map(restoreDashes);
  }

  isSet(name: string): boolean {
    return this.flags[name] === true;
  }
}

/**
 * Ctrl-C and SIGTERM. The first one asks what is running to end and to say what happened; a second one ends the process
 * at once.
 */
export class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  #handler: (() => void) | undefined;
  readonly #onSignal = () => {
    this[Symbol.dispose]();
    if (this.#handler !== undefined) this.#handler();
    else this.#controller.abort(new ArtifactError('Interrupted', 'interrupted'));
  };

  constructor() {
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  /** While `body` runs, a signal calls `handler` instead of ending the verb. */
  async during<T>(handler: () => void, body: () => Promise<T>): Promise<T> {
    this.#handler = handler;
    try {
      return await body();
    } finally {
      this.#handler = undefined;
    }
  }

  /** Runs a verb until it is done or interrupted. */
  async race<T>(body: Promise<T>): Promise<T> {
    const { signal } = this.#controller;
    if (signal.aborted) throw signal.reason;
    return await new Promise<T>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      body.then(resolve, reject);
    });
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#onSignal);
    process.off('SIGTERM', this.#onSignal);
  }
}
