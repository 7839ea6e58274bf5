import type { Argv } from 'yargs';
import type { VerbContext } from './context.js';

/** One verb of the command line. */
export interface Verb {
  /** As yargs writes it: 'show [artifact]'. */
  readonly command: string;
  readonly describe: string;
  /** Command lines and what they do, for its help. */
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** Options besides those of the settings; `positional` and `option` only. */
  readonly build?: (yargs: Argv) => Argv;
  /** Which settings its help shows; all are accepted. */
  readonly settings: 'all' | 'store' | 'none';
  /** Answers the exit code, or nothing for 0. */
  readonly run: (context: VerbContext) => Promise<number | undefined>;
}

export const artifactHelp =
  'artifact: names from the root (gallery/cells), or a path inside a mount; default: the working directory';
