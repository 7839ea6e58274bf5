import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';

const sources = join(import.meta.dirname, '..', 'c');
const binaries = join(import.meta.dirname, '..', '..', 'build', 'native-tests');

/** The path of a program of native-tests/c, compiled when one of its sources, or a header beside them, is newer. */
export function program(name: string, files: readonly string[] = [`${name}.c`]): string {
  const binary = join(binaries, name);
  const headers = readdirSync(sources).filter((file) => file.endsWith('.h'));
  const changedMs = Math.max(...[...files, ...headers].map((file) => statSync(join(sources, file)).mtimeMs));
  const builtMs = statSync(binary, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (builtMs > changedMs) return binary;
  mkdirSync(binaries, { recursive: true });
  const fresh = `${binary}.${process.pid}`; // a test of another process may be running the old one
  execFileSync('cc', ['-std=gnu11', '-O1', '-g', '-Wall', '-Wextra', '-o', fresh, ...files, '-lpthread'], {
    cwd: sources,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  renameSync(fresh, binary);
  return binary;
}

/** The names of a program's cases (native-tests/c/cases.h). */
export function casesOf(binary: string): string[] {
  return execFileSync(binary, ['list'], { encoding: 'utf8' }).trim().split('\n');
}
