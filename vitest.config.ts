import { defineConfig } from 'vitest/config';

// Unit, contract, model and semantics tests. Mount tests live in native-tests/ with their own configuration,
// because they need /dev/fuse and run one file at a time.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    pool: 'forks',
    expect: { poll: { timeout: 10_000 } },
  },
});
