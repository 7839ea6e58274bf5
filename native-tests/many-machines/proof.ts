// What must be true when all is over, from what clients were told and what lies in the bucket; nothing of the product is asked.
import { Unknown } from './chunks.js';
import { type Commit, Damage, type History, type Reader, type TreeEntry } from './format.js';
import type { Artifact, Attempt, Deed, Journal } from './journal.js';
import {
  isIn,
  isSame,
  mergePath,
  movedDirectories,
  parentOf,
  type State,
  shown,
  type Tree,
} from './state.js';

/** Of the commits that made the artifacts. */
export const setupMessage = 'setup';

export interface ProofParts {
  readonly reader: Reader;
  readonly root: History;
  readonly histories: Readonly<Record<Artifact, History>>;
  readonly journals: readonly Journal[];
}

export class Proof {
  readonly failures: string[] = [];
  /** Versions of which every path was compared. */
  versionsProved = 0;
  pathsProved = 0;
  readonly #parts: ProofParts;
  readonly #attempts = new Map<string, Attempt>();

  constructor(parts: ProofParts) {
    this.#parts = parts;
    for (const { attempts } of parts.journals)
      for (const attempt of attempts) this.#attempts.set(attempt.message, attempt);
  }

  async run(): Promise<void> {
    const { root, histories } = this.#parts;
    this.#commitIds([root, histories.main, histories.second]);
    for (const artifact of ['main', 'second'] as const) {
      const history = histories[artifact];
      this.#outcomes(artifact, history);
      await this.#versions(history);
    }
    this.#settlements();
    this.#deeds();
  }

