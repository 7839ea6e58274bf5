import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../support/world.js';
import { ask } from './api.js';
import { compareContent, Mismatch } from './compare.js';
import type { Faults } from './faults.js';
import { Gate } from './gate.js';
import { Random } from './random.js';
import { type Version, type Versions, versionFile, type Window } from './versions.js';
import { type Place, partOf, Worker } from './worker.js';

const flags = [
  '--memory=64MiB',
  '--cache-size=96MiB',
  '--refresh-interval=0',
  '--request-timeout=60',
  '--stop-timeout=5',
];
/** What a killed daemon, and a store that is away, do to programs. */
const excused = [
  'ENOTCONN',
  'ECONNABORTED',
  'ENODEV',
  'EIO',
  'ETIMEDOUT',
  'EINTR',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
];
const ofTheStore = ['EIO', 'ETIMEDOUT'];

interface SideOptions {
  readonly name: string;
  readonly artifact: string;
  readonly machine: Machine;
  readonly workers: number;
  readonly seed: number;
  readonly versions: Versions;
  readonly faults: Faults;
}

/** One machine: a mount, the workers on it, and what is done to it. Its own actions are asked for one after another. */
export class Side implements Place {
  readonly machine: Machine;
  readonly artifact: string;
  readonly top: string;
  readonly workers: readonly Worker[];
  readonly counts = { commits: 0, refused: 0, kills: 0, remounts: 0, discards: 0, versionReads: 0 };
  readonly #gate = new Gate();
  readonly #random: Random;
  readonly #options: SideOptions;
  /** Moments at which the daemon went and came. */
  #downs: { readonly from: number; to: number }[] = [];
  #messages = 0;

  constructor(options: SideOptions) {
    this.#options = options;
    this.machine = options.machine;
    this.artifact = options.artifact;
    this.top = options.name;
    this.#random = new Random(`${options.seed} ${options.name}`);
    this.workers = Array.from(
      { length: options.workers },
      (_, i) => new Worker(this, `${options.name}/w${i}`, `${options.seed} ${options.name} ${i}`),
    );
  }

  get root(): string {
    return this.machine.path(this.artifact);
  }

  versionRoot(version: number): string {
    return this.machine.path(`${this.artifact}@v${version}`);
  }

  now(): number {
    return Date.now();
  }

  touch(roots: readonly string[]): void {
    for (const window of this.#options.versions.openOf(this)) {
      if (!window.closed) for (const root of roots) window.touched.add(root);
    }
  }

