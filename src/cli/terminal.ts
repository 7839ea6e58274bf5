import type { ArtifactError } from '../model/errors.js';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';
const codes: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 };
const columnsMin = 20;

/** Where a verb writes. Results go to standard output, everything else (progress, hints, errors) to standard error. */
export class Terminal {
  readonly json: boolean;
  readonly #out: NodeJS.WriteStream;
  readonly #err: NodeJS.WriteStream;
  readonly #colour: boolean;

  constructor(options: { json: boolean; out?: NodeJS.WriteStream; err?: NodeJS.WriteStream }) {
    this.json = options.json;
    this.#out = options.out ?? process.stdout;
    this.#err = options.err ?? process.stderr;
    this.#colour = this.#out.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
  }

  get isTerminal(): boolean {
    return this.#out.isTTY === true;
  }

  /** A progress bar would be seen. */
  get showsProgress(): boolean {
    return this.#err.isTTY === true && !this.json && process.env['TERM'] !== 'dumb';
  }

  /** Width to fit text into: the terminal's; without one nothing is cut. */
  get columns(): number {
    if (!this.isTerminal) return Number.POSITIVE_INFINITY;
    return Math.max(columnsMin, this.#out.columns ?? 80);
  }

  line(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  /** The one JSON document of a verb, or one line of a stream of them. */
  document(value: unknown): void {
    this.#out.write(`${JSON.stringify(value, null, this.isTerminal ? 2 : undefined)}\n`);
  }

  note(text: string): void {
    if (!this.json) this.#err.write(`${text}\n`);
  }

  failure(error: ArtifactError): void {
    const { hint, ...details } = error.details;
    if (this.json) {
      const body = { code: error.code, message: error.message, hint: hint ?? null, details };
      this.#err.write(`${JSON.stringify({ error: body })}\n`);
      return;
    }
    this.#err.write(`artifactfs: ${error.message}\n`);
    const paths = details['paths'];
    if (Array.isArray(paths))
      for (const path of paths.slice(0, 20)) this.#err.write(`  ${printable(String(path))}\n`);
    if (hint !== undefined) this.#err.write(`hint: ${hint}\n`);
  }

  style(style: Style, text: string): string {
    return this.#colour ? `\u001b[${codes[style]}m${text}\u001b[0m` : text;
  }

  /** A name as it may be shown: on a terminal nothing in it moves the cursor or changes colours. */
  name(text: string): string {
    return this.isTerminal ? printable(text) : text;
  }

  /** Text broken between words to fit the width, each line indented. Without a terminal it stays one line. */
  paragraph(text: string, indent = ''): void {
    for (const line of wrap(text, this.columns - indent.length)) this.line(`${indent}${line}`);
  }

  /** Columns padded to their widest cell, two spaces apart. Nothing is cut: a name must be whole. */
  table(rows: readonly (readonly string[])[], alignRight: readonly number[] = []): void {
    const widths: number[] = [];
    for (const row of rows) {
      row.forEach((cell, i) => {
        widths[i] = Math.max(widths[i] ?? 0, textWidth(cell));
      });
    }
    for (const row of rows) {
      const cells = row.map((cell, i) => {
        if (i === row.length - 1) return cell;
        const padding = ' '.repeat((widths[i] ?? 0) - textWidth(cell));
        return alignRight.includes(i) ? padding + cell : cell + padding;
      });
      this.line(cells.join('  ').trimEnd());
    }
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
const unprintable = /[\u0000-\u001f\u007f-\u009f]/g;
export const printable = (text: string) =>
  text.replace(unprintable, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

// biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of `style`
const colours = /\u001b\[\d+m/g;
/** Cells of a terminal: East Asian characters and emoji take two, combining marks none. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text.replace(colours, '')) width += characterWidth(character);
  return width;
}

const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const characterWidth = (character: string) =>
  /\p{Mark}/u.test(character) ? 0 : wide.test(character) ? 2 : 1;

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && textWidth(longer) > width) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}
