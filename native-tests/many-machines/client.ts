import { readdir, readFile, rename, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodeOf } from '../../src/cli/exit-codes.js';
import { Random } from '../soak/random.js';
import type { Outcome as CommandOutcome, Machine } from '../support/world.js';
import { Unknown } from './chunks.js';
import { statesBelow } from './files.js';
import { type Artifact, type Deed, Journal, type Outcome } from './journal.js';
import { type Host, Room, Wrong } from './room.js';

const flags = [
  '--memory=32MiB',
  '--cache-size=64MiB',
  '--refresh-interval=1',
  '--request-timeout=60',
  '--stop-timeout=5',
];

/** Steps at which a daemon kills itself, so that no moment of a commit is left to luck. */
const crashPoints = [
  'commit:sealed',
  'commit:planned',
  'commit:uploaded',
  'commit:saved',
  'append-prepared',
  'append-decided',
  'append-slot-saved',
  'append-slot-put',
  'append-slot-read',
  'commit:published',
  'commit:applied',
  'commit:retired',
  'commit:cleaned',
  'upload-pack-put',
  'stage-change-stored',
  'stage-change-committed',
  'stage-bytes-written',
];

/** What a mount answers whose daemon is gone, and nobody else answers. */
const ofTheDead = ['ENOTCONN', 'ECONNABORTED', 'ECONNRESET', 'ECONNREFUSED', 'ENODEV'];

const codeOfErrno: Readonly<Record<string, string>> = {
  ENODATA: 'NothingStaged',
  ECANCELED: 'Conflict',
  // libuv has no name for ESTALE.
  'Unknown system error -116': 'Stale',
  EIO: 'StoreUnavailable',
  ETIMEDOUT: 'TimedOut',
  ENOENT: 'NotFound',
  EBUSY: 'Busy',
};

const weights = {
  work: 10,
  commit: 7,
  refresh: 2,
  read: 1,
  kill: 1.2,
  arm: 1.2,
  lose: 0.15,
  remount: 0.3,
  collect: 0.5,
  alias: 0.7,
  expire: 0.4,
  rename: 0.3,
} as const;

/** The same without kills at any moment: only at named steps. */
const calmWeights = { ...weights, commit: 10, kill: 0, arm: 4 };

/** Others commit all the time: a refresh may come into each of several reads. */
const readsMax = 10;

const unmountTriesMax = 5;

/** May the store have caused a failure of something that began then? */
export type StoreExcuses = (began: number) => boolean;

/** One machine with a daemon, and the one program that works on it; it notes what it was told. */
export class Client implements Host {
  readonly name: string;
  readonly machine: Machine;
  readonly journal: Journal;
  readonly rooms: Readonly<Record<Artifact, Room>>;
  readonly #random: Random;
  readonly #excuses: StoreExcuses;
  readonly #weights: Readonly<Record<keyof typeof weights, number>>;
  #deeds = 0;
  #killer: NodeJS.Timeout | undefined;
  #began = 0;
  steps = 0;
  /** What it does now, for who wonders why a run takes long. */
  doing = 'nothing yet';

  constructor(name: string, machine: Machine, seed: number, excuses: StoreExcuses, isCalm: boolean) {
    this.name = name;
    this.machine = machine;
    this.journal = new Journal(join(machine.directory, 'journal'));
    this.#random = new Random(`${seed} ${name}`);
    this.#excuses = excuses;
    this.#weights = isCalm ? calmWeights : weights;
    this.rooms = { main: new Room(this, 'main', seed), second: new Room(this, 'second', seed) };
  }

