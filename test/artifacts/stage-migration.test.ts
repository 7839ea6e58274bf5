import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { stageMigrations } from '../../src/artifacts/stage-db/schema.js';
import { StageDatabase } from '../../src/artifacts/stage-db/stage-database.js';
import { openDatabase } from '../../src/util/sqlite.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stage-migration-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const row = `INSERT INTO stage (artifact_id, stage_id, ino_prefixes, ino_next, gen, is_new)
             VALUES ('artifact', 'stage', '[7]', 3, 1, 1)`;
const stages = 'SELECT s, artifact_id, ino_next FROM stage';

test('a stage.db of every older schema keeps its stages, and a copy as it was', () => {
  for (let schema = 1; schema < stageMigrations.length; schema++) {
    const path = join(directory, `stage-${schema}.db`);
    const old = openDatabase(path, { migrations: stageMigrations.slice(0, schema) });
    old.exec(row);
    const before = old.prepare(stages).all();
    old.close();

    const migrated = new StageDatabase(path);
    expect(migrated.db.prepare(stages).all()).toEqual(before);
    migrated[Symbol.dispose]();

    const copy = `${path}.schema-${schema}`;
    expect(statSync(copy).mode & 0o777).toBe(0o600);
    const kept = openDatabase(copy, { migrations: stageMigrations.slice(0, schema) });
    expect(kept.prepare(stages).all()).toEqual(before);
    kept.close();
  }
});

test('numbers of stages are not used twice', () => {
  const database = new StageDatabase(join(directory, 'stage.db'));
  database.db.exec(row);
  const [first] = database.stages.all();
  if (first === undefined) throw new Error('no stage');
  expect(database.stages.renumber(first)).toBeGreaterThan(first.s);
  database[Symbol.dispose]();
});
