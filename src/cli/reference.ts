import { exitClass, exitCodes } from './exit-codes.js';

/** The exit codes section of doc/CONFIGURATION.md, as Markdown. */
export function exitCodesAsMarkdown(): string {
  const rows = Object.entries(exitCodes).map(([name, { code, meaning }]) => {
    const errors = Object.entries(exitClass)
      .filter(([, exit]) => exit === name)
      .map(([error]) => error);
    return `| ${code} | ${meaning} | ${errors.join(', ')} |`;
  });
  return ['| Exit code | Meaning | Error codes |', '|---|---|---|', ...rows].join('\n');
}
