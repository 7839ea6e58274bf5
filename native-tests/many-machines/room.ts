import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../soak/random.js';
import { Unknown } from './chunks.js';
import { type Act, isMissing, Program, stateAt } from './files.js';
import type { Artifact, Attempt, Journal, Outcome } from './journal.js';
import { isSame, type OnConflict, type State, shown } from './state.js';

/** Something that must never be. */
export class Wrong extends Error {
  override name = 'Wrong';
}

/** Who owns the daemon under a room. */
export interface Host {
  readonly name: string;
  readonly journal: Journal;
  /** The artifact's directory, wherever it is called now. */
  root(artifact: Artifact): Promise<string>;
  /**
   * Throws as a call on a mount whose daemon is gone. Who closes a file just after a kill is not told: the kernel drops what
   * it kept, and `close` succeeds (Linux 6.18).
   */
  requireAlive(): Promise<void>;
  /** `artifactfs` with these arguments, to the daemon. */
  tell(...args: string[]): Promise<Outcome>;
  /** What an error of a call on the mount says; when the daemon is dead, it runs again when this resolves. */
  outcomeOf(error: unknown): Promise<Outcome>;
}

/** One artifact as one client works on it: what it has staged since its last commit, and commits of unknown fate. */
export class Room {
  readonly artifact: Artifact;
  readonly #host: Host;
  readonly #random: Random;
  readonly #program: Program;
  readonly #staged = new Map<string, State | null>();
  #doubts: Attempt[] = [];
  #isCommitting = false;
  /** Of what is being done. */
  #open: readonly string[] = [];
  #calls = 0;

  constructor(host: Host, artifact: Artifact, seed: number) {
    this.#host = host;
    this.artifact = artifact;
    this.#random = new Random(`${seed} ${host.name} ${artifact}`);
    this.#program = new Program(host.name, this.#random);
  }

  get isStaged(): boolean {
    return this.#staged.size > 0 || this.#doubts.length > 0;
  }

  /** Some changes of files. The first one of a stage makes a file of its own, so that the stage is never empty. */
  async work(): Promise<void> {
    if (this.#doubts.length > 0) return this.commit('fail');
    const count = this.#random.between(2, 7);
    for (let i = 0; i < count; i++) await this.#step();
  }

  async #step(): Promise<void> {
    let act: Act | null = null;
    try {
      const root = await this.#host.root(this.artifact);
      act = this.#staged.size === 0 ? this.#program.marker(root) : await this.#program.next(root);
      if (act === null) return;
      this.#open = act.paths;
      const changes = await act.run();
      await this.#host.requireAlive();
      for (const [path, state] of changes) this.#staged.set(path, state);
      this.#host.journal.note(`${this.artifact}: ${act.what}`);
      this.#host.journal.count('changes');
    } catch (error) {
      await this.#excuse(error);
      if (act !== null) await this.#look(act);
    } finally {
      this.#open = [];
    }
  }

