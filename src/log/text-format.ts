/** Turns one JSON line of the log into lines for people; errors follow indented, the outermost first. */
export function formatText(line: string): string {
  const { time, level, logger, msg, pid: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const parts = [String(time), String(level).toUpperCase().padEnd(5)];
  if (logger !== undefined) parts.push(`[${String(logger)}]`);
  parts.push(printable(String(msg ?? '')));
  const errors: string[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (isDescribedError(value)) errors.push(...errorLines(value, '  '));
    else parts.push(`${printable(name)}=${formatValue(value)}`);
  }
  return `${[parts.join(' '), ...errors].join('\n')}\n`;
}

interface DescribedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly stack?: string;
  readonly cause?: unknown;
}

function isDescribedError(value: unknown): value is DescribedError {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  return typeof fields['type'] === 'string' && typeof fields['message'] === 'string';
}

function errorLines(error: DescribedError, indent: string): string[] {
  const { hint, ...details } = error.details ?? {};
  const named = Object.entries(details).map(([name, value]) => ` ${printable(name)}=${formatValue(value)}`);
  const lines = [`${indent}${error.code ?? error.type}: ${printable(error.message)}${named.join('')}`];
  if (typeof hint === 'string') lines.push(`${indent}  hint: ${printable(hint)}`);
  const frames = error.stack?.split('\n').filter((frame) => frame.trimStart().startsWith('at ')) ?? [];
  for (const frame of frames) lines.push(`${indent}  ${printable(frame.trim())}`);
  if (isDescribedError(error.cause)) {
    const [first = '', ...rest] = errorLines(error.cause, `${indent}  `);
    lines.push(`${indent}  caused by ${first.trimStart()}`, ...rest);
  } else if (error.cause !== undefined) {
    lines.push(`${indent}  caused by ${formatValue(error.cause)}`);
  }
  return lines;
}

function formatValue(value: unknown): string {
  if (typeof value !== 'string') return printable(JSON.stringify(value) ?? 'undefined');
  return /^[\w./:@%+,-]+$/.test(value) ? value : printable(JSON.stringify(value));
}

/** File names may hold anything: nothing in a log may move the cursor of a terminal or begin a line of its own. */
function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`,
  );
}
