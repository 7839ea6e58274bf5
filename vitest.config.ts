import { defineConfig } from 'vitest/config';

// Unit, contract, model and semantics tests. Mount tests live in native-tests/ with their own configuration,
// because they need /dev/fuse and run one file at a time.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Limits are for what hangs: far above what a slow machine that does other work takes.
    testTimeout: 300_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
  },
});
