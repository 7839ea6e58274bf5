import { optionNames } from '../config/options.js';
import { ArtifactError } from '../model/errors.js';
import { suggest } from '../util/suggest.js';
import { verbs } from './verbs/all.js';

const verbNames = verbs.map((verb) => verbName(verb.command));

/** What is wrong with a command line, and what was probably meant. `message` is the parser's. */
export function explainUsage(message: string, args: readonly string[]): ArtifactError {
  const verb = args.find((arg) => !arg.startsWith('-'));
  if (verb === undefined) {
    return new ArtifactError('Invalid', 'a verb is missing', { hint: 'artifactfs --help lists them' });
  }
  if (!verbNames.includes(verb)) {
    const near = suggest(verb, verbNames);
    return new ArtifactError('Invalid', `unknown verb '${verb}'`, {
      hint: near === undefined ? 'artifactfs --help lists the verbs' : `did you mean 'artifactfs ${near}'?`,
    });
  }
  const unknown = /^Unknown arguments?: (.+)$/.exec(message)?.[1]?.split(', ')[0];
  if (unknown !== undefined) return unknownArgument(unknown, verb, args);
  const valueless = /^Not enough arguments following: (.+)$/.exec(message)?.[1];
  if (valueless !== undefined) {
    return new ArtifactError('Invalid', `option '--${valueless}' needs a value`, { hint: helpHint(verb) });
  }
  if (/^Not enough non-option arguments/.test(message)) {
    const { command } = verbs.find((candidate) => verbName(candidate.command) === verb) ?? { command: verb };
    return new ArtifactError('Invalid', `an argument is missing: artifactfs ${command}`, {
      hint: helpHint(verb),
    });
  }
  return new ArtifactError('Invalid', message.replaceAll('\n', ' '), { hint: helpHint(verb) });
}

function unknownArgument(unknown: string, verb: string, args: readonly string[]): ArtifactError {
  const isOption = args.some((arg) => arg.replace(/=.*$/s, '') === `--${unknown}` || arg === `-${unknown}`);
  if (!isOption) {
    return new ArtifactError('Invalid', `'${unknown}' is one argument too many`, { hint: helpHint(verb) });
  }
  const dashes = unknown.length === 1 ? '-' : '--';
  const near = suggest(unknown, [...optionNames, ...commonOptions]);
  return new ArtifactError('Invalid', `unknown option '${dashes}${unknown}'`, {
    hint: near === undefined ? helpHint(verb) : `did you mean '--${near}'?`,
  });
}

/** Options of single verbs that are worth a proposal. */
const commonOptions = [
  'json',
  'config',
  'help',
  'message',
  'force',
  'foreground',
  'recursive',
  'long',
  'limit',
  'type',
];

const helpHint = (verb: string) => `artifactfs ${verb} --help`;

function verbName(command: string): string {
  return command.split(' ')[0] ?? command;
}
