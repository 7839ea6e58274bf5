import { readFileSync } from 'node:fs';

const triesMax = 20;

/**
 * Runs a check that holds only as long as the kernel keeps what it has cached. It may give that up at any time: in a
 * control group that is full, or where DAMON looks for pages that are seldom used. A check that failed while it did so
 * has measured the kernel, so it is done again; one that failed while nothing was given up has failed. What the check
 * has the kernel forget on purpose belongs into `prepare`, which comes before each try.
 */
export async function undisturbed<T>(
  check: () => Promise<T>,
  prepare?: () => void | Promise<void>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    await prepare?.();
    const before = givenUp();
    try {
      return await check();
    } catch (error) {
      if (tries === triesMax || givenUp() === before) throw error;
    }
  }
}

/**
 * Signs that the kernel of this machine gave up pages, names or inodes. What DAMON takes is in none of the counts of
 * reclaim; it shows when the same page is read again.
 */
const signs =
  /^(workingset_refault_file|drop_\w+|slabs_scanned|pginodesteal|kswapd_inodesteal|pgsteal_\w+) .*$/gm;

function givenUp(): string {
  try {
    readFileSync('/proc/sys/vm/stat_refresh'); // brings in what each processor has counted
  } catch {
    // Only root may.
  }
  return (readFileSync('/proc/vmstat', 'utf8').match(signs) ?? []).join(' ');
}
