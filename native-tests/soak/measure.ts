import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../src/model/limits.js';
import { ask, stateOf } from './api.js';
import type { Side } from './side.js';

const everyMs = 3_000;
/** Points of a curve: the first third of a daemon's life counts as warming up. */
const curvePoints = 12;

interface Stats {
  readonly memory: {
    readonly residentBytes: number;
    readonly heapBytes: number;
    readonly externalBytes: number;
  };
  readonly requests: { readonly pending: number; readonly givenUp: number; readonly oldestPendingMs: number };
  readonly loopDelay: { readonly p99Ms: number; readonly maxMs: number };
  readonly counters: Readonly<Record<string, number>>;
}

interface Sample {
  readonly pid: number;
  readonly seconds: number;
  readonly resident: number;
  readonly heap: number;
  readonly external: number;
  /** Open files. */
  readonly ofStaging: number;
  readonly ofCache: number;
  readonly ofOthers: number;
}

/** A figure over a daemon's life, in bytes. */
export interface Curve {
  readonly curve: readonly number[];
  /** Of the middle and of the last third. */
  readonly middle: number;
  readonly last: number;
}

export interface Growth {
  /** How long the daemon that lived longest did. */
  readonly seconds: number;
  readonly residentMax: number;
  /** The most of each part of its life. */
  readonly resident: Curve;
  /** The least of each part: what is left when garbage was collected. */
  readonly heap: Curve;
  /** Open files, the most at any time. */
  readonly ofStagingMax: number;
  readonly ofCacheMax: number;
  readonly ofOthersMax: number;
}

/** Looks at a daemon's memory and descriptors again and again. */
export class Measure {
  readonly samples: Sample[] = [];
  readonly #side: Side;

  constructor(side: Side) {
    this.#side = side;
  }

  async run(over: () => boolean): Promise<void> {
    while (!over()) {
      await this.look().catch(() => undefined); // it is being killed just now
      await sleep(everyMs);
    }
  }

  async look(): Promise<void> {
    const { machine } = this.#side;
    const { pid } = machine;
    const { memory } = await ask<Stats>(machine, '/v1/stats');
    const open = openFiles(pid, stateOf(machine));
    this.samples.push({
      pid,
      seconds: performance.now() / 1000,
      resident: memory.residentBytes,
      heap: memory.heapBytes,
      external: memory.externalBytes,
      ...open,
    });
  }

  growth(): Growth | undefined {
    const lives = new Map<number, Sample[]>();
    for (const sample of this.samples) lives.set(sample.pid, [...(lives.get(sample.pid) ?? []), sample]);
    const longest = [...lives.values()].sort((a, b) => b.length - a.length)[0] ?? [];
    const [first, last] = [longest[0], longest.at(-1)];
    if (first === undefined || last === undefined || longest.length < 2 * curvePoints) return undefined;
    return {
      seconds: last.seconds - first.seconds,
      residentMax: Math.max(...this.samples.map(({ resident }) => resident)),
      resident: curveOf(longest, (of) => Math.max(...of.map(({ resident }) => resident))),
      heap: curveOf(longest, (of) => Math.min(...of.map(({ heap }) => heap))),
      ofStagingMax: Math.max(...this.samples.map(({ ofStaging }) => ofStaging)),
      ofCacheMax: Math.max(...this.samples.map(({ ofCache }) => ofCache)),
      ofOthersMax: Math.max(...this.samples.map(({ ofOthers }) => ofOthers)),
    };
  }
}

function curveOf(samples: readonly Sample[], figure: (of: readonly Sample[]) => number): Curve {
  const part = (from: number, to: number): number =>
    figure(samples.slice(Math.floor(from * samples.length), Math.floor(to * samples.length)));
  return {
    curve: Array.from({ length: curvePoints }, (_, i) => part(i / curvePoints, (i + 1) / curvePoints)),
    middle: part(1 / 3, 2 / 3),
    last: part(2 / 3, 1),
  };
}

function descriptorsOf(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).flatMap((name) => {
    try {
      return [readlinkSync(`${directory}/${name}`)];
    } catch {
      return []; // closed meanwhile
    }
  });
}

function openFiles(pid: number, state: string): Pick<Sample, 'ofStaging' | 'ofCache' | 'ofOthers'> {
  const paths = descriptorsOf(pid);
  const below = (directory: string): number =>
    paths.filter((path) => path.startsWith(`${state}/${directory}/`)).length;
  const [ofStaging, ofCache] = [below('staging'), below('cache')];
  return { ofStaging, ofCache, ofOthers: paths.length - ofStaging - ofCache };
}

/** What a daemon without work still holds, in words; waits until it is nothing, for a while. */
export async function leftovers(side: Side, artifact: string, waitMs = 60_000): Promise<string[]> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const found = await look(side, artifact);
    if (found.length === 0 || Date.now() > deadline) return found;
    await sleep(500);
  }
}

async function look(side: Side, artifact: string): Promise<string[]> {
  const { machine, top } = side;
  const stats = await ask<Stats>(machine, '/v1/stats');
  const status = await ask<{ uploads: Record<string, number | string | null>; staged: string[] }>(
    machine,
    '/v1/status',
  );
  const of = await ask<{ stagedCount: number; bytesToUpload: number }>(
    machine,
    `/v1/artifacts/${artifact}/status`,
  );
  const state = stateOf(machine);
  const files = stagingFiles(state);
  const descriptors = descriptorsOf(machine.pid).filter((path) => path.endsWith(' (deleted)'));
  const open = openFiles(machine.pid, state);
  const figures: [string, number][] = [
    ['requests that wait', stats.requests.pending],
    ['requests given up and not over', stats.requests.givenUp],
    ['GETs under way', stats.counters['store.getsActive'] ?? 0],
    ['bytes to upload in the queue', Number(status.uploads['backlogBytes'])],
    ['parts under way', Number(status.uploads['activeParts'])],
    ['staged paths', of.stagedCount],
    ['bytes to upload', of.bytesToUpload],
    ['artifacts with something staged', status.staged.length],
    [`staging files (${files.slice(0, 5).join(', ')})`, files.length],
    ['open staging files', open.ofStaging],
    ['open cache files above the limit', Math.max(0, open.ofCache - limits.cacheOpenFilesMax)],
    [`descriptors of files that are gone (${descriptors.slice(0, 5).join(', ')})`, descriptors.length],
  ];
  return figures.filter(([, n]) => n !== 0).map(([what, n]) => `machine ${top}: ${n} ${what}`);
}

function stagingFiles(state: string): string[] {
  return readdirSync(`${state}/staging`, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}
