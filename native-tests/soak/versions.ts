import { join } from 'node:path';
import { ask } from './api.js';
import { compareTree, Mismatch, seeBelow } from './compare.js';
import { type Frozen, isIn, type Part } from './model.js';
import type { Random } from './random.js';
import type { Side } from './side.js';

/** So many of the newest are kept whole, and of the older ones each eighth. */
const keptMax = 24;

/** A commit from when it was asked for until its fate is known. */
export interface Window {
  readonly message: string;
  readonly side: Side;
  /** What each of the side's workers had when it began. */
  readonly parts: readonly Part[];
  /** Changed while it went on: the version may have it either way. */
  readonly touched: Set<string>;
  /** When the call has returned, or the daemon was killed. */
  readonly over: Promise<void>;
  closed: boolean;
}

export interface Version {
  readonly number: number;
  readonly message: string;
  readonly part: Part;
}

/** All versions of the artifact, in the order of its log, with what each must show. */
export class Versions {
  readonly #random: Random;
  readonly #windows = new Map<string, Window>();
  #known: Version[] = [];
  #count = 0;
  #lock: Promise<unknown> = Promise.resolve();

  constructor(random: Random) {
    this.#random = random;
  }

  get count(): number {
    return this.#count;
  }

  get newest(): Version | undefined {
    return this.#known.at(-1);
  }

  get kept(): readonly Version[] {
    return this.#known;
  }

  open(window: Window): void {
    this.#windows.set(window.message, window);
  }

  /** Windows of this side whose fate is not known. */
  openOf(side: Side): Window[] {
    return [...this.#windows.values()].filter((window) => window.side === side);
  }

  forget(window: Window): void {
    this.#windows.delete(window.message);
  }

  /** Reads the log as this side shows it, and looks at what is new. */
  learn(side: Side): Promise<void> {
    const next = this.#lock.then(() => this.#learn(side));
    this.#lock = next.catch(() => undefined);
    return next;
  }

  /** A version and a file of it. */
  any(): { version: Version; path: string } | undefined {
    const version = this.#random.pick(this.#known);
    const path = version && this.#random.pick([...version.part.keys()]);
    return version === undefined || path === undefined ? undefined : { version, path };
  }

  async #learn(side: Side): Promise<void> {
    const log = await ask<{ versions: { version: number; message: string }[] }>(
      side.machine,
      `/v1/artifacts/${side.artifact}/log?limit=1000`,
    );
    const fresh = log.versions.filter(({ version }) => version >= this.#count).reverse();
    for (const { version, message } of fresh) {
      if (version !== this.#count)
        throw new Mismatch(`v${version} comes after v${this.#count - 1} in the log`);
      const window = this.#windows.get(message);
      if (window === undefined)
        throw new Mismatch(`v${version} has the message ${message}, of which nobody knows`);
      await window.over;
      const part = await this.#partOf(side, version, window);
      await this.#check(side, version, part);
      this.#known.push({ number: version, message, part });
      this.#count++;
      this.#windows.delete(message);
      const old = this.#known.length - keptMax;
      this.#known = this.#known.filter(({ number }, i) => i >= old || number % 8 === 0);
    }
  }

  async #partOf(side: Side, version: number, window: Window): Promise<Part> {
    const before = this.newest?.part ?? new Map<string, Frozen>();
    const mine = (path: string): boolean => isIn(path, window.side.top);
    const touched = [...window.touched];
    const untouched = window.parts
      .flatMap((part) => [...part])
      .filter(([path]) => !touched.some((root) => isIn(path, root)));
    const seen = new Map<string, Frozen>();
    for (const root of touched) await seeBelow(side.versionRoot(version), root, seen);
    return new Map([...[...before].filter(([path]) => !mine(path)), ...untouched, ...seen]);
  }

  /** All names and attributes, and a part of the bytes. */
  async #check(side: Side, version: number, part: Part): Promise<void> {
    const reads = (): boolean => this.#random.chance(0.15);
    await compareVersion(side.versionRoot(version), part, reads);
  }
}

/** A version, or a working view without changes, by a directory that shows it; answers the bytes read. */
export async function compareVersion(
  root: string,
  part: Part,
  reads: (path: string) => boolean,
): Promise<number> {
  let bytes = 0;
  const tops = new Set([...part.keys()].map((path) => path.split('/').slice(0, 2).join('/')));
  for (const top of tops) {
    const below = new Map([...part].filter(([path]) => isIn(path, top)));
    bytes += await compareTree(root, top, below, { reads });
  }
  return bytes;
}

export const versionFile = (side: Side, version: Version, path: string): string =>
  join(side.versionRoot(version.number), path);
