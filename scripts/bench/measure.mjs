// Runs jobs in turns on all file systems, and keeps the figures and what they cost.
import { join } from 'node:path';
import {
  forgetPeak,
  isMounted,
  isRunning,
  median,
  peakBytes,
  processorSeconds,
  run,
  shell,
} from './tools.mjs';

/**
 * Figures by row and column, one for each round; columns are 'limit' and the names of file systems. Costs are those of
 * artifactfs, by job.
 *
 * @typedef {Map<string, Map<string, (number | undefined)[]>>} Figures
 * @typedef {{processorSeconds: number[], peakBytes: number[], counts: import('./servers.mjs').Counters[]}} Cost
 */

export const limitColumn = 'limit';

export class Measurement {
  #context;
  #systems;
  /** @type {Figures} */
  figures = new Map();
  /** @type {Map<string, Cost>} */
  costs = new Map();

  /** @param {Omit<import('./jobs.mjs').Context, 'system'>} context */
  constructor(context, systems) {
    this.#context = context;
    this.#systems = systems;
  }

  /** All jobs once, one job after the other and each on one file system after the other: noise hits neighbours alike. */
  async round(number, jobs) {
    const systems = [];
    for (const system of this.#systems.filter(({ rounds = Number.POSITIVE_INFINITY }) => number < rounds))
      if (await this.#begin(system, `${system.name}-${Date.now()}`)) systems.push(system); // peers share a bucket
    for (const job of jobs) {
      if (job.once && number > 0) continue;
      if (job.limit !== undefined) await this.#limit(job, number);
      // Every second round the other way round.
      for (const system of number % 2 === 0 ? systems : systems.toReversed())
        if (job.on.includes(system.kind)) await this.#job(job, system, number);
    }
    for (const system of systems) await this.#end(system);
  }

  async #begin(system, name) {
    try {
      await system.mount();
      system.root = system.directory;
      system.directory = join(system.root, name);
      await run('mkdir', [system.directory]);
      return true;
    } catch (error) {
      warn(system.name, 'mount', error);
      await this.#takeAway(system);
      return false;
    }
  }

  async #end(system) {
    try {
      await shell(`rm -rf ${system.directory}/*`); // a committed artifact itself stays
      await system.unmount();
      await system.wipe();
    } catch (error) {
      warn(system.name, 'clean-up', error);
      await this.#takeAway(system);
    }
    system.directory = system.root;
  }

  async #limit(job, round) {
    const { limits, sizes } = this.#context;
    try {
      this.#keep(job, limitColumn, round, await job.limit(limits, sizes));
    } catch (error) {
      warn(limitColumn, job.title, error);
    }
  }

  async #job(job, system, round) {
    const context = { ...this.#context, system };
    if (job.runs?.(context) === false) return;
    try {
      await job.prepare?.(context);
      const cost = await this.#watch(system);
      const result = await job.run(context);
      const used = await cost();
      const rows = typeof result === 'number' ? { [job.name]: result } : result;
      for (const row of [job, ...(job.more ?? [])]) {
        const figure = rows[row.name] ?? (used?.counts && row.from?.(used.counts, context.sizes));
        if (figure !== undefined) this.#keep(row, system.name, round, figure);
      }
      if (system.kind === 'ours') this.#keepCost(job, used);
    } catch (error) {
      warn(system.name, job.title, error);
      await this.#recover(system);
    }
  }

  /** Begins to watch what the daemon uses; a daemon that comes meanwhile is watched from its beginning. */
  async #watch(system) {
    const { server } = this.#context;
    const before = system.pid();
    const seconds = before === undefined ? 0 : processorSeconds(before);
    if (before !== undefined) forgetPeak(before);
    // A server begins anew with each question; a file system goes on counting, from 0 when it is mounted.
    await server.counters?.();
    const own = server.counters === undefined && before !== undefined ? await system.counters?.() : undefined;
    return async () => {
      const now = system.pid();
      const counts = (await server.counters?.()) ?? (await system.counters?.());
      if (now === undefined) return undefined;
      if (own !== undefined && now === before) counts.gets -= own.gets;
      return {
        processorSeconds: processorSeconds(now) - (now === before ? seconds : 0),
        peakBytes: peakBytes(now),
        counts,
      };
    };
  }

  #keep(row, column, round, figure) {
    const columns = this.figures.get(row.name) ?? new Map();
    this.figures.set(row.name, columns);
    const list = columns.get(column) ?? [];
    columns.set(column, list);
    list[round] = figure;
    console.error(
      `${this.#context.server.name.padEnd(8)} ${column.padEnd(11)} ${row.title.padEnd(44)} ${figure.toPrecision(4)} ${row.unit}`,
    );
  }

  #keepCost(job, used) {
    if (used === undefined) return;
    const cost = this.costs.get(job.name) ?? { processorSeconds: [], peakBytes: [], counts: [] };
    this.costs.set(job.name, cost);
    cost.processorSeconds.push(used.processorSeconds);
    cost.peakBytes.push(used.peakBytes);
    if (used.counts !== undefined) cost.counts.push(used.counts);
  }

  /** A file system that failed is mounted anew, so that the jobs after this one have a chance. */
  async #recover(system) {
    try {
      await system.unmount();
      await system.mount();
    } catch (error) {
      warn(system.name, 'mount again', error);
      await this.#takeAway(system);
    }
  }

  async #takeAway(system) {
    const pid = system.pid();
    await run('fusermount3', ['-uz', system.root ?? system.directory]).catch(() => {});
    if (pid !== undefined && isRunning(pid)) process.kill(pid, 'SIGKILL');
    if (isMounted(system.root ?? system.directory)) console.error(`${system.name} stays mounted`);
  }
}

function warn(who, what, error) {
  console.error(`warning: ${who}: ${what}: ${error instanceof Error ? error.message : String(error)}`);
}

/**
 * How many times as fast `name` was as `base`: the median of the rounds that have both.
 *
 * @param {Figures} figures
 */
export function ratio(figures, row, name, base) {
  const [a, b] = [figures.get(row.name)?.get(name), figures.get(row.name)?.get(base)];
  if (a === undefined || b === undefined) return undefined;
  const both = a
    .map((value, i) => (row.better === 'higher' ? value / b[i] : b[i] / value))
    .filter(Number.isFinite);
  return both.length === 0 ? undefined : median(both);
}

/** @param {Figures} figures */
export function figureOf(figures, row, name) {
  const list = (figures.get(row.name)?.get(name) ?? []).filter((value) => value !== undefined);
  return list.length === 0 ? undefined : median(list);
}
