import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../src/model/limits.js';
import { Report } from '../support/report.js';
import { testServer } from '../support/s3.js';
import { World } from '../support/world.js';
import { Mismatch } from './compare.js';
import { Faults } from './faults.js';
import { type Curve, type Growth, leftovers, Measure } from './measure.js';
import { Random } from './random.js';
import { Side } from './side.js';
import { unfinishedUploads } from './uploads.js';
import { compareVersion, Versions } from './versions.js';

export interface SoakOptions {
  readonly seed: number;
  /** How long, or so many steps of each worker. */
  readonly minutes?: number;
  readonly steps?: number;
  readonly workers: number;
  readonly note: (text: string) => void;
}

export interface SoakResult {
  readonly lines: readonly (readonly [what: string, found: string])[];
  readonly failures: readonly string[];
}

const artifact = 'soak';
const afterEventMs = [2_000, 9_000] as const;
/** Of a daemon that lived so long, */
const judgedSecondsMin = 480;
/** the last third of its life may have more than the middle third by this share, and so many bytes. */
const growthShareMax = 0.1;
const growthBytesMax = 8 << 20;
/** Files in use are never closed for others: there may be so many above the limits. */
const inUseMax = limits.fuseBackgroundRequestsMax;
/** Connections, databases, the kernel's, Node's own: all that is no staging or cache file. */
const otherDescriptorsMax = 64 + 2 * limits.storeRequestsMax;

const events = {
  commit: 10,
  refresh: 2,
  kill: 2,
  killInCommit: 2,
  remount: 1.5,
  discard: 1,
  outage: 1,
} as const;
type Event = keyof typeof events;
/** What happens in this order first, so that a short run has all of it. */
const opening: readonly Event[] = [
  'commit',
  'kill',
  'commit',
  'discard',
  'killInCommit',
  'remount',
  'commit',
  'outage',
  'commit',
  'refresh',
];

/** Mixed work on two machines over a store that fails now and then; afterwards everything must be there, and nothing else. */
export class Soak implements AsyncDisposable {
  readonly #options: SoakOptions;
  readonly #random: Random;
  readonly #began = performance.now();
  readonly #report: Report;
  #over = false;

  readonly #world: World;
  readonly #store: Awaited<ReturnType<typeof testServer>>;
  readonly #faults: Faults;
  readonly #versions: Versions;
  readonly #sides: readonly Side[];
  readonly #measures: readonly Measure[];

  static async make(options: SoakOptions): Promise<Soak> {
    return new Soak(options, await testServer());
  }

