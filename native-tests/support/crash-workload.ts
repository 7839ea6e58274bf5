import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

const pageBytes = 4096;

/** What an operation may leave behind when it was cut off: each path's content, null for a name that is absent. */
type State = ReadonlyMap<string, Buffer | null>;

interface Pending {
  readonly what: string;
  /** Is this a state that the operation, cut off anywhere, may have left? */
  readonly allows: (observed: State) => boolean;
  readonly paths: readonly string[];
}

/**
 * Changes files of one artifact through a mount and remembers everything a call has acknowledged. After the daemon
 * was killed, `verify` compares: what was acknowledged must be there; the one operation that was cut off may have
 * happened or not, or for plain writes in part.
 */
export class CrashWorkload {
  readonly files = new Map<string, Buffer>();
  /** Content of every version whose commit was acknowledged, or found published after a cut. */
  readonly versions: Map<string, string>[] = [];
  acknowledged = 0;
  commits = 0;
  readonly #artifact: string;
  #pending: Pending | null = null;
  #pendingCommit: Map<string, string> | null = null;
  #seed: number;
  #n = 0;

  readonly #kernelKeepsWrites: boolean;

  /** With `kernelKeepsWrites` what was written is promised at `close`: before, later pages may come without earlier ones. */
  constructor(artifact: string, seed: number, kernelKeepsWrites = true) {
    this.#artifact = artifact;
    this.#seed = seed;
    this.#kernelKeepsWrites = kernelKeepsWrites;
  }

