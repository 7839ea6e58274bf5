import { type LoadedConfig, loadConfig } from '../config/load.js';
import { restoreDashes } from './arguments.js';
import type { Interrupts } from './interrupts.js';
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
