import fc from 'fast-check';

// A setup file of vitest.config.ts: every random test begins at one seed, so that the gate answers the same for the
// same commit. doc/CONTRIBUTING.md tells how to look further.

/** MODEL_SEED: where random tests begin. */
export const seed = Number(process.env['MODEL_SEED'] ?? 1);

/** MODEL_RUNS: how many times as often each random test runs. */
const times = Number(process.env['MODEL_RUNS'] ?? 1);

/** How often a random test runs that runs `count` times in the gate. */
export const runs = (count: number): number => Math.max(1, Math.round(count * times));

const fastCheckRuns = 100;

fc.configureGlobal({
  seed,
  numRuns: runs(fastCheckRuns),
  ...(process.env['MODEL_PATH'] === undefined ? {} : { path: process.env['MODEL_PATH'] }),
});
