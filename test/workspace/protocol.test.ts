import { describe, expect, it } from 'vitest';
import { ArtifactError, isCode } from '../../src/model/errors.js';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import type { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ByteRange } from '../../src/store/object-store.js';
import type { PublishRequest, PublishResult } from '../../src/workspace/commit-types.js';
import type { PathChange } from '../../src/workspace/trees.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { runs, seed } from '../support/seed.js';
import { ChaosStore, Process, World } from './chaos.js';
import {
  added,
  artifactId,
  changed,
  checkTree,
  fileAt,
  inOrder,
  MemoryJournal,
  publishRequest,
  readTree,
  settled,
} from './helpers.js';

/** Each shortcut looks harmless; the last test of this file shows that the property catches it. */
interface Shortcuts {
  /** A create that was answered well counts as done. */
  readonly answersBelieved?: boolean;
  /** A slot that cannot be read now counts as empty. */
  readonly brokenIsMissing?: boolean;
  /** What is not in the log now counts as failed, though it may be on its way. */
  readonly emptyIsFailure?: boolean;
  /** Intents are not on disk when the record is sent. */
  readonly intentsInMemory?: boolean;
}

/** What a test may rely on about one attempt to commit. */
interface Attempt {
  readonly commitId: string;
  readonly changes: readonly PathChange[];
  outcome: 'open' | 'success' | 'failure';
  code?: string;
}

/** What a machine sees of its store that takes shortcuts. */
class CarelessStore extends ChaosStore {
  readonly #shortcuts: Shortcuts;
  readonly #believed = new Map<string, Buffer>();

  constructor(world: World, process: Process, name: string, shortcuts: Shortcuts) {
    super(world, process, name);
    this.#shortcuts = shortcuts;
  }

  override async putIfAbsent(key: string, body: Buffer): Promise<{ etag: string }> {
    const answer = await super.putIfAbsent(key, body);
    if (this.#shortcuts.answersBelieved === true) this.#believed.set(key, body);
    return answer;
  }

  override async get(key: string, range?: ByteRange): Promise<Buffer> {
    const believed = this.#believed.get(key);
    if (believed !== undefined) return believed;
    try {
      return await super.get(key, range);
    } catch (error) {
      if (this.#shortcuts.brokenIsMissing !== true || !key.includes('/log/')) throw error;
      throw new ArtifactError('NotFound', `there is no ${key}`);
    }
  }
}

/** A machine that commits, is killed, comes back with its journal, resolves, and goes on. */
class Committer {
  readonly name: string;
  readonly journal = new MemoryJournal();
  readonly attempts: Attempt[] = [];
  readonly #world: World;
  process = new Process();
  done = false;
  #base: PublishRequest['base'] = null;
  #files = new Map<string, ReturnType<typeof fileAt>>();
  readonly #commits: number;

  readonly #shortcuts: Shortcuts;

  constructor(world: World, name: string, commits: number, shortcuts: Shortcuts = {}) {
    this.#world = world;
    this.name = name;
    this.#commits = commits;
    this.#shortcuts = shortcuts;
  }

  start(): void {
    this.process = new Process();
    this.#live(this.process).catch((error: unknown) => {
      this.#world.trace.push(`${this.name} broke: ${String(error)}`);
      this.failed = error;
      this.done = true;
    });
  }
  failed: unknown;

  kill(): void {
    this.#world.kill(this.process, () => this.#world.random() < 0.5);
    if (this.#shortcuts.intentsInMemory === true) this.#forget();
  }

  #forget(): void {
    this.journal.intents.clear();
    for (const attempt of this.attempts) if (attempt.outcome === 'open') attempt.outcome = 'failure';
  }

  async #live(process: Process): Promise<void> {
    const store = new CarelessStore(this.#world, process, this.name, this.#shortcuts);
    const workspace = await this.#open(store);
    for (const intent of this.journal.pending()) await this.#resolve(workspace, intent.commitId);
    while (this.attempts.length < this.#commits) await this.#commit(workspace, store);
    this.done = true;
  }

  async #open(store: ChaosStore): Promise<Workspace> {
    for (;;) {
      try {
        const { random } = this.#world;
        return await Workspace.open(store, { host: this.name, user: 'test', sleep: store.sleep, random });
      } catch (error) {
        if (!isCode(error, 'StoreUnavailable')) throw error;
      }
    }
  }

