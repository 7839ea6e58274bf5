// What is asked for each file must be found by a key: a statement that looks through a table takes as long as all files.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { expect, test } from 'vitest';
import { StageDatabase } from '../../src/artifacts/stage-db/stage-database.js';
import { openCatalog } from '../../src/catalog/open-catalog.js';
import { FakeTrees } from './fake-trees.js';

/** Tables with a row or more for each file. */
const large = /SCAN (entries|directories|inode|extent_log|dirent|sealed)\b/;

interface Plan {
  readonly detail: string;
}

/** The statements that `open` prepares, each with its plan. */
function plansOf(open: () => Disposable): { sql: string; plan: string }[] {
  const { prepare } = BetterSqlite3.prototype;
  const plans: { sql: string; plan: string }[] = [];
  const explain = (db: BetterSqlite3.Database, sql: string): void => {
    const values = Array.from(sql.matchAll(/\?/g), () => 1);
    const statement = prepare.call(db, `EXPLAIN QUERY PLAN ${sql}`) as BetterSqlite3.Statement<
      number[],
      Plan
    >;
    const rows = statement.all(...values);
    plans.push({ sql, plan: rows.map(({ detail }) => detail).join('; ') });
  };
  BetterSqlite3.prototype.prepare = function (this: BetterSqlite3.Database, sql: string) {
    if (/^\s*(SELECT|UPDATE|DELETE|WITH)/.test(sql)) explain(this, sql);
    return prepare.call(this, sql);
  } as typeof prepare;
  try {
    open()[Symbol.dispose]();
  } finally {
    BetterSqlite3.prototype.prepare = prepare;
  }
  return plans;
}

test('no statement of stage.db or catalog.db looks through a table of files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-plans-'));
  try {
    const stage = plansOf(() => new StageDatabase(join(directory, 'stage.db')));
    const catalog = plansOf(() => openCatalog(join(directory, 'catalog.db'), new FakeTrees()));
    expect(stage.filter(({ sql }) => /\b(inode|dirent)\b/.test(sql)).length).toBeGreaterThan(15);
    expect(catalog.filter(({ sql }) => /\bentries\b/.test(sql)).length).toBeGreaterThan(4);
    expect([...stage, ...catalog].filter(({ plan }) => large.test(plan))).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('numbers without a stage are found among those that have one', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-plans-'));
  try {
    using db = new StageDatabase(join(directory, 'stage.db'));
    expect(db.leftBehind()).toEqual([]);
    const row = {
      ...{ artifactId: 'a', stageId: 's', base: null, inoPrefixes: [1], inoNext: 0, gen: 1, sealed: null },
      ...{ commitId: null, manifest: null, manifestGen: 0, conflicts: [], place: null, isNew: true },
      uses: { versions: [], stages: [] },
    };
    const s = db.stages.insert(row);
    for (const number of [s, s + 1, s + 7])
      for (let i = 0; i < 3; i++) db.dirents.put(number, 1, `n${i}`, 2 + i, 1);
    db.sealed.put(s + 3, { ino: 9, path: 'x', was: null, nlink: 1, extents: null, sha256: null, files: [] });
    expect(db.leftBehind().sort()).toEqual([s + 1, s + 3, s + 7]);
    for (const number of db.leftBehind()) await db.deleteRows(number);
    expect(db.leftBehind()).toEqual([]);
    expect(db.dirents.after(s, 1, '', 10)).toHaveLength(3);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