  #fail(text: string): void {
    this.failures.push(text);
  }

  /** No record is there twice, and each has an effect. */
  #commitIds(histories: readonly History[]): void {
    const seen = new Map<string, string>();
    for (const { artifactId, records, withoutEffect } of histories) {
      for (const { seq, commitId } of records) {
        const where = `record ${seq} of ${artifactId}`;
        const first = seen.get(commitId);
        if (first !== undefined) this.#fail(`${commitId} is in the log twice: ${first} and ${where}`);
        seen.set(commitId, where);
      }
      for (const { seq, body } of withoutEffect)
        this.#fail(`record ${seq} of ${artifactId} has no effect: ${JSON.stringify(body)}`);
    }
  }

  #outcomes(artifact: Artifact, { commits }: History): void {
    const found = this.#byMessage(commits);
    for (const message of found.keys())
      if (message !== setupMessage && !this.#attempts.has(message))
        this.#fail(`${artifact} has a version with the message ${message}, of which nobody knows`);
    for (const attempt of this.#attempts.values()) {
      if (attempt.artifact !== artifact) continue;
      const { message, outcome } = attempt;
      const versions = found.get(message) ?? [];
      const count = versions.length;
      if (count > 1) this.#fail(`${message} is in the log ${count} times`);
      if (outcome.type === 'failed' && count > 0)
        this.#fail(`${message} failed (${outcome.code}), and is in the log`);
      if (outcome.type !== 'ok') continue;
      if (count === 0) this.#fail(`${message} was committed, and is not in the log`);
      const [commit] = versions;
      const { version, commitId } = outcome;
      if (version !== null && (commit?.version !== version || commit.commitId !== commitId))
        this.#fail(`${message} is v${version} (${commitId}) to its client, v${commit?.version} in the log`);
    }
  }

  #byMessage(commits: readonly Commit[]): Map<string, Commit[]> {
    const found = new Map<string, Commit[]>();
    for (const commit of commits) found.set(commit.message, [...(found.get(commit.message) ?? []), commit]);
    return found;
  }

  /** What daemons found out later is what the log says. */
  #settlements(): void {
    const { histories, journals } = this.#parts;
    const inLog = new Set(
      [...histories.main.commits, ...histories.second.commits].map(({ message }) => message),
    );
    for (const { messages, landed } of journals.flatMap(({ settled }) => settled)) {
      const count = messages.filter((message) => inLog.has(message)).length;
      if (count !== (landed ? 1 : 0))
        this.#fail(
          `${messages.join(' ')}: ${landed ? 'one' : 'none'} is in the log to its client, ${count} are`,
        );
    }
  }

  /** Each version is the one before with what its committer had staged, and nothing else. */
  async #versions(history: History): Promise<void> {
    const trees: (Tree | null)[] = [];
    for (const commit of history.commits) trees.push(await this.#tree(history, commit));
    for (const [i, commit] of history.commits.entries()) {
      const base = history.commits.findLast(({ seq }) => seq <= commit.baseSeq);
      const attempt = this.#attempts.get(commit.message);
      const [head, tree] = [trees[i - 1], trees[i]];
      const baseTree = base === undefined ? null : trees[base.version];
      // Trees of expired versions may be gone.
      if (attempt === undefined || head == null || tree == null || baseTree == null) continue;
      this.#compare(
        `v${commit.version} of ${attempt.artifact} (${commit.message})`,
        attempt,
        baseTree,
        head,
        tree,
      );
      this.versionsProved++;
    }
  }

  async #tree(history: History, commit: Commit): Promise<Tree | null> {
    const { reader } = this.#parts;
    const { artifactId } = history;
    try {
      const states = new Map<string, State>();
      for (const entry of (await reader.tree(artifactId, commit.tree)).values())
        if (entry.path !== '') states.set(entry.path, await reader.state(artifactId, entry));
      return states;
    } catch (error) {
      if (history.expired.has(commit.version)) return null;
      const text = error instanceof Damage || error instanceof Unknown ? error.message : String(error);
      this.#fail(`v${commit.version} of ${artifactId} cannot be read: ${text}`);
      return null;
    }
  }

  #compare(what: string, attempt: Attempt, base: Tree, head: Tree, tree: Tree): void {
    const { changes, onConflict } = attempt;
    const full = new Map([...base, ...changes]);
    const moved = [...movedDirectories(base, full), ...movedDirectories(base, head)];
    for (const path of new Set([...changes.keys(), ...head.keys(), ...tree.keys()])) {
      const [b, h, found] = [base, head, tree].map((each) => each.get(path) ?? null) as (State | null)[];
      const mine = changes.get(path);
      const merged =
        mine === undefined
          ? { conflict: false, state: h ?? null }
          : mergePath(b ?? null, mine, h ?? null, onConflict);
      this.pathsProved++;
      if (merged.conflict && onConflict === 'fail')
        this.#fail(
          `${what}: ${path} was changed by others, too: ${shown(h ?? null)}, not ${shown(mine ?? null)}`,
        );
      if (isSame(merged.state, found ?? null)) continue;
      // What was in the base stays where it was, or comes back, when one side needs it.
      const possible = [mine ?? null, h ?? null, b ?? null];
      const isOpen = onConflict !== 'fail' && this.#isOpen(path, attempt, moved, merged.conflict);
      if (isOpen && possible.some((state) => isSame(state, found ?? null))) continue;
      if (mine?.kind === 'file' && isSame(h ?? null, found ?? null) && losesMoves(attempt, base, head))
        continue;
      this.#fail(
        `${what} (${onConflict}): ${path} is ${shown(found ?? null)}, not ${shown(merged.state)}; staged ${mine === undefined ? 'nothing' : shown(mine)}, base ${shown(b ?? null)}, before ${shown(h ?? null)}`,
      );
    }
  }

  /** Rules of whole trees decide it: it is about a directory that moved, or a file of which one end of a move was lost. */
  #isOpen(
    path: string,
    { changes, onConflict }: Attempt,
    moved: readonly string[],
    conflict: boolean,
  ): boolean {
    if (moved.some((directory) => isIn(path, directory) || isIn(directory, path))) return true;
    if (moved.some((directory) => isIn(path, parentOf(directory)) && changes.has(directory))) return true;
    return onConflict === 'theirs' && (conflict || changes.get(path) === null);
  }

  #deeds(): void {
    const { root, histories, journals } = this.#parts;
    const deeds = journals.flatMap((journal) => journal.deeds);
    const of = (what: Deed['what']): Deed[] => deeds.filter((deed) => deed.what === what);
    const renames = root.records
      .filter(({ type }) => type === 'rename')
      .map(({ body }) => String(body['to']));
    for (const { to, outcome } of of('rename')) {
      const count = renames.filter((each) => each === to).length;
      this.#tally(`the rename to ${to}`, outcome.type, count);
    }
    const { second } = histories;
    const aliases = second.records.filter(({ type }) => type === 'alias').map(({ body }) => body);
    for (const { from, to, outcome } of of('alias')) {
      if (from === 'best') continue;
      const count = aliases.filter(({ alias, version }) => alias === from && String(version) === to).length;
      this.#tally(`the alias ${from} for v${to}`, outcome.type, count);
    }
    for (const { from, outcome } of of('expire')) {
      if (outcome.type !== 'ok') continue;
      for (const version of from.split(' '))
        if (!second.expired.has(Number(version.slice(1))))
          this.#fail(`${version} was expired, and is not in the log`);
    }
  }

  #tally(what: string, told: string, count: number): void {
    if (count > 1 || (told === 'ok' && count !== 1) || (told === 'failed' && count !== 0))
      this.#fail(`${what}: ${told} to its client, ${count} times in the log`);
  }
}

/** With theirs a file that I moved, and they changed where it was, has not got my new name: what they have there stays. */
const losesMoves = ({ changes, onConflict }: Attempt, base: Tree, head: Tree): boolean =>
  onConflict === 'theirs' &&
  [...changes].some(
    ([path, mine]) =>
      mine === null && mergePath(base.get(path) ?? null, mine, head.get(path) ?? null, onConflict).conflict,
  );

/** A version as `fingerprint` shows a mount. */
export async function linesOf(reader: Reader, history: History, commit: Commit): Promise<string[]> {
  const lines: string[] = [];
  for (const entry of (await reader.tree(history.artifactId, commit.tree)).values())
    if (entry.path !== '') lines.push(await lineOf(reader, history.artifactId, entry));
  return lines;
}

async function lineOf(reader: Reader, artifactId: string, entry: TreeEntry): Promise<string> {
  const { path, kind, mode, uid, gid, size, target } = entry;
  const [seconds, nanoseconds] = entry.mtime;
  const mtime = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  const head = `${path} ${mode.toString(8)} ${uid}:${gid} ${mtime}`;
  if (kind === 'dir') return `${head} dir`;
  if (kind === 'symlink') return `${head} -> ${target}`;
  return `${head} ${size} ${(await reader.content(artifactId, entry)).sha256}`;
}