  /** What is there of something that failed or was cut off. */
  async #look(act: Act): Promise<void> {
    const isFirst = this.#staged.size === 0;
    for (const path of act.paths) {
      const state = await this.#insist(async (root) => {
        const full = join(root, path);
        try {
          return await stateAt(full);
        } catch (error) {
          if (!(error instanceof Unknown)) throw error;
          // Half of it was written.
          await rm(full);
          return null;
        }
      });
      if (!(isFirst && state === null)) this.#staged.set(path, state);
      this.#host.journal.note(`${this.artifact}: ${act.what} was cut off; ${path} is ${shown(state)}`);
    }
  }

  /** Until it works, on whichever daemon there is then. */
  async #insist<T>(body: (root: string) => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        return await body(await this.#host.root(this.artifact));
      } catch (error) {
        if (tries > 20) throw error;
        await this.#excuse(error);
      }
    }
  }

  /** Resolves when the error is one that the run itself makes. */
  async #excuse(error: unknown): Promise<void> {
    if (error instanceof Wrong || error instanceof Unknown) throw error;
    const outcome = await this.#host.outcomeOf(error);
    if (outcome.type === 'unknown') return;
    // The second artifact is renamed by others, and versions of it expire under who works on them.
    if (this.artifact === 'second') return;
    throw error;
  }

  /** Everything that is staged is as it was left; asked after a daemon was killed. */
  async check(): Promise<void> {
    if (this.#isCommitting || this.#doubts.length > 0) return;
    for (const [path, expected] of this.#staged) {
      if (this.#open.includes(path)) continue;
      const found = await this.#insist((root) => stateAt(join(root, path)));
      if (this.#staged.size > 0 && !isSame(found, expected))
        throw new Wrong(
          `${this.#host.name}: ${this.artifact}/${path} is ${shown(found)} after a kill, and was ${shown(expected)}`,
        );
    }
  }

  /** The machine lost its disk. */
  lose(): void {
    this.#staged.clear();
    this.#doubts = [];
  }

  async commit(onConflict: OnConflict): Promise<void> {
    if (!this.isStaged) return;
    const { journal, name } = this.#host;
    const attempt: Attempt = {
      client: name,
      artifact: this.artifact,
      message: `${name}#${this.artifact}#${this.#calls++}`,
      onConflict,
      changes: new Map(this.#staged),
      outcome: { type: 'unknown' },
    };
    journal.attempts.push(attempt);
    journal.note(
      `${this.artifact}: commit ${attempt.message} --on-conflict=${onConflict} of ${this.#staged.size} paths`,
    );
    const viaCommand = onConflict !== 'fail' || this.#random.chance(0.2);
    // Killed meanwhile, it may be in the log, and others' versions on top of it.
    this.#isCommitting = true;
    const outcome = await (viaCommand ? this.#byCommand(attempt) : this.#byFile(attempt));
    this.#isCommitting = false;
    attempt.outcome = outcome;
    journal.note(`${this.artifact}: ${attempt.message}: ${JSON.stringify(outcome)}`);
    await this.#react(attempt);
  }

  async #byFile({ message }: Attempt): Promise<Outcome> {
    try {
      await writeFile(join(await this.#host.root(this.artifact), '.artifact/commit'), message);
      return { type: 'ok', version: null, commitId: null };
    } catch (error) {
      return this.#host.outcomeOf(error);
    }
  }

  async #byCommand({ message, onConflict }: Attempt): Promise<Outcome> {
    try {
      const root = await this.#host.root(this.artifact);
      return await this.#host.tell('commit', root, '-m', message, '--on-conflict', onConflict, '--json');
    } catch (error) {
      return this.#host.outcomeOf(error);
    }
  }

  async #react(attempt: Attempt): Promise<void> {
    const { journal } = this.#host;
    const { outcome } = attempt;
    if (outcome.type === 'unknown') {
      journal.count('commits of unknown fate');
      this.#doubts.push(attempt);
      return;
    }
    if (outcome.type === 'ok') {
      journal.count(`commits (${attempt.onConflict})`);
      this.#settle(false);
      this.#staged.clear();
      return;
    }
    journal.count(`refused: ${outcome.code}`);
    switch (outcome.code) {
      case 'NothingStaged':
        if (this.#doubts.length === 0)
          throw new Wrong(
            `${attempt.message}: nothing is staged, but ${this.#staged.size} paths were changed`,
          );
        this.#settle(true);
        this.#staged.clear();
        return;
      case 'Conflict':
        this.#settle(false);
        return this.#resolve();
      case 'Stale':
        this.#settle(false);
        if (this.artifact === 'main') throw new Wrong(`${attempt.message}: ${await this.#lastError()}`);
        return this.discard();
      default:
        if (!(await this.#mayFail(outcome.code)))
          throw new Wrong(`${attempt.message}: ${outcome.code}: ${await this.#lastError()}`);
    }
  }

  async #mayFail(code: string): Promise<boolean> {
    return code === 'Unreachable' || (this.artifact === 'second' && code === 'NotFound');
  }

  /** What a daemon tells of earlier attempts by its answer to the next one. */
  #settle(landed: boolean): void {
    if (this.#doubts.length === 0) return;
    const messages = this.#doubts.map(({ message }) => message);
    this.#host.journal.settled.push({ messages, landed });
    this.#host.journal.note(`${this.artifact}: ${messages.join(' ')}: ${landed ? 'landed' : 'did not land'}`);
    this.#doubts = [];
  }

  async #resolve(): Promise<void> {
    const what = this.#random.weighted({ mine: 4, theirs: 4, discard: 2, later: 2 });
    if (what === 'discard') await this.discard();
    else if (what !== 'later') await this.commit(what);
  }

  async discard(): Promise<void> {
    await this.#insist((root) => writeFile(join(root, '.artifact/discard'), '1'));
    this.#host.journal.note(`${this.artifact}: discarded`);
    this.#host.journal.count('discards');
    // It settled them, too; only the log can tell how.
    this.#doubts = [];
    this.#staged.clear();
  }

  /** At the end: nothing is staged or unknown any more. */
  async finish(): Promise<void> {
    for (let tries = 0; this.isStaged; tries++) {
      if (tries > 50) throw new Wrong(`${this.#host.name}: ${this.artifact} cannot be committed`);
      await this.commit('mine');
    }
  }

  async refresh(): Promise<void> {
    await this.#insist((root) => writeFile(join(root, '.artifact/refresh'), '1'));
  }

  async #lastError(): Promise<string> {
    return readFile(join(await this.#host.root(this.artifact), '.artifact/last-error'), 'utf8').catch(
      (error: unknown) => (isMissing(error) ? 'gone' : String(error)),
    );
  }
}