  async mount(): Promise<void> {
    for (;;) {
      const began = Date.now();
      try {
        await this.machine.mount(...flags);
        return;
      } catch (error) {
        // An armed daemon may die before it is ready.
        const wasArmed = this.#disarm();
        await this.#bury();
        if (!wasArmed && !this.#excuses(began)) throw error;
        await sleep(200);
      }
    }
  }

  /** Who looks at all mounts of a machine, as `df` does, uses this one for a moment: then it is tried again. */
  async unmount(): Promise<CommandOutcome> {
    for (let tries = 0; ; tries++) {
      const outcome = await this.machine.unmount();
      if (outcome.code !== exitCodeOf('Busy') || tries === unmountTriesMax) return outcome;
      const users = await this.machine.try(`fuser -vm '${this.machine.mnt}' 2>&1`);
      this.journal.note(`unmount: ${outcome.stderr} ${users.stdout}`);
      this.journal.count('unmounts while in use');
      await sleep(500);
    }
  }

  async root(artifact: Artifact): Promise<string> {
    if (artifact === 'main') return this.machine.path('main');
    const name = (await readdir(this.machine.mnt)).find((each) => each.startsWith('second'));
    if (name === undefined) throw Object.assign(new Error('no second artifact'), { code: 'ENOENT' });
    return this.machine.path(name);
  }

  async requireAlive(): Promise<void> {
    // Of what programs ask, the kernel never answers this by itself.
    await statfs(this.machine.mnt);
  }

  /** One thing after another until `over`. */
  async run(over: () => boolean): Promise<void> {
    while (!over()) {
      await this.step();
      this.steps++;
      await sleep(this.#random.below(30));
    }
  }

  async step(): Promise<void> {
    this.#began = Date.now();
    const room = this.rooms[this.#random.chance(0.75) ? 'main' : 'second'];
    const what = this.#random.weighted(this.#weights);
    this.doing = `${what} in ${room.artifact}, step ${this.steps}`;
    switch (what) {
      case 'work':
        return room.work();
      case 'commit':
        return room.commit(this.#random.weighted({ fail: 6, mine: 2, theirs: 2 }));
      case 'refresh':
        return room.refresh();
      case 'read':
        return this.#read(room.artifact);
      case 'kill':
        return this.#killDuring(() => (this.#random.chance(0.6) ? room.commit('fail') : room.work()));
      case 'arm':
        return this.#arm();
      case 'lose':
        return this.#lose();
      case 'remount':
        return this.#remount();
      case 'collect':
        return this.#collect(room.artifact);
      case 'alias':
        return this.#alias();
      case 'expire':
        return this.#expire();
      case 'rename':
        return this.#rename();
    }
  }

  async outcomeOf(error: unknown): Promise<Outcome> {
    const errno = (error as NodeJS.ErrnoException).code ?? '';
    if (await this.#isDead(ofTheDead.includes(errno) || (await this.#isUnanswered()))) {
      await this.#revive();
      return { type: 'unknown' };
    }
    // What was given up after its deadline may still happen.
    const isGivenUp = errno === 'ETIMEDOUT' && this.#excuses(this.#began);
    if (errno === 'EINPROGRESS' || isGivenUp) return { type: 'unknown' };
    const code = codeOfErrno[errno];
    if (code === undefined) throw error;
    return this.#failure(code, []);
  }

  async tell(...args: string[]): Promise<Outcome> {
    const { code, stdout, stderr } = await this.machine.artifactfs(...args);
    if (code === 0) {
      const answer = JSON.parse(stdout) as { version?: number; commitId?: string };
      return { type: 'ok', version: answer.version ?? null, commitId: answer.commitId ?? null };
    }
    if (await this.#isDead(code === 1)) {
      await this.#revive();
      return { type: 'unknown' };
    }
    const line = stderr.split('\n').findLast((each) => each.startsWith('{'));
    if (line === undefined) throw new Wrong(`${this.name}: artifactfs ${args.join(' ')}: ${code}: ${stderr}`);
    const { error } = JSON.parse(line) as { error: { code: string; details?: { paths?: string[] } } };
    if (error.code === 'OutcomeUnknown') return { type: 'unknown' };
    return this.#failure(error.code, error.details?.paths ?? []);
  }

  /** `Unreachable`: the store was away, by the run's own doing. */
  #failure(code: string, paths: readonly string[]): Outcome {
    const isOfStore = code === 'StoreUnavailable' || code === 'TimedOut';
    return { type: 'failed', code: isOfStore && this.#excuses(this.#began) ? 'Unreachable' : code, paths };
  }

  /** Other calls may say EIO: bytes that the kernel kept could not be sent any more. */
  async #isUnanswered(): Promise<boolean> {
    return this.requireAlive().then(
      () => false,
      ({ code = '' }: NodeJS.ErrnoException) => ofTheDead.includes(code),
    );
  }

  /** A process that was killed takes a moment to be gone. */
  async #isDead(looksDead: boolean): Promise<boolean> {
    for (const deadline = Date.now() + (looksDead ? 5_000 : 50); Date.now() < deadline; await sleep(10))
      if (!this.machine.running) return true;
    return !this.machine.running;
  }

  async #bury(): Promise<void> {
    clearTimeout(this.#killer);
    this.#killer = undefined;
    await this.machine.kill();
  }

  #disarm(): boolean {
    const wasArmed = this.machine.env['ARTIFACTFS_CRASH_AT'] !== undefined;
    delete this.machine.env['ARTIFACTFS_CRASH_AT'];
    return wasArmed;
  }

  /** A new daemon with the state of the killed one. */
  async #revive(): Promise<void> {
    this.journal.count('kills');
    this.journal.note(`killed at ${this.machine.env['ARTIFACTFS_CRASH_AT'] ?? 'any time'}`);
    await this.#bury();
    this.#disarm();
    if (this.#random.chance(0.3)) this.machine.env['ARTIFACTFS_CRASH_AT'] = this.#crashPoint();
    await this.mount();
    for (const room of Object.values(this.rooms)) await room.check();
  }

  #crashPoint(): string {
    return `${this.#random.pick(crashPoints)}:${this.#random.between(1, 3)}`;
  }