  /** Works until the mount fails under it. */
  runUntilKilled(): void {
    this.#untilKilled(() => {
      for (;;) this.step();
    });
  }

  /** Something of everything, a few times: it passes every step of staging, upload and commit, unless it is killed. */
  runOfEverything(): void {
    this.#untilKilled(() => {
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 8; i++) this.step();
        this.#write('large.bin', this.#bytes(17_000_000 + round));
        this.#write(this.#anyPath(), this.#bytes(5000 + round));
        this.commit();
      }
    });
  }

  #untilKilled(work: () => void): void {
    try {
      if (!existsSync(this.#artifact)) mkdirSync(this.#artifact);
      work();
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      if (!['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV'].includes(code)) throw error;
    }
  }

  step(): void {
    const dice = this.#random(100);
    if (dice < 35) this.#write(this.#anyPath(), this.#bytes(this.#random(9000)));
    else if (dice < 50) this.#append();
    else if (dice < 65) this.#replace();
    else if (dice < 80) this.#rename();
    else if (dice < 88) this.#remove();
    else if (dice < 91) this.#write('large.bin', this.#bytes(17_000_000 + this.#random(4_000_000)));
    else this.commit();
  }

  commit(): void {
    const snapshot = new Map([...this.files].map(([path, bytes]) => [path, hash(bytes)]));
    if (sameMap(snapshot, this.versions.at(-1))) return;
    this.#pendingCommit = snapshot;
    writeFileSync(join(this.#artifact, '.artifact', 'commit'), `commit ${this.#n++}\n`);
    this.versions.push(snapshot);
    this.#pendingCommit = null;
    this.commits++;
  }

  /** Throws what was lost, or what appeared from nowhere. */
  verify(): void {
    if (!existsSync(this.#artifact)) {
      if (this.files.size > 0) throw new Error('the artifact is gone');
      return;
    }
    this.#settlePending();
    const found = tree(this.#artifact);
    for (const [path, bytes] of this.files) {
      const there = found.get(path);
      if (there === undefined) throw new Error(`lost: ${path}`);
      if (there !== hash(bytes)) throw new Error(`changed: ${path}`);
      found.delete(path);
    }
    if (found.size > 0) throw new Error(`appeared: ${[...found.keys()].join(', ')}`);
    this.#verifyVersions();
  }

  #settlePending(): void {
    const pending = this.#pending;
    if (pending === null) return;
    this.#pending = null;
    const observed = new Map<string, Buffer | null>();
    for (const path of pending.paths) {
      const full = join(this.#artifact, path);
      observed.set(path, existsSync(full) ? readFileSync(full) : null);
    }
    if (!pending.allows(observed)) {
      const seen = [...observed].map(
        ([path, bytes]) => `${path}: ${bytes === null ? 'absent' : `${bytes.length} bytes`}`,
      );
      throw new Error(`${pending.what} was cut off and left ${seen.join(', ')}`);
    }
    for (const [path, bytes] of observed) {
      if (bytes === null) this.files.delete(path);
      else this.files.set(path, bytes);
    }
  }

  #verifyVersions(): void {
    const directory = join(this.#artifact, '.artifact', 'versions');
    const names = readdirSync(directory).sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
    if (this.#pendingCommit !== null && names.length === this.versions.length + 1)
      this.versions.push(this.#pendingCommit);
    this.#pendingCommit = null;
    if (names.length !== this.versions.length) {
      throw new Error(`${this.versions.length} versions were published, the mount shows ${names.length}`);
    }
    const last = this.versions.at(-1);
    if (last !== undefined && !sameMap(tree(join(directory, `v${names.length - 1}`)), last)) {
      throw new Error(`version v${names.length - 1} is not what was committed`);
    }
  }

  /** Every version, whole: slow, for the end. */
  verifyAllVersions(): void {
    this.versions.forEach((version, n) => {
      if (!sameMap(tree(join(this.#artifact, '.artifact', 'versions', `v${n}`)), version))
        throw new Error(`version v${n} differs`);
    });
  }

  #do(pending: Pending, act: () => void, done: () => void): void {
    this.#pending = pending;
    act();
    done();
    this.#pending = null;
    this.acknowledged++;
  }

  #write(path: string, bytes: Buffer): void {
    const old = this.files.get(path) ?? null;
    this.#do(
      {
        what: `write of ${path}`,
        paths: [path],
        allows: (seen) =>
          same(seen.get(path), old) ||
          (this.#kernelKeepsWrites ? isPagesOf : isPrefix)(seen.get(path), bytes),
      },
      () => writeFileSync(this.#full(path), bytes),
      () => this.files.set(path, bytes),
    );
  }

  #append(): void {
    const path = this.#existing();
    if (path === undefined) return;
    const old = this.files.get(path) ?? Buffer.alloc(0);
    const added = this.#bytes(1 + this.#random(3000));
    const whole = Buffer.concat([old, added]);
    this.#do(
      {
        what: `append to ${path}`,
        paths: [path],
        allows: (seen) => isPrefix(seen.get(path), whole) && (seen.get(path)?.length ?? 0) >= old.length,
      },
      () => appendFileSync(this.#full(path), added),
      () => this.files.set(path, whole),
    );
  }

  /** Writes a temporary file and renames it over: after the rename the new content is there, before it the old. */
  #replace(): void {
    const path = this.#anyPath();
    const bytes = this.#bytes(this.#random(9000));
    const temporary = `.tmp-${this.#n++}`;
    this.#write(temporary, bytes);
    this.#move(temporary, path);
  }

  #rename(): void {
    const from = this.#existing();
    if (from !== undefined) this.#move(from, this.#anyPath());
  }

  #move(from: string, to: string): void {
    if (from === to) return;
    const moved = this.files.get(from) ?? Buffer.alloc(0);
    const old = this.files.get(to) ?? null;
    this.#do(
      {
        what: `rename of ${from} to ${to}`,
        paths: [from, to],
        allows: (seen) =>
          (same(seen.get(from), moved) && same(seen.get(to), old)) ||
          (same(seen.get(from), null) && same(seen.get(to), moved)),
      },
      () => renameSync(this.#full(from), this.#full(to)),
      () => {
        this.files.delete(from);
        this.files.set(to, moved);
      },
    );
  }

  #remove(): void {
    const path = this.#existing();
    if (path === undefined) return;
    const old = this.files.get(path) ?? null;
    this.#do(
      {
        what: `remove of ${path}`,
        paths: [path],
        allows: (seen) => same(seen.get(path), old) || same(seen.get(path), null),
      },
      () => rmSync(this.#full(path)),
      () => this.files.delete(path),
    );
  }

  #full(path: string): string {
    const full = join(this.#artifact, path);
    const directory = dirname(full);
    // Not `recursive`: when the daemon is killed meanwhile, Node tells what it finds then instead, that nothing is there.
    if (!existsSync(directory)) mkdirSync(directory);
    return full;
  }

  #anyPath(): string {
    const n = this.#random(40);
    return n % 3 === 0 ? `f${n}` : `d${n % 4}/f${n}`;
  }

  #existing(): string | undefined {
    const paths = [...this.files.keys()];
    return paths[this.#random(paths.length)];
  }

  #bytes(length: number): Buffer {
    const block = createHash('sha512')
      .update(`${this.#seed} ${this.#n++}`)
      .digest();
    return Buffer.alloc(length, block);
  }

  #random(below: number): number {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
    return below === 0 ? 0 : Math.floor((this.#seed / 2 ** 32) * below);
  }
}

const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function tree(root: string, relative = '', into = new Map<string, string>()): Map<string, string> {
  for (const entry of readdirSync(join(root, relative), { withFileTypes: true })) {
    const path = relative === '' ? entry.name : `${relative}/${entry.name}`;
    if (entry.isDirectory()) tree(root, path, into);
    else into.set(path, hash(readFileSync(join(root, path))));
  }
  return into;
}

function sameMap(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string> | undefined): boolean {
  return b !== undefined && a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

function same(a: Buffer | null | undefined, b: Buffer | null): boolean {
  return a === undefined || a === null || b === null ? (a ?? null) === b : a.equals(b);
}

/** Each page is the one of `whole`, or was not written. */
function isPagesOf(part: Buffer | null | undefined, whole: Buffer): boolean {
  if (part === undefined || part === null || part.length > whole.length) return false;
  for (let at = 0; at < part.length; at += pageBytes) {
    const page = part.subarray(at, at + pageBytes);
    if (!page.equals(whole.subarray(at, at + page.length)) && page.some((byte) => byte !== 0)) return false;
  }
  return true;
}

function isPrefix(part: Buffer | null | undefined, whole: Buffer): boolean {
  return (
    part !== undefined &&
    part !== null &&
    part.length <= whole.length &&
    whole.subarray(0, part.length).equals(part)
  );
}
