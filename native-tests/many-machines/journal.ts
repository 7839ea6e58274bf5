import { appendFileSync } from 'node:fs';
import type { Changes, OnConflict } from './state.js';

export type Artifact = 'main' | 'second';

/** What a client was told. `unknown`: its daemon was killed, or said that it cannot tell. */
export type Outcome =
  | { readonly type: 'ok'; readonly version: number | null; readonly commitId: string | null }
  | { readonly type: 'failed'; readonly code: string; readonly paths: readonly string[] }
  | { readonly type: 'unknown' };

/** One call of commit. */
export interface Attempt {
  readonly client: string;
  readonly artifact: Artifact;
  /** Used once in a run. */
  readonly message: string;
  readonly onConflict: OnConflict;
  /** All that was staged when it began. */
  readonly changes: Changes;
  outcome: Outcome;
}

/** What a daemon said later of attempts whose outcome was not known. */
export interface Settled {
  readonly messages: readonly string[];
  /** One of them is in the log; else none is. */
  readonly landed: boolean;
}

/** A record about names or versions. */
export interface Deed {
  readonly what: 'alias' | 'expire' | 'rename';
  /** Alias and version, versions, or both names. */
  readonly from: string;
  readonly to: string;
  outcome: Outcome;
}

/** What one client did and was told, kept outside of the daemon. */
export class Journal {
  readonly attempts: Attempt[] = [];
  readonly settled: Settled[] = [];
  readonly deeds: Deed[] = [];
  readonly counts: Record<string, number> = {};
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  /** A line for who looks for what went wrong. */
  note(text: string): void {
    appendFileSync(this.#file, `${new Date().toISOString()} ${text}\n`);
  }
}
