import { randomInt } from 'node:crypto';
import { defineConfig } from 'vitest/config';

// One seed for the whole run, so that the same command with it repeats it.
if (process.env['MODEL_SEED'] === 'random') {
  process.env['MODEL_SEED'] = String(randomInt(2 ** 31));
  console.log(`MODEL_SEED=${process.env['MODEL_SEED']}`);
}

// Unit, contract, model and semantics tests. Mount tests live in native-tests/ with their own configuration,
// because they need /dev/fuse and run one file at a time.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/seed.ts'],
    pool: 'forks',
    // Limits are for what hangs: far above what a slow machine that does other work takes.
    testTimeout: 600_000 * Math.max(1, Number(process.env['MODEL_RUNS'] ?? 1)),
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
  },
});
