import type { Options, PositionalOptions } from 'yargs';
import type { VerbContext } from './context.js';

/** One verb of the command line. */
export interface Verb {
  /** As yargs writes it: 'show [artifact]'. */
  readonly command: string;
  readonly describe: string;
  /** Command lines and what they do, for its help. */
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** Its arguments, and options besides those of the settings. */
  readonly build?: (parts: VerbParts) => VerbParts;
  /** Which settings its help shows; all are accepted. */
  readonly settings: 'all' | 'store' | 'none';
  /** Answers the exit code, or nothing for 0. */
  readonly run: (context: VerbContext) => Promise<number | undefined>;
}

/** What a verb's command line is made of. */
export interface VerbParts {
  positional(name: string, options: PositionalOptions): VerbParts;
  option(name: string, options: Options): VerbParts;
}

export const artifactHelp =
  'artifact: names from the root (gallery/cells), or a path inside a mount; default: the working directory';
