// A short soak: the work of one seed (scripts/soak runs any other, for as long as you like).
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const args = ['--steps', '20', '--seed', '7'];

interface Outcome {
  readonly code: number | string | null;
  readonly said: string;
}

function soak(): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd: root, env: { ...process.env, ARTIFACTFS_NO_BUILD: '1' }, maxBuffer: 16 << 20 };
    execFile(join(root, 'scripts', 'soak'), args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal ?? null), said: stdout + stderr });
    });
  });
}

test('two machines, killed and mounted again over a store that fails, end with equal bytes and nothing left over', {
  timeout: 1_200_000,
}, async () => {
  const { code, said } = await soak();
  expect(code, said.slice(-6000)).toBe(0);
  expect(said).toContain('equal bytes, flat memory, empty queue');
  for (const event of ['commit', 'kill', 'killInCommit', 'remount', 'discard', 'outage'])
    expect(said, 'the run has everything in it').toMatch(new RegExp(`s  ${event}( |$)`, 'm'));
});
