import yargs, { type Argv } from 'yargs';
import { optionNames, optionSpec } from '../config/options.js';
import { errorBody } from '../http/error-body.js';
import { toArtifactError } from '../model/errors.js';
import { programVersion } from '../util/version.js';
import { protectDashes } from './arguments.js';
import { tellStarter } from './background.js';
import { type Flags, VerbContext } from './context.js';
import { exitCodeOf, exitCodes } from './exit-codes.js';
import { Interrupts } from './interrupts.js';
import { Terminal } from './terminal.js';
import { explainUsage } from './usage.js';
import type { Verb, VerbParts } from './verb.js';
import { verbs } from './verbs/all.js';

const helpColumnsMax = 100;

/** Runs one command line; answers the exit code. Nothing is thrown. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  const asked = args.includes('--json');
  const interrupts = new Interrupts();
  try {
    const asking = await chosenVerb(args);
    if (asking === undefined) return exitCodes.ok.code;
    return await execute(asking.verb, new VerbContext(asking.flags, interrupts));
  } catch (error) {
    const failure = toArtifactError(error);
    const isChild = args.includes('--background-child');
    const isHeard = isChild && (await tellStarter({ artifactfs: 'failed', error: errorBody(failure) }));
    if (!isHeard) new Terminal({ json: asked }).failure(failure);
    return exitCodeOf(failure.code);
  } finally {
    interrupts[Symbol.dispose]();
  }
}

async function execute(verb: Verb, context: VerbContext): Promise<number> {
  return (await context.interrupts.race(verb.run(context))) ?? exitCodes.ok.code;
}

/**
 * How the parser tells which verb to run: thrown, because after a handler that returns it renders the whole help of the
 * verb in case that fails, which takes longer than all else it does.
 */
class ChosenVerb extends Error {
  override readonly name = 'ChosenVerb';
  readonly verb: Verb;
  readonly flags: Flags;

  constructor(verb: Verb, flags: Flags) {
    super(verb.command);
    this.verb = verb;
    this.flags = flags;
  }
}

/** undefined: the parser has printed what was asked for. */
async function chosenVerb(args: readonly string[]): Promise<ChosenVerb | undefined> {
  try {
    await commandLine(args).parseAsync(protectDashes(args));
    return undefined;
  } catch (error) {
    if (error instanceof ChosenVerb) return error;
    throw error;
  }
}

function commandLine(args: readonly string[]): Argv {
  let parser = yargs()
    .scriptName('artifactfs')
    .usage('artifactfs VERB: versioned artifacts as ordinary directories')
    .locale('en')
    .wrap(Math.min(helpColumnsMax, process.stdout.columns ?? 80))
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-positional-numbers': false,
      'greedy-arrays': false,
    })
    .exitProcess(false)
    .version(programVersion)
    .alias('help', 'h')
    .strict()
    .demandCommand(1)
    .fail((message, error) => {
      // The chosen verb may come by here, too.
      const isOfParser = error === undefined || error === null || error.name === 'YError';
      throw isOfParser ? explainUsage(message ?? error?.message ?? '', args) : error;
    })
    .option('json', { type: 'boolean', describe: 'results and errors as JSON' })
    .option('config', {
      type: 'string',
      requiresArg: true,
      describe: 'configuration file; default: $XDG_CONFIG_HOME/artifactfs/config.json',
    })
    .group(['json', 'config', 'help', 'version'], 'General:')
    .epilogue('artifactfs VERB --help shows the options of a verb. Settings: doc/CONFIGURATION.md');
  for (const verb of verbs) {
    parser = parser.command(
      verb.command,
      verb.describe,
      (scope) => describeVerb(scope, verb),
      (flags) => {
        throw new ChosenVerb(verb, flags);
      },
    );
  }
  return parser;
}

function describeVerb(scope: Argv, verb: Verb): Argv {
  let built = scope;
  const parts: VerbParts = {
    positional(name, options) {
      built = built.positional(name, options);
      return parts;
    },
    option(name, options) {
      built = built.option(name, { group: 'Options:', ...options });
      return parts;
    },
  };
  verb.build?.(parts);
  // Not yargs' own examples: it breaks command lines, which are there to be copied.
  const examples = verb.examples.map(([command, what]) => `  # ${what}\n  ${command}`).join('\n');
  built = built.usage(`artifactfs ${verb.command}\n\n${verb.describe}`).epilogue(`Examples:\n${examples}`);
  for (const name of optionNames) {
    const spec = optionSpec(name);
    // Command lines can be read by everybody on the machine.
    if (spec.secret) continue;
    const hidden = verb.settings === 'none' || (verb.settings === 'store' && spec.group !== 'Store');
    built = built.option(name, {
      type: spec.type === 'flag' ? 'boolean' : 'string',
      requiresArg: spec.type !== 'flag',
      describe: spec.help,
      group: `${spec.group}:`,
      hidden,
      ...(spec.defaultText === undefined ? {} : { defaultDescription: spec.defaultText }),
    });
  }
  return built;
}
