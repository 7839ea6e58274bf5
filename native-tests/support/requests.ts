import { daemonStats } from './daemon-stats.js';
import type { Machine } from './world.js';

/**
 * What the kernel cannot answer by itself. It says open and close to the daemon each time (not to say them is for whole
 * connections, and control files need them), asks for free space whenever a program does, hands on a program's
 * ioctl (Python asks each file whether it is a terminal), and forgets when it likes.
 */
const uncounted = new Set([
  'open',
  'release',
  'opendir',
  'releasedir',
  'statfs',
  'ioctl',
  'forget',
  'batchForget',
  'interrupt',
]);

/** Counts what reaches a daemon, which is asked through its socket: that makes no requests. */
export class Requests {
  readonly #machine: Machine;
  readonly #writeCache: boolean;
  /** Extended attributes asked for in the last `of`. */
  lastXattrs = 0;

  constructor(machine: Machine, options: { writeCache: boolean }) {
    this.#machine = machine;
    this.#writeCache = options.writeCache;
  }

  /**
   * Requests by name while the script runs. A kernel that keeps writes takes the blocks of a file for unknown after each
   * close (GETATTR): so many are left out.
   */
  async of(script: string): Promise<Record<string, number>> {
    const before = await this.#counts();
    await this.#machine.sh(script);
    const after = await this.#counts();
    const made: Record<string, number> = {};
    const closes = (after.get('release') ?? 0) - (before.get('release') ?? 0);
    for (const [name, count] of after) {
      const difference = count - (before.get(name) ?? 0);
      if (difference > 0 && !uncounted.has(name)) made[name] = difference;
    }
    if (this.#writeCache) leaveOut(made, 'getattr', closes);
    this.lastXattrs = made['getxattr'] ?? 0;
    delete made['getxattr'];
    return made;
  }

  /** A close is told and not waited for: what is asked after it (statfs) comes after it. */
  async #counts(): Promise<Map<string, number>> {
    await this.#machine.sh('stat -f "$MNT" > /dev/null');
    const { counters } = await daemonStats<{ counters: Record<string, number> }>(this.#machine);
    const own = Object.entries(counters).filter(([name]) => name.startsWith('fuse.'));
    return new Map(own.map(([name, count]) => [name.slice('fuse.'.length), count]));
  }
}

function leaveOut(made: Record<string, number>, name: string, count: number): void {
  const rest = (made[name] ?? 0) - count;
  if (rest > 0) made[name] = rest;
  else delete made[name];
}
