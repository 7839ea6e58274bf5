import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exitClass, exitCodeOf, exitCodes } from '../../src/cli/exit-codes.js';
import { verbs } from '../../src/cli/verbs/all.js';
import { optionNames, optionSpec } from '../../src/config/options.js';
import { httpStatus } from '../../src/http/error-body.js';
import { compile, compileMsMax, Home, modules } from './compiled.js';

let home: Home;
beforeAll(async () => {
  await compile();
  home = new Home();
}, compileMsMax);
afterAll(() => home[Symbol.dispose]());

describe('a command line that is wrong', () => {
  test.each([
    ['', /a verb is missing/, /--help/],
    ['frobnicate', /unknown verb 'frobnicate'/, /--help/],
    ['comit', /unknown verb 'comit'/, /did you mean 'artifactfs commit'\?/],
    ['log --limt 3', /unknown option '--limt'/, /did you mean '--limit'\?/],
    ['mount x --cache-sise=1G', /unknown option '--cache-sise'/, /did you mean '--cache-size'\?/],
    ['mount x -q', /unknown option '-q'/, /mount --help/],
    ['mount', /missing: artifactfs mount <mountpoint>/, /mount --help/],
    ['mount a b', /'b' is one argument too many/, /mount --help/],
    ['mount x --cache-size', /cache-size/, /mount --help/],
    ['mount x --cache-size 1', /--cache-size: 1B is less than 64MiB/, undefined],
    ['mount x --secret-access-key s', /unknown option '--secret-access-key'/, undefined],
    ['commit x --on-conflict ours', /on-conflict/, undefined],
    ['ls --store ftp://x', /ftp:/, /s3:\/\//],
    ['ls --store s3://b --profile p --config none.json', /none\.json/, undefined],
    ['put only-one', /a source and a destination/, /put FILE/],
  ])('artifactfs %s', async (line, message, hint) => {
    const outcome = await home.run(...line.split(' ').filter((word) => word !== ''));
    expect(outcome.stderr).toMatch(message);
    if (hint !== undefined) expect(outcome.stderr).toMatch(hint);
    expect(outcome.stdout).toBe('');
    expect(outcome.stderr).toMatch(/^artifactfs: [^\n]+\n(hint: [^\n]+\n)?$/);
    expect(outcome.code).toBe(line.includes('none.json') ? exitCodes.notFound.code : exitCodes.usage.code);
  });

  test('with --json the error is JSON on standard error', async () => {
    const outcome = await home.run('log', '--limt', '3', '--json');
    expect(outcome.stdout).toBe('');
    expect(JSON.parse(outcome.stderr)).toEqual({
      error: {
        code: 'Invalid',
        message: "unknown option '--limt'",
        hint: "did you mean '--limit'?",
        details: {},
      },
    });
  });
});

describe('help', () => {
  test('lists every verb', async () => {
    const { stdout, code } = await home.run('--help');
    expect(code).toBe(0);
    for (const { command } of verbs) expect(stdout).toContain(`artifactfs ${command}`);
  });

  test.each(verbs.map((verb) => [verb.command.split(' ')[0] ?? '', verb] as const))(
    'of %s has an example and fits 80 columns',
    async (name, verb) => {
      const { stdout, code } = await home.run(name, '--help');
      expect(code).toBe(0);
      expect(stdout).toContain('Examples:');
      for (const [command] of verb.examples)
        expect(stdout).toContain(`
  ${command}
`);
      for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
    },
  );

  test('of mount shows every setting but secrets', async () => {
    const { stdout } = await home.run('mount', '--help');
    for (const name of optionNames) {
      if (optionSpec(name).secret) expect(stdout).not.toContain(`--${name}`);
      else expect(stdout).toContain(`--${name}`);
    }
  });

  test('the version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
    expect((await home.run('--version')).stdout.trim()).toBe(version);
  });
});

test('every error code has an exit code, and they differ where a script would act differently', () => {
  expect(Object.keys(exitClass).sort()).toEqual(Object.keys(httpStatus).sort());
  const codes = Object.values(exitCodes).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
  expect(exitCodeOf('NotFound')).toBe(3);
  expect(exitCodeOf('Conflict')).toBe(4);
  expect(exitCodeOf('NothingStaged')).toBe(5);
  expect(exitCodeOf('StoreUnavailable')).toBe(6);
});

test('the command line starts without the libraries that only a daemon needs, and what starts a daemon without any', () => {
  expect(packagesFrom('run.js')).toEqual(['yargs']);
  expect(packagesFrom('main.js')).toEqual([]);
});

/** What a module of the command line imports at once, with all that its imports do. */
function packagesFrom(name: string): string[] {
  const packages = new Set<string>();
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, specifier = ''] of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export) .*?from '([^']+)'/gm,
    )) {
      if (specifier.startsWith('.')) visit(join(dirname(file), specifier));
      else if (!specifier.startsWith('node:')) packages.add(specifier);
    }
  };
  visit(join(modules, name));
  expect(seen.size).toBeGreaterThan(5);
  return [...packages];
}
