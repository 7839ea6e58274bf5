import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/options.js';
import { HashPool } from '../content/upload/hash-pool.js';
import { type Database, openDatabase, transaction } from '../util/sqlite.js';
import type { Finding } from '../workspace/fsck/findings.js';
import {
  type CheckedTimes,
  type VerifyOptions,
  type VerifyTotals,
  verify,
} from '../workspace/fsck/verify.js';
import { Workspace } from '../workspace/workspace.js';
import type { DaemonRecord } from './registry.js';
import { openConfiguredStore } from './store.js';
import { configOfDaemon } from './store-of-daemon.js';

export type { VerifyTotals };

/** Reads what the store that `daemon` has open, or that the settings name, has, and notes on this machine what was right. */
export async function* verifyWorkspace(
  config: Config,
  daemon: DaemonRecord | null,
  options: Pick<VerifyOptions, 'paths' | 'share' | 'onProgress'>,
): AsyncGenerator<Finding, VerifyTotals> {
  const settings = await configOfDaemon(config, daemon);
  await using store = await openConfiguredStore(settings, { create: false });
  const { workspaceId } = await Workspace.open(store, { create: false });
  const isKept = !settings.store.startsWith('memory:');
  using checked = new CheckedObjects(isKept ? join(settings.stateDir, workspaceId) : null);
  await using hashing = new HashPool();
  return yield* verify(store, { ...options, checked, hashing });
}

/** `verified.db` in the state directory: may be lost, and then the next sample begins anew. */
class CheckedObjects implements CheckedTimes, Disposable {
  readonly #db: Database;

  constructor(directory: string | null) {
    if (directory !== null) mkdirSync(directory, { recursive: true, mode: 0o700 });
    const path = directory === null ? ':memory:' : join(directory, 'verified.db');
    this.#db = openDatabase(path, {
      migrations: ['CREATE TABLE objects (key TEXT PRIMARY KEY, checked_ms INTEGER NOT NULL) WITHOUT ROWID;'],
    });
  }

  last(key: string): number {
    const select = this.#db.prepare<[string], number>('SELECT checked_ms FROM objects WHERE key = ?').pluck();
    return select.get(key) ?? 0;
  }

  note(keys: readonly string[]): void {
    const insert = this.#db.prepare<[string, number]>('INSERT OR REPLACE INTO objects VALUES (?, ?)');
    const now = Date.now();
    transaction(this.#db, () => {
      for (const key of keys) insert.run(key, now);
    });
  }

  keep(keys: ReadonlyMap<string, unknown>): void {
    const noted = this.#db.prepare<[], string>('SELECT key FROM objects').pluck();
    const remove = this.#db.prepare<[string]>('DELETE FROM objects WHERE key = ?');
    const gone = noted.all().filter((key) => !keys.has(key));
    transaction(this.#db, () => {
      for (const key of gone) remove.run(key);
    });
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}