  private constructor(options: SoakOptions, store: Awaited<ReturnType<typeof testServer>>) {
    this.#options = options;
    this.#report = new Report(options.note);
    this.#store = store;
    this.#random = new Random(`${options.seed} events`);
    this.#world = new World(store.options);
    this.#faults = new Faults(store.server.control);
    this.#versions = new Versions(new Random(`${options.seed} versions`));
    this.#sides = ['a', 'b'].map(
      (name) =>
        new Side({
          name,
          artifact,
          machine: this.#world.machine(name),
          workers: options.workers,
          seed: options.seed,
          versions: this.#versions,
          faults: this.#faults,
        }),
    );
    this.#measures = this.#sides.map((side) => new Measure(side));
  }

  get directory(): string {
    return this.#world.directory;
  }

  async run(): Promise<SoakResult> {
    try {
      await this.#begin();
      await this.#work();
      await this.#end();
    } catch (error) {
      this.#fail(error);
    }
    return { lines: this.#table(), failures: this.#report.failures };
  }

  async #begin(): Promise<void> {
    const [first, second] = this.#sides;
    if (first === undefined || second === undefined) throw new Error('no machines');
    await first.mount();
    await first.machine.sh(`mkdir -p "$MNT/${artifact}/a" "$MNT/${artifact}/b"`);
    await first.begin();
    await first.commit();
    await second.mount();
    await second.begin();
    await this.#faults.on(this.#options.seed);
    this.#report.note(`two machines work in ${this.#world.directory}`);
  }

  async #work(): Promise<void> {
    const over = (): boolean => this.#over;
    const tasks = this.#sides.flatMap((side, i) => [
      ...side.workers.map((worker) => side.work(worker, over)),
      ...[0, 1].map(() => side.read(over)),
      this.#measures[i]?.run(over),
    ]);
    const guarded = [...tasks, this.#happen()].map((task) =>
      Promise.resolve(task).catch((error: unknown) => this.#fail(error)),
    );
    await Promise.all(guarded);
  }

  /** One event after another until the time, or the work, is over. */
  async #happen(): Promise<void> {
    for (let n = 0; !this.#over; n++) {
      const share = await this.#untilNext(n);
      if (this.#over || (share >= 1 && (this.#options.steps === undefined || n >= opening.length))) break;
      const side = this.#sides[this.#random.chance(share < 0.3 ? 0.5 : 0.35) ? 0 : 1];
      const event = opening[n] ?? this.#random.weighted(events);
      if (side !== undefined) await this.#event(event, side, share);
    }
    this.#over = true;
  }

  /** Waits, and says how much of the run is over. */
  async #untilNext(n: number): Promise<number> {
    const { minutes, steps } = this.#options;
    if (steps === undefined) {
      await sleep(this.#random.between(...afterEventMs));
      return (performance.now() - this.#began) / ((minutes ?? 1) * 60_000);
    }
    const all = this.#sides.flatMap(({ workers }) => workers);
    const done = (): number =>
      all.reduce((sum, worker) => sum + Math.min(worker.steps, steps), 0) / (all.length * steps);
    while (done() < Math.min(1, (n + 1) / (opening.length + 2)) && !this.#over) await sleep(50);
    return done();
  }

  async #event(event: Event, side: Side, share: number): Promise<void> {
    // Memory is measured in a daemon that lives long.
    const steady = side === this.#sides[0] && share > 0.3 && this.#options.steps === undefined;
    const chosen =
      steady && (event === 'kill' || event === 'killInCommit' || event === 'remount') ? 'commit' : event;
    this.#report.note(`${chosen} on ${side.top}`);
    switch (chosen) {
      case 'commit':
        // Both at the same time now and then: one of them is rebased.
        if (this.#random.chance(0.3)) await Promise.all(this.#sides.map((each) => each.commit()));
        else await side.commit();
        return;
      case 'killInCommit': {
        const commit = side.commit();
        await sleep(this.#random.below(1500));
        await Promise.all([side.kill(), commit]);
        return;
      }
      case 'refresh':
        return side.refreshNow();
      case 'outage':
        return this.#faults.outage(
          this.#random.between(2_000, 8_000),
          this.#random.pick(['reset', 'status', 'stall']) ?? 'reset',
        );
      default:
        return side[chosen]();
    }
  }

  /** The store is well again: all is committed, and every view of it compared. */
  async #end(): Promise<void> {
    await this.#faults.off();
    this.#report.note('the end: everything is committed and compared');
    for (const side of this.#sides) await side.finish();
    for (const side of this.#sides) await side.refresh();
    const { newest } = this.#versions;
    if (newest === undefined) throw new Mismatch('no version was made');
    let bytes = 0;
    for (const side of this.#sides) {
      bytes += await side.compareOwn();
      bytes += await compareVersion(side.root, newest.part, () => true);
    }
    for (const side of this.#sides) this.#report.failures.push(...(await leftovers(side, artifact)));
    for (const key of await unfinishedUploads(this.#store.server)) {
      this.#report.failures.push(`an unfinished multipart upload is left: ${key}`);
    }
    for (const measure of this.#measures) await measure.look();
    bytes += await this.#elsewhere();
    this.#compared = bytes;
    for (const side of this.#sides) {
      const { code, stderr } = await side.machine.unmount();
      if (code !== 0) this.#report.failures.push(`machine ${side.top}: unmount: ${stderr}`);
    }
  }
  #compared = 0;

  /** A machine that knows nothing shows the newest version, and those before. */
  async #elsewhere(): Promise<number> {
    const fresh = this.#world.machine('fresh');
    await fresh.mount('--memory=64MiB', '--cache-size=96MiB');
    let bytes = 0;
    const { newest, kept } = this.#versions;
    if (newest !== undefined) bytes += await compareVersion(fresh.path(artifact), newest.part, () => true);
    for (const { number, part } of kept) {
      bytes += await compareVersion(fresh.path(`${artifact}@v${number}`), part, () =>
        this.#random.chance(0.3),
      );
    }
    const { code, stderr } = await fresh.unmount();
    if (code !== 0) this.#report.failures.push(`fresh machine: unmount: ${stderr}`);
    return bytes;
  }

  #fail(error: unknown): void {
    this.#over = true;
    this.#report.fail(error);
  }

  #table(): [string, string][] {
    const lines: [string, string][] = [
      ['seed', String(this.#options.seed)],
      ['seconds', String(this.#report.seconds)],
      ['versions', String(this.#versions.count)],
      ['bytes compared at the end', mebibytes(this.#compared)],
    ];
    for (const [i, side] of this.#sides.entries()) {
      const counts: Record<string, number> = {};
      for (const worker of side.workers) {
        for (const [what, n] of Object.entries(worker.counts)) counts[what] = (counts[what] ?? 0) + n;
      }
      const say = (of: Record<string, number>): string =>
        Object.entries(of)
          .map(([what, n]) => `${what} ${n}`)
          .join(', ');
      lines.push(
        [`machine ${side.top}: work`, say(counts)],
        [`machine ${side.top}: events`, say(side.counts)],
      );
      const growth = this.#measures[i]?.growth();
      if (growth !== undefined) lines.push([`machine ${side.top}: memory`, this.#judge(side, growth)]);
    }
    return lines;
  }

  #judge(side: Side, growth: Growth): string {
    const { resident, heap } = growth;
    const curve = ({ curve }: Curve): string => curve.map((bytes) => (bytes / 2 ** 20).toFixed(0)).join(' ');
    const text = `in ${growth.seconds.toFixed(0)} s of one daemon: resident at most ${curve(resident)} MiB, heap at least ${curve(heap)} MiB; resident at most ${mebibytes(growth.residentMax)}; open at most ${growth.ofStagingMax} staging files, ${growth.ofCacheMax} of the cache, ${growth.ofOthersMax} others`;
    const grows = ({ middle, last }: Curve): boolean => last > middle * (1 + growthShareMax) + growthBytesMax;
    if (growth.seconds > judgedSecondsMin && (grows(resident) || grows(heap))) {
      this.#report.failures.push(`machine ${side.top}: memory grows: ${text}`);
    }
    const { ofStagingMax, ofCacheMax, ofOthersMax } = growth;
    if (
      ofStagingMax > limits.stagingOpenFilesMax + inUseMax ||
      ofCacheMax > limits.cacheOpenFilesMax + inUseMax ||
      ofOthersMax > otherDescriptorsMax
    ) {
      this.#report.failures.push(`machine ${side.top}: too many open files: ${text}`);
    }
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What failed is evidence: states and logs stay, mounts and processes go.
    for (const side of this.#sides) {
      await side.machine.stop();
      await side.keepLog();
      for (const { model, history } of side.workers) {
        const name = `${model.top.replace('/', '-')}.actions`;
        writeFileSync(join(side.machine.directory, name), `${history.join('\n')}\n`);
      }
    }
    await this.#store.close();
    if (this.#report.failures.length === 0) await this.#world[Symbol.asyncDispose]();
    else
      for (const side of this.#sides)
        rmSync(join(side.machine.directory, 'tmp'), { recursive: true, force: true });
  }
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