  /** Every second time the log is asked for before there is anything to write, as beside an upload. */
  async #commit(workspace: Workspace, store: ChaosStore): Promise<void> {
    const base = this.#base;
    const position = { artifactId, sinceSeq: base?.seq ?? 0, sincePrev: base?.hash ?? '' };
    const log = this.attempts.length % 2 === 1 ? workspace.look(position) : undefined;
    log?.catch(() => {});
    if (log !== undefined) await store.sleep();
    const attempt: Attempt = { commitId: newCommitId(), changes: this.#changes(), outcome: 'open' };
    this.attempts.push(attempt);
    const request = publishRequest(attempt.changes, {
      commitId: attempt.commitId,
      stageId: newStageId(),
      base: this.#base,
      inoPrefixes: [this.name.charCodeAt(0)],
    });
    try {
      const ready = log === undefined ? request : { ...request, log };
      this.#succeeded(attempt, await workspace.publish(ready, this.journal));
    } catch (error) {
      if (isCode(error, 'OutcomeUnknown')) return this.#resolve(workspace, attempt.commitId);
      this.#failed(attempt, error);
    }
  }

  async #resolve(workspace: Workspace, commitId: string): Promise<void> {
    const attempt = this.attempts.find((one) => one.commitId === commitId);
    if (attempt === undefined) throw new Error('an intent of nobody');
    const isAsked = this.#shortcuts.emptyIsFailure === true;
    const result = await (isAsked
      ? this.#looked(workspace, commitId)
      : settled(workspace, this.journal, commitId));
    if (result === null) attempt.outcome = 'failure';
    else this.#succeeded(attempt, result);
  }

  async #looked(workspace: Workspace, commitId: string): Promise<PublishResult | null> {
    for (;;) {
      try {
        const log = await workspace.readLog(artifactId, 0, '');
        this.journal.remove(commitId);
        const mine = log.findIndex(({ record }) => record.commitId === commitId);
        const last = log[mine]?.record;
        if (last?.type !== 'commit') return null;
        return { ...last, records: log.slice(0, mine + 1), rebased: false };
      } catch (error) {
        if (!isCode(error, 'StoreUnavailable')) throw error;
      }
    }
  }

  /** Files of its own, and one that all write: sometimes the same, sometimes not. */
  #changes(): PathChange[] {
    const n = this.attempts.length;
    const ino = this.name.charCodeAt(0) * 2 ** 20 + n * 2;
    const own = fileAt(`${this.name}-${n}`, ino, `${this.name}${n}`);
    const content = this.#world.random() < 0.5 ? 'all' : `${this.name}${n}s`;
    const before = this.#files.get('shared');
    const shared = fileAt('shared', before?.ino ?? ino + 1, content);
    // What is as before is no change: no commit names it.
    const isSame = before?.sha256 === shared.sha256;
    return inOrder(
      this.#world.random() < 0.5 || isSame
        ? [added(own)]
        : [added(own), before === undefined ? added(shared) : changed(before, shared)],
    );
  }

  #succeeded(attempt: Attempt, result: PublishResult): void {
    attempt.outcome = 'success';
    const mine = result.records.at(-1);
    if (mine?.record.commitId !== attempt.commitId) throw new Error('the last record is not ours');
    this.journal.remove(attempt.commitId);
    const { version, tree } = result;
    this.#base = { seq: mine.record.seq, hash: mine.hash, version, tree };
    this.#basePending = true;
  }
  #basePending = false;

  #failed(attempt: Attempt, error: unknown): void {
    if (!isCode(error, 'Conflict', 'StoreUnavailable', 'Busy')) throw error;
    attempt.outcome = 'failure';
    attempt.code = error.code;
    if (this.journal.intents.has(attempt.commitId)) throw new Error('a failed commit left its intent');
  }

  /** The file table of the base, once it is known: read from the truth, because a machine has it in its catalog. */
  async lookAtBase(): Promise<void> {
    if (!this.#basePending || this.#base === null) return;
    this.#basePending = false;
    const { entries } = await readTree(await Workspace.open(this.#world.truth), this.#base.tree);
    this.#files = entries as Map<string, ReturnType<typeof fileAt>>;
  }
}

/** Runs one interleaving to its end and checks everything that must hold. */
async function interleave(seed: number, shortcuts: Shortcuts = {}) {
  const world = new World(seed, [0, 0.1, 0.3, 0.6][seed % 4] ?? 0);
  await Workspace.open(world.truth);
  const names = ['A', 'B', 'C'].slice(0, 2 + (seed % 2));
  const committers = names.map((name) => new Committer(world, name, 2, shortcuts));
  for (const committer of committers) committer.start();
  let kills = 0;
  while (committers.some((committer) => !committer.done)) {
    for (const committer of committers) await committer.lookAtBase();
    if (world.steps > 500) world.faults = 0;
    const victim = committers[Math.floor(world.random() * committers.length)];
    if (victim !== undefined && !victim.done && world.random() < 0.01 && kills < 3) {
      victim.kill();
      victim.start();
      kills++;
    }
    if (!(await world.step())) throw new Error('everybody waits, and nothing happens');
    if (world.steps > 5000) throw new Error('no end');
  }
  await world.finish();
  for (const committer of committers) if (committer.failed !== undefined) throw committer.failed;
  const attempts = committers.flatMap((committer) => committer.attempts);
  await checkLog(world.truth, attempts);
  return {
    successes: attempts.filter(({ outcome }) => outcome === 'success').length,
    failures: attempts.filter(({ outcome }) => outcome === 'failure').length,
    kills,
  };
}

async function checkLog(truth: MemoryStore, attempts: readonly Attempt[]): Promise<void> {
  const workspace = await Workspace.open(truth);
  const log = await workspace.readLog(artifactId, 0, '');
  const inLog = log.map(({ record }) => record.commitId);
  for (const attempt of attempts) {
    const times = inLog.filter((commitId) => commitId === attempt.commitId).length;
    expect([attempt.outcome, times]).toEqual(attempt.outcome === 'success' ? ['success', 1] : ['failure', 0]);
  }
  const known = attempts.map(({ commitId }) => commitId);
  expect(inLog.filter((commitId) => !known.includes(commitId))).toEqual([]);
  const contents = new Map<string, string | undefined>();
  for (const { record } of log) {
    if (record.type !== 'commit') continue;
    const attempt = attempts.find(({ commitId }) => commitId === record.commitId);
    for (const { name, after } of attempt?.changes ?? []) contents.set(name, after?.sha256);
    const { entries, metarange } = await readTree(workspace, record.tree);
    checkTree(entries, metarange);
    entries.delete('');
    const found = [...entries].map(([path, entry]) => [path, entry.sha256]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(contents));
  }
}

describe('committers over a store that loses, delays, repeats and lies', () => {
  it('agree: each success is in the log once, no failure is, and trees are what the log says', async () => {
    const total = { successes: 0, failures: 0, kills: 0 };
    for (let i = seed; i < seed + interleavings; i++) {
      try {
        const { successes, failures, kills } = await interleave(i);
        total.successes += successes;
        total.failures += failures;
        total.kills += kills;
      } catch (error) {
        throw new Error(`interleaving ${i}: ${String(error)}`, { cause: error });
      }
    }
    // It proves something only while both happen, often.
    expect(total.successes).toBeGreaterThan(interleavings * 2);
    expect(total.failures).toBeGreaterThan(interleavings / 10);
    expect(total.kills).toBeGreaterThan(interleavings / 10);
  });
});

const interleavings = runs(2000);

describe('a committer that is killed', () => {
  const cases = [false, true].flatMap((arrives) => [false, true].map((rival) => ({ arrives, rival })));

  it.each(cases)(
    'at any step commits once after all (what it sent arrives: $arrives, a rival commits: $rival)',
    async ({ arrives, rival }) => {
      let killedAt = 0;
      let resolved = 0;
      for (; ; killedAt++) {
        const world = new World(killedAt, 0);
        await Workspace.open(world.truth);
        const victim = new Committer(world, 'A', 2);
        victim.start();
        for (let step = 0; step < killedAt && (await world.step(() => 0)); step++) await victim.lookAtBase();
        if (victim.done) break;
        world.kill(victim.process, () => arrives);
        const competitor = new Committer(world, 'B', 1);
        if (rival) {
          competitor.start();
          while (!competitor.done && (await world.step((count) => count - 1)));
        }
        if (victim.journal.pending().some(({ state }) => state === 'slot')) resolved++;
        victim.start();
        while (!victim.done && (await world.step(() => 0))) await victim.lookAtBase();
        await world.finish();
        expect([victim.failed, competitor.failed]).toEqual([undefined, undefined]);
        expect(victim.attempts).toHaveLength(2);
        await checkLog(world.truth, [...victim.attempts, ...competitor.attempts]);
      }
      expect(killedAt).toBeGreaterThan(10);
      expect(resolved).toBeGreaterThan(2);
    },
  );
});

describe('shortcuts of the protocol', () => {
  it.each<[string, Shortcuts]>([
    ['an answer is believed', { answersBelieved: true }],
    ['a slot that cannot be read counts as empty', { brokenIsMissing: true }],
    ['what is not there yet counts as failed', { emptyIsFailure: true }],
    ['an intent is not on disk when its record is sent', { intentsInMemory: true }],
  ])('are caught when %s', async (_, shortcuts) => {
    let wrong: unknown;
    for (let i = 0; wrong === undefined && i < 1000; i++)
      await interleave(i, shortcuts).catch((error: unknown) => {
        // A machine that breaks is no wrong outcome.
        if (error instanceof Error && error.name === 'AssertionError') wrong = error;
      });
    expect(wrong).toBeDefined();
  });
});
