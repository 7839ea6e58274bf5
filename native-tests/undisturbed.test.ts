// Tests of what the kernel keeps measure again when it gave something up, and only then.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { undisturbed } from './support/undisturbed.js';

test('a check that failed while the kernel gave something up is done again', async () => {
  let tries = 0;
  const value = await undisturbed(async () => {
    if (++tries > 2) return 'measured';
    execFileSync('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
    throw new Error('disturbed');
  });
  expect(value).toBe('measured');
});

test('a check that always fails fails, with its own error, whatever the kernel does', async () => {
  let tries = 0;
  const never = undisturbed(async () => {
    tries++;
    throw new Error(`wrong ${tries}`);
  });
  await expect(never).rejects.toThrow(/^wrong \d+$/);
  expect(tries).toBeLessThanOrEqual(20);
});
