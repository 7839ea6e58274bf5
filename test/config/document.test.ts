import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { exitCodesAsMarkdown } from '../../src/cli/reference.js';
import { optionsAsMarkdown } from '../../src/config/describe.js';
import { environmentName, optionNames } from '../../src/config/options.js';

// After a change of the tables: UPDATE_DOCUMENT=1 npx vitest run test/config/document.test.ts
const path = join(import.meta.dirname, '../../doc/CONFIGURATION.md');
const generated = { options: optionsAsMarkdown(), 'exit codes': exitCodesAsMarkdown() };
const section = (name: string, text: string) =>
  `<!-- ${name}: made from the table -->\n\n${text.trim()}\n\n<!-- end -->`;

if (process.env['UPDATE_DOCUMENT'] === '1') {
  let text = readFileSync(path, 'utf8');
  for (const [name, content] of Object.entries(generated)) {
    text = text.replace(new RegExp(`<!-- ${name}: [^]*?<!-- end -->`), () => section(name, content));
  }
  writeFileSync(path, text);
}
const document = readFileSync(path, 'utf8');

test.each(Object.entries(generated))('doc/CONFIGURATION.md has the %s as they are', (name, content) => {
  expect(document).toContain(section(name, content));
});

test('doc/CONFIGURATION.md names no option or variable that is not there', () => {
  const known = new Set([
    ...optionNames,
    'config',
    'create',
    'foreground',
    'force',
    'json',
    'help',
    'no-read-only',
    'from', // of warm
    'all', // of cache evict
  ]);
  const flags = [...document.matchAll(/`--([a-z][a-z-]*)/g)].map(([, name = '']) => name);
  expect(flags.length).toBeGreaterThan(10);
  expect(flags.filter((name) => !known.has(name))).toEqual([]);
  const variables = [...document.matchAll(/ARTIFACTFS_[A-Z_]*[A-Z]/g)].map(([name]) => name);
  const names = new Set(['ARTIFACTFS_CONFIG', ...optionNames.map(environmentName)]);
  expect(variables.filter((name) => !names.has(name))).toEqual([]);
});
