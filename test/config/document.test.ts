import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { exitCodesAsMarkdown } from '../../src/cli/reference.js';
import { optionsAsMarkdown } from '../../src/config/describe.js';
import { environmentName, optionNames } from '../../src/config/options.js';

const document = readFileSync(join(import.meta.dirname, '../../doc/CONFIGURATION.md'), 'utf8');

test('doc/CONFIGURATION.md has the options as they are', () => {
  expect(document).toContain(optionsAsMarkdown());
});

test('doc/CONFIGURATION.md has the exit codes as they are', () => {
  expect(document).toContain(exitCodesAsMarkdown());
});

test('doc/CONFIGURATION.md names no option or variable that is not there', () => {
  const known = new Set([...optionNames, 'config', 'foreground', 'force', 'json', 'help', 'no-read-only']);
  const flags = [...document.matchAll(/`--([a-z][a-z-]*)/g)].map(([, name = '']) => name);
  expect(flags.length).toBeGreaterThan(10);
  expect(flags.filter((name) => !known.has(name))).toEqual([]);
  const variables = [...document.matchAll(/ARTIFACTFS_[A-Z_]*[A-Z]/g)].map(([name]) => name);
  const names = new Set(['ARTIFACTFS_CONFIG', ...optionNames.map(environmentName)]);
  expect(variables.filter((name) => !names.has(name))).toEqual([]);
});
