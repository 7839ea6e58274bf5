import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Places } from '../../src/artifacts/commit/places.js';
import { type SealedRow, SealedRows } from '../../src/artifacts/stage-db/sealed-rows.js';
import { StageDatabase } from '../../src/artifacts/stage-db/stage-database.js';
import type { Database } from '../../src/util/sqlite.js';

/** Counts the queries that are made of the rows. */
class CountedRows extends SealedRows {
  readonly count = { gets: 0, pages: 0 };

  constructor(db: Database) {
    const pages = { made: 0 };
    const counted = new Proxy(db, {
      get(target, property) {
        if (property !== 'prepare') return Reflect.get(target, property);
        return (sql: string) => {
          const statement = target.prepare(sql);
          const all = statement.all.bind(statement);
          statement.all = (...values) => {
            if (sql.includes('ino >= ?')) pages.made++;
            return all(...values);
          };
          return statement;
        };
      },
    });
    super(counted);
    Object.defineProperty(this.count, 'pages', { get: () => pages.made });
  }

  override get(s: number, ino: number): SealedRow | undefined {
    this.count.gets++;
    return super.get(s, ino);
  }
}

function withRows(inos: readonly number[], test: (rows: CountedRows) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-places-'));
  const db = new StageDatabase(join(directory, 'stage.db'));
  const rows = new CountedRows(db.db);
  const more = { was: null, nlink: 1, sha256: null };
  for (const ino of inos)
    rows.put(1, {
      ino,
      path: `p${ino}`,
      extents: [{ object: 'd/o', offset: ino, length: 1 }],
      files: [ino],
      ...more,
    });
  rows.put(2, { ino: 5, path: 'of another stage', extents: null, files: [], ...more });
  return test(rows).finally(() => {
    db[Symbol.dispose]();
    rmSync(directory, { recursive: true });
  });
}

const range = (from: number, to: number, step = 1) =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

test('the places of ten thousand files of which three were sealed take one query', () =>
  withRows([7, 4000, 2 ** 40], async (rows) => {
    const inos = range(1, 10_000);
    const places = await Places.make(rows, 1, [2 ** 40, ...inos]);
    expect(inos.filter((ino) => places.row(ino) !== undefined)).toEqual([7, 4000]);
    expect(places.row(2 ** 40)).toEqual(rows.get(1, 2 ** 40));
    expect(rows.count).toEqual({ gets: 1, pages: 1 });
  }));

test('the places of a few files of which many were sealed take no more queries than files', () =>
  withRows(range(1, 3000), async (rows) => {
    const inos = [2999, 4, 1700, 5000, 1701];
    const places = await Places.make(rows, 1, inos);
    expect(inos.map((ino) => places.row(ino)?.path)).toEqual(['p2999', 'p4', 'p1700', undefined, 'p1701']);
    expect(rows.count.gets).toBe(0);
    expect(rows.count.pages).toBeLessThanOrEqual(inos.length);
  }));

test('rows are the same in order as one by one', () =>
  withRows(range(3, 3000, 3), async (rows) => {
    for (const inos of [[], range(1, 4000), range(2, 3000, 7), range(1500, 1501), [2997, 2998, 2999]])
      expect([...rows.of(1, inos)]).toEqual(inos.flatMap((ino) => rows.get(1, ino) ?? []));
  }));
