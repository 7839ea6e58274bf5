import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Action, Actions } from './actions.js';
import { compareContent, compareTree, Mismatch, readAll, seeBelow } from './compare.js';
import type { Content } from './content.js';
import { type Frozen, isIn, Model, type Part } from './model.js';
import { Random } from './random.js';

const pageBytes = 4096;
const historyMax = 3000;

/** What a worker needs of the mount it works on. */
export interface Place {
  /** The artifact's directory in the mount. */
  readonly root: string;
  /** These paths are changed from now until `settled`: a commit meanwhile may have them either way. */
  touch(roots: readonly string[]): void;
  /** Throws what is no consequence of a kill or an outage; `began` is `now()` when the work began. */
  excuse(error: unknown, began: number, doing: string): void;
  now(): number;
}

/** One program at work in a directory that nobody else changes; it knows what must be there. */
export class Worker {
  readonly model: Model;
  readonly counts: Record<string, number> = {};
  /** What was done last, and when. */
  readonly history: string[] = [];
  steps = 0;
  readonly #place: Place;
  readonly #random: Random;
  readonly #actions: Actions;
  #current: Action | null = null;
  /** Failed for a reason: it may have been done or not. */
  #doubt: Action | null = null;

  constructor(place: Place, top: string, seed: string) {
    this.#place = place;
    this.model = new Model(top);
    this.#random = new Random(seed);
    this.#actions = new Actions(this.model, this.#random, (path) => this.#path(path));
  }

  /** What is being changed, or nobody knows. */
  get uncertain(): readonly string[] {
    return [...(this.#current?.roots ?? []), ...(this.#doubt?.roots ?? [])];
  }

  async begin(): Promise<void> {
    await mkdir(this.#path(this.model.top), { recursive: true });
  }

  async step(): Promise<void> {
    this.steps++;
    const began = this.#place.now();
    if (this.#doubt !== null && !(await this.settle())) return;
    if (this.#random.chance(0.45)) return this.#look(began);
    const action = this.#actions.next();
    if (action !== null) await this.#do(action, began);
  }

  /** Takes away what an action that was cut off has left, if that is possible at all; false: not now. */
  async settle(): Promise<boolean> {
    const doubt = this.#doubt;
    if (doubt === null) return true;
    const began = this.#place.now();
    try {
      this.#place.touch(doubt.roots);
      await this.#checkLeft(doubt);
      // What comes now may be cut off, too, and then less is left.
      this.#doubt = { ...doubt, survivors: [] };
      for (const root of doubt.roots) await rm(this.#path(root), { recursive: true, force: true });
      for (const root of doubt.roots) this.model.remove(root);
      this.#doubt = null;
      return true;
    } catch (error) {
      this.#place.excuse(error, began, `looking at what is left of: ${doubt.what}`);
      return false;
    }
  }

  /** The directory is as in a version: the model becomes that, too. */
  async restore(part: Part): Promise<void> {
    this.#doubt = null;
    const unknown = this.model.restore(part);
    await this.begin();
    for (const path of unknown) {
      await rm(this.#path(path), { force: true });
      this.model.remove(path);
    }
  }

  async compare(reads: (path: string) => boolean, root = this.#place.root): Promise<number> {
    return compareTree(root, this.model.top, this.model.freeze(), { reads });
  }

  async #do(action: Action, began: number): Promise<void> {
    this.#current = action;
    this.#place.touch(action.roots);
    try {
      await action.act();
      action.learn();
      this.#note(began, action.what);
      this.#count(action.what.split(' ')[0] ?? '');
    } catch (error) {
      this.#doubt = action;
      this.#note(began, `failed: ${action.what}: ${String(error)}`);
      this.#place.excuse(error, began, action.what);
    } finally {
      this.#current = null;
    }
  }

  async #look(began: number): Promise<void> {
    const path = this.#random.pick(this.model.files());
    try {
      if (this.#random.chance(0.05)) {
        await this.compare(() => false);
        return this.#count('list');
      }
      if (path === undefined) return;
      const { content } = this.model.node(path);
      const offset = this.#random.chance(0.5) ? 0 : this.#random.below(content.size);
      const length = offset === 0 ? content.size : this.#random.between(1, 300_000);
      await compareContent(this.#path(path), content, { offset, length, direct: this.#random.chance(0.3) });
      this.#count('read');
    } catch (error) {
      this.#place.excuse(error, began, `read of ${path}`);
    }
  }

  /** Each file that is there has, page by page, what it had or was given. */
  async #checkLeft(doubt: Action): Promise<void> {
    const found = new Map<string, Frozen>();
    for (const root of doubt.roots) await seeBelow(this.#place.root, root, found);
    for (const group of doubt.survivors) {
      if (!group.some((path) => found.has(path)))
        throw new Mismatch(`${doubt.what} was cut off, and ${group.join(' and ')} is gone`);
    }
    const before = doubt.roots
      .flatMap((root) => this.model.below(root))
      .flatMap(([, entry]) => (entry.kind === 'file' ? [entry.node.content] : []));
    const may = [...before, ...doubt.after];
    for (const [path, { kind }] of found) {
      if (kind !== 'seen') continue;
      const wrong = await strangePage(this.#path(path), may);
      if (wrong !== null) throw new Mismatch(`${doubt.what} was cut off, and left ${path} with ${wrong}`);
    }
  }

  #path(path: string): string {
    return join(this.#place.root, path);
  }

  #note(began: number, what: string): void {
    this.history.push(`${new Date(began).toISOString()} to ${new Date().toISOString()} ${what}`);
    if (this.history.length > historyMax) this.history.shift();
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
}

/** A page that none of these has, and that is not zeros. */
async function strangePage(path: string, may: readonly Content[]): Promise<string | null> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > 0 && !may.some((content) => content.size >= size))
      return `${size} bytes, more than ever written`;
    for (let at = 0; at < size; at += pageBytes) {
      const page = await readAll(file, Math.min(pageBytes, size - at), at);
      if (page.every((byte) => byte === 0)) continue;
      if (!may.some((content) => isPrefixOfPage(content.bytes(at, page.length), page))) {
        return `bytes at ${at} that nobody wrote there: ${page.subarray(0, 16).toString('hex')}`;
      }
    }
    return null;
  } finally {
    await file.close();
  }
}

/** A page at the end of a shorter file goes on with zeros. */
function isPrefixOfPage(expected: Buffer, page: Buffer): boolean {
  if (!page.subarray(0, expected.length).equals(expected)) return false;
  return page.subarray(expected.length).every((byte) => byte === 0);
}

/** What of a part is of one worker. */
export function partOf(part: Part, top: string): Part {
  return new Map([...part].filter(([path]) => isIn(path, top)));
}
