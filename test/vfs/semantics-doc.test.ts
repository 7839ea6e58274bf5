import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const here = import.meta.dirname;
const numbersIn = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map((match) => match[1] ?? '');

test('each paragraph of doc/SEMANTICS.md has its test, and each test its paragraph', () => {
  const doc = readFileSync(join(here, '../../doc/SEMANTICS.md'), 'utf8');
  const folder = join(here, 'semantics');
  const tests = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'));
  const paragraphs = numbersIn(doc, /^- \*\*([A-Z]\d+)\*\* /gm);
  const proofs = tests.flatMap((text) => numbersIn(text, /^test\(\s*['"`]([A-Z]\d+): /gm));
  expect(paragraphs.length).toBeGreaterThan(50);
  expect([...proofs].sort()).toEqual([...paragraphs].sort());
});
