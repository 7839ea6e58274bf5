import { appendFileSync } from 'node:fs';

/**
 * Named places at which a crash test may kill this process, so that every step of staging, upload and commit is proved
 * to be recoverable. Set in the environment of a test's daemon only; costs one comparison otherwise.
 *
 * ARTIFACTFS_CRASH_AT=name:n  kills the process, as kill -9 does, the n-th time that `name` is reached.
 * ARTIFACTFS_CRASH_LOG=file   appends each name as it is reached: how a test learns which places there are.
 */
const crashAt = process.env['ARTIFACTFS_CRASH_AT'] ?? '';
const colon = crashAt.lastIndexOf(':');
const target = crashAt.slice(0, Math.max(colon, 0));
const nth = Number(crashAt.slice(colon + 1));
const logFile = process.env['ARTIFACTFS_CRASH_LOG'];
const armed = target !== '' || logFile !== undefined;
let reached = 0;

export function crashPoint(name: string): void {
  if (!armed) return;
  if (logFile !== undefined) appendFileSync(logFile, `${name}\n`);
  if (name === target && ++reached === nth) process.kill(process.pid, 'SIGKILL');
}
