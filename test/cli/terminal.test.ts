import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { printable, Terminal, textWidth } from '../../src/cli/terminal.js';
import { modeText, summaryText } from '../../src/cli/text.js';

afterEach(() => vi.unstubAllEnvs());

/** A terminal of this width, or a pipe; answers what was written. */
async function written(columns: number | undefined, write: (terminal: Terminal) => void): Promise<string> {
  const out = Object.assign(new PassThrough(), columns === undefined ? {} : { isTTY: true, columns });
  write(
    new Terminal({
      json: false,
      out: out as unknown as NodeJS.WriteStream,
      err: out as unknown as NodeJS.WriteStream,
    }),
  );
  out.end();
  return text(out);
}

const sentence = 'a message that somebody wrote without thinking of narrow terminals at all';

describe('width', () => {
  test.each([40, 200])('text fits %d columns', async (columns) => {
    const lines = (await written(columns, (t) => t.paragraph(sentence, '    '))).trimEnd().split('\n');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    expect(lines.map((line) => line.trim()).join(' ')).toBe(sentence);
    expect(lines.length).toBe(columns === 40 ? 3 : 1);
  });

  test('without a terminal a line is a line', async () => {
    expect(await written(undefined, (t) => t.paragraph(sentence, '  '))).toBe(`  ${sentence}\n`);
  });

  test('a word that is too long stays whole', async () => {
    const name = 'x'.repeat(60);
    expect(await written(40, (t) => t.paragraph(`a ${name} b`))).toBe(`a\n${name}\nb\n`);
  });

  test('columns are aligned by what is seen, also with wide and combining characters', async () => {
    const rows = [
      ['日本', '1', 'x'],
      ['e\u0301', '22', 'y'],
      ['abcd', '333', 'z'],
    ];
    expect(await written(undefined, (t) => t.table(rows, [1]))).toBe(
      '日本    1  x\ne\u0301      22  y\nabcd  333  z\n',
    );
    expect(textWidth('\u001b[31mred\u001b[0m')).toBe(3);
  });
});

describe('colours', () => {
  test('only on a terminal, and not with NO_COLOR', async () => {
    vi.stubEnv('NO_COLOR', undefined);
    vi.stubEnv('TERM', 'xterm');
    const styled = (t: Terminal) => t.line(t.style('red', 'x'));
    expect(await written(80, styled)).toBe('\u001b[31mx\u001b[0m\n');
    expect(await written(undefined, styled)).toBe('x\n');
    vi.stubEnv('NO_COLOR', '1');
    expect(await written(80, styled)).toBe('x\n');
  });

  test('a name cannot move the cursor of a terminal, and is unchanged in a pipe', async () => {
    const evil = 'a\u001b[2Jb\nc';
    expect(await written(80, (t) => t.line(t.name(evil)))).toBe('a\\x1b[2Jb\\x0ac\n');
    expect(await written(undefined, (t) => t.line(t.name(evil)))).toBe(`${evil}\n`);
    expect(printable('ä日\u0085')).toBe('ä日\\x85');
  });
});

test.each([
  ['file', 0o644, '-rw-r--r--'],
  ['dir', 0o1777, 'drwxrwxrwt'],
  ['file', 0o4755, '-rwsr-xr-x'],
  ['file', 0o6644, '-rwSr-Sr--'],
  ['symlink', 0o777, 'lrwxrwxrwx'],
] as const)('mode of a %s %d', (kind, mode, expected) => expect(modeText(kind, mode)).toBe(expected));

test('a summary names only what happened', () => {
  expect(summaryText({ added: 1, changed: 0, removed: 2 })).toBe('1 added, 2 removed');
  expect(summaryText({ added: 0, changed: 0, removed: 0 })).toBe('no files changed');
});