  /** kill -9 at any moment of `work`, or after it. */
  async #killDuring(work: () => Promise<void>): Promise<void> {
    const { pid } = this.machine;
    this.#killer = setTimeout(() => {
      if (this.machine.running && this.machine.pid === pid) process.kill(pid, 'SIGKILL');
    }, this.#random.below(400));
    await work();
    if (this.#killer !== undefined) await this.#isDead(true);
    if (!this.machine.running) await this.#revive();
  }

  /** The next daemon kills itself at some step. */
  async #arm(): Promise<void> {
    this.journal.count('kills');
    await this.#bury();
    this.machine.env['ARTIFACTFS_CRASH_AT'] = this.#crashPoint();
    await this.mount();
  }

  /** The machine comes back with an empty disk. */
  async #lose(): Promise<void> {
    this.journal.count('lost disks');
    this.journal.note('the disk is lost');
    await this.#bury();
    this.#disarm();
    this.machine.forget();
    for (const room of Object.values(this.rooms)) room.lose();
    await this.mount();
  }

  async #remount(): Promise<void> {
    const { code, stderr } = await this.unmount();
    if (code !== 0 && this.machine.env['ARTIFACTFS_CRASH_AT'] === undefined)
      throw new Wrong(`${this.name}: unmount: ${stderr}`);
    this.journal.count('remounts');
    await this.#bury();
    this.#disarm();
    await this.mount();
    for (const room of Object.values(this.rooms)) await room.check();
  }

  /** Every byte that this machine shows is somebody's. A file that changes while it is read is read again. */
  async #read(artifact: Artifact): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await statesBelow(await this.root(artifact), '');
        return this.journal.count('reads of all');
      } catch (error) {
        if (!(error instanceof Unknown)) return this.#excuse(artifact, error);
        if (tries === readsMax) throw error;
        this.journal.count('reads in the middle of a change');
        await sleep(1_000);
      }
    }
  }

  async #excuse(artifact: Artifact, error: unknown): Promise<void> {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    const outcome = await this.outcomeOf(error);
    if (outcome.type === 'unknown' || artifact === 'second') return;
    if (outcome.type === 'failed' && outcome.code === 'Unreachable') return;
    throw error;
  }

  /** No grace: whatever writers may still use stays all the same. */
  async #collect(artifact: Artifact): Promise<void> {
    const outcome = await this.#try(artifact, async (root) =>
      this.tell('gc', root, '--grace', this.#random.pick(['0', '1s', '5s']) ?? '0', '--json'),
    );
    if (outcome?.type === 'ok') this.journal.count('gc');
    else if (outcome?.type === 'failed' && artifact === 'main' && outcome.code !== 'Unreachable')
      throw new Wrong(`${this.name}: gc: ${outcome.code}`);
  }

  async #alias(): Promise<void> {
    const versions = await this.#versions();
    const version = this.#random.pick(versions);
    if (version === undefined) return;
    const alias = this.#random.chance(0.5) ? 'best' : `${this.name}-${this.#deeds++}`;
    await this.#deed({ what: 'alias', from: alias, to: String(version) }, (root) =>
      this.tell('alias', root, alias, `v${version}`, '--json'),
    );
  }

  async #expire(): Promise<void> {
    const versions = (await this.#versions()).slice(0, -4);
    if (versions.length === 0) return;
    const chosen = versions.filter(() => this.#random.chance(0.5)).map((version) => `v${version}`);
    if (chosen.length === 0) return;
    await this.#deed({ what: 'expire', from: chosen.join(' '), to: '' }, (root) =>
      this.tell('expire', root, ...chosen, '--yes', '--json'),
    );
  }

  async #rename(): Promise<void> {
    const to = `second-${this.name}-${this.#deeds++}`;
    let from = '';
    await this.#deed({ what: 'rename', from: '', to }, async (root) => {
      from = root;
      await rename(from, this.machine.path(to));
      return { type: 'ok', version: null, commitId: null };
    });
  }

  async #versions(): Promise<number[]> {
    const names = await this.#try('second', async (root) => readdir(join(root, '.artifact/versions')));
    if (!Array.isArray(names)) return [];
    return names.map((name) => Number(name.slice(1))).sort((a, b) => a - b);
  }

  async #deed(deed: Omit<Deed, 'outcome'>, body: (root: string) => Promise<Outcome>): Promise<void> {
    const noted: Deed = { ...deed, outcome: { type: 'unknown' } };
    this.journal.deeds.push(noted);
    const outcome = await this.#try('second', body);
    noted.outcome = outcome ?? { type: 'unknown' };
    this.journal.note(`${deed.what} ${deed.from} ${deed.to}: ${JSON.stringify(noted.outcome)}`);
    this.journal.count(`${deed.what}: ${noted.outcome.type}`);
  }

  async #try<T>(artifact: Artifact, body: (root: string) => Promise<T>): Promise<T | Outcome> {
    try {
      return await body(await this.root(artifact));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      return this.outcomeOf(error);
    }
  }

  /** At the end: everything is committed, and the newest of all is shown. */
  async finish(): Promise<void> {
    if (this.#disarm()) {
      await this.#bury();
      await this.mount();
    }
    for (const room of Object.values(this.rooms)) await room.finish();
  }

  /** Of each artifact: that of the workspace leaves out artifacts that nobody has looked at since the mount. */
  async refresh(): Promise<void> {
    await writeFile(this.machine.path('.artifactfs/refresh'), '1');
    for (const room of Object.values(this.rooms)) await room.refresh();
  }

  /** The log and the aliases as the mount shows them. */
  async facts(artifact: Artifact): Promise<string> {
    const control = join(await this.root(artifact), '.artifact');
    const aliases = (await readdir(join(control, 'aliases'))).sort();
    return `${await readFile(join(control, 'log'), 'utf8')}${aliases.join(' ')}`;
  }
}
