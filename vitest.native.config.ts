import { defineConfig } from 'vitest/config';

// Mount tests: they need Linux and /dev/fuse (best as root), and fail where it is missing, so that nobody believes
// they ran. One file at a time: mounts, users and the page cache belong to the whole machine.
export default defineConfig({
  test: {
    include: ['native-tests/**/*.test.ts'],
    fileParallelism: false,
    pool: 'forks',
    // Limits are for what hangs: far above what a slow machine that does other work takes.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 30_000 } },
    // The closing summary shows messages only, no diffs: so that they say what was there.
    chaiConfig: { truncateThreshold: 400 },
  },
});
