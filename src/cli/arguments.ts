/** No argument of a process can hold this. */
const mark = '\u0000';

/**
 * The parser loses positional arguments that begin with a dash ('-' for standard input) and all that follow '--'. The
 * former are marked here and restored later; '--' is then not needed any more.
 */
export function protectDashes(args: readonly string[]): string[] {
  const end = args.indexOf('--');
  const before = end < 0 ? args : args.slice(0, end);
  const after = end < 0 ? [] : args.slice(end + 1);
  return [
    ...before.map((arg) => (arg === '-' ? mark + arg : arg)),
    ...after.map((arg) => (arg.startsWith('-') ? mark + arg : arg)),
  ];
}

export const restoreDashes = (text: string) => (text.startsWith(mark) ? text.slice(mark.length) : text);
