import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { limits } from '../../src/model/limits.js';
import { Checkpointer } from '../../src/util/checkpointer.js';
import { type Database, openDatabase, transaction } from '../../src/util/sqlite.js';

let directory: string;
let path: string;
let db: Database;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'checkpointer-'));
  path = join(directory, 'it.db');
  db = openDatabase(path, {
    migrations: ['CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)'],
    walBytesMax: 1 << 30,
  });
});
afterEach(() => {
  db.close();
  rmSync(directory, { recursive: true });
});

const rowBytes = 500;

function fill(count: number): void {
  const put = db.prepare('INSERT INTO t (text) VALUES (?)');
  for (let done = 0; done < count; done += 500) {
    transaction(db, () => {
      for (let i = 0; i < 500; i++) put.run('x'.repeat(rowBytes));
    });
  }
}

test('a log that grew is moved into the database by a thread, and nothing is lost', async () => {
  const checkpointer = new Checkpointer(db);
  fill(limits.checkpointChangesMin);
  const before = statSync(path).size;
  await vi.waitFor(() => expect(statSync(path).size).toBeGreaterThan(before + 100 * rowBytes), 10_000);
  fill(limits.checkpointChangesMin);
  checkpointer[Symbol.dispose]();
  expect(db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(2 * limits.checkpointChangesMin);
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
});