  excuse(error: unknown, began: number, doing: string): void {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const gone = this.#downs.some(({ from, to }) => began <= to && from <= Date.now());
    if (!(error instanceof Mismatch)) {
      if (gone && excused.includes(code)) return;
      if (this.#options.faults.excuses(began) && ofTheStore.includes(code)) {
        this.counts.refused++;
        return;
      }
    }
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`machine ${this.top}: ${doing}: ${text}`, { cause: error });
  }

  async mount(): Promise<void> {
    await this.machine.mount(...flags);
  }

  /** Keeps what the daemon has said, beside its state. */
  async keepLog(): Promise<void> {
    await appendFile(`${this.machine.directory}/daemon.log`, this.machine.output);
  }

  async begin(): Promise<void> {
    for (const worker of this.workers) await worker.begin();
  }

  /** Work of one worker until `over`. */
  async work(worker: Worker, over: () => boolean): Promise<void> {
    while (!over()) {
      await this.#gate.through(() => worker.step());
      await sleep(this.#random.below(20));
    }
  }

  /** Readers of versions, which never change. */
  async read(over: () => boolean): Promise<void> {
    while (!over()) {
      await this.#gate.through(() => this.#readVersion());
      await sleep(this.#random.below(60));
    }
  }

  async #readVersion(): Promise<void> {
    const found = this.#options.versions.any();
    const entry = found?.version.part.get(found.path);
    if (found === undefined || entry?.kind !== 'file') return;
    const began = this.now();
    const direct = this.#random.chance(0.6);
    try {
      await this.#know(found.version);
      await compareContent(versionFile(this, found.version, found.path), entry.content, { direct });
      this.counts.versionReads++;
    } catch (error) {
      this.excuse(error, began, `read of ${found.path} of v${found.version.number}`);
    }
  }

  /** A version of the other machine is there after a refresh. */
  #asOf = -1;
  async #know(version: Version): Promise<void> {
    if (version.number <= this.#asOf) return;
    const { count } = this.#options.versions;
    await this.refresh();
    this.#asOf = count - 1;
  }

  /** With what the store's faults may do to it. */
  async refreshNow(): Promise<void> {
    const began = this.now();
    await this.refresh().catch((error: unknown) => this.excuse(error, began, 'refresh'));
  }

  async refresh(): Promise<void> {
    await writeFile(`${this.root}/.artifact/refresh`, '1');
  }

  /** False: there was nothing to commit, or it failed for a reason. */
  async commit(): Promise<boolean> {
    const began = this.now();
    const message = `${this.top} ${this.#messages++}`;
    let tell = (): void => {};
    const over = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const window: Window = {
      message,
      side: this,
      parts: this.workers.map(({ model }) => model.freeze()),
      touched: new Set(this.workers.flatMap(({ uncertain }) => uncertain)),
      over,
      closed: false,
    };
    const { versions } = this.#options;
    const older = versions.openOf(this);
    versions.open(window);
    try {
      await writeFile(`${this.root}/.artifact/commit`, message);
      window.closed = true;
      this.counts.commits++;
      tell();
      await this.#learn();
      // Those that failed before it either are in the log now or never will be.
      for (const failed of older) versions.forget(failed);
      return true;
    } catch (error) {
      tell();
      if ((error as NodeJS.ErrnoException).code === 'ENODATA') versions.forget(window);
      else this.excuse(error, began, `commit ${message} (${await this.#lastError()})`);
      return false;
    }
  }

  async #lastError(): Promise<string> {
    return readFile(`${this.root}/.artifact/last-error`, 'utf8').catch(String);
  }

  async #learn(): Promise<void> {
    const began = this.now();
    try {
      await this.#options.versions.learn(this);
    } catch (error) {
      this.excuse(error, began, 'look at the new versions');
    }
  }

  /** kill -9, and a new daemon. */
  async kill(): Promise<void> {
    this.counts.kills++;
    this.#gate.close();
    const down = { from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#downs.push(down);
    try {
      await this.machine.kill('SIGKILL', false);
      await this.keepLog();
      await this.#gate.empty();
      await this.#mountAgain();
    } finally {
      down.to = Date.now();
      this.#gate.open();
    }
  }

  async remount(): Promise<void> {
    this.counts.remounts++;
    await this.alone(async () => {
      const { code, stderr } = await this.machine.unmount();
      if (code !== 0) throw new Error(`machine ${this.top}: unmount: ${stderr}`);
      await this.keepLog();
      await this.#mountAgain();
    });
  }

  /** A mount in an outage fails, and is tried again by whoever needs it. */
  async #mountAgain(): Promise<void> {
    const began = Date.now();
    for (;;) {
      try {
        this.#asOf = -1;
        return await this.mount();
      } catch (error) {
        if (!this.#options.faults.excuses(began)) throw error;
        await this.machine.kill();
        await sleep(500);
      }
    }
  }

  /** Drops the stage; what nobody has committed is gone, and all else is there. */
  async discard(): Promise<void> {
    await this.alone(async () => {
      const { versions } = this.#options;
      await this.#learn();
      const newest = versions.newest;
      if (newest === undefined || versions.openOf(this).length > 0) return;
      const began = this.now();
      try {
        await writeFile(`${this.root}/.artifact/discard`, '1');
      } catch (error) {
        // Whether it was done shows in the next look: it is asked for until it is.
        this.excuse(error, began, 'discard');
        return this.#untilDiscarded();
      }
      await this.#restore(newest);
    });
  }

  async #untilDiscarded(): Promise<void> {
    const { versions } = this.#options;
    for (;;) {
      const began = this.now();
      try {
        await sleep(500);
        await writeFile(`${this.root}/.artifact/discard`, '1');
        if (versions.newest !== undefined) await this.#restore(versions.newest);
        return;
      } catch (error) {
        this.excuse(error, began, 'discard');
      }
    }
  }

  async #restore(version: Version): Promise<void> {
    this.counts.discards++;
    for (const worker of this.workers) {
      await worker.restore(partOf(version.part, worker.model.top));
      await worker.compare(() => this.#random.chance(0.2));
    }
  }

  /** While no worker is in the middle of something. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    this.#gate.close();
    await this.#gate.empty();
    try {
      return await work();
    } finally {
      this.#gate.open();
    }
  }

  /** Everything is known, and in the store: no worker is at work any more. */
  async finish(): Promise<void> {
    for (const worker of this.workers) while (!(await worker.settle())) await sleep(500);
    // Also with nothing staged: a commit lets go of the staging file that small files shared and left.
    for (;;) {
      await this.commit();
      await this.#learn();
      const path = `/v1/artifacts/${this.artifact}/status`;
      const { stagedCount } = await ask<{ stagedCount: number }>(this.machine, path);
      if (stagedCount === 0) break;
      await sleep(100);
    }
    for (const window of this.#options.versions.openOf(this)) this.#options.versions.forget(window);
  }

  /** All that this machine's workers made, in the working view. */
  async compareOwn(reads: (path: string) => boolean = () => true): Promise<number> {
    let bytes = 0;
    for (const worker of this.workers) bytes += await worker.compare(reads);
    return bytes;
  }
}
