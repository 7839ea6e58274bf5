import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ArtifactError, type ErrorCode } from '../../src/model/errors.js';
import { type Database, openDatabase, syncWal, transaction } from '../../src/util/sqlite.js';
import { sqliteFailure } from '../../src/util/sqlite-errors.js';

let directory = '';
let path = '';
const opened: Database[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'artifactfs-sqlite-'));
  path = join(directory, 'some.db');
});
afterEach(() => {
  for (const db of opened.splice(0)) db.close();
  rmSync(directory, { recursive: true });
});

const first = 'CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT)';
const second = 'ALTER TABLE a ADD COLUMN z INTEGER; CREATE TABLE b (a REFERENCES a (x))';

function open(options: Partial<Parameters<typeof openDatabase>[1]> = {}, at = path): Database {
  const db = openDatabase(at, { migrations: [first], ...options });
  opened.push(db);
  return db;
}

const failureOf = (run: () => unknown): ArtifactError => {
  try {
    run();
  } catch (error) {
    if (error instanceof ArtifactError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('opening', () => {
  test('makes private files in WAL mode, with the wanted settings', () => {
    const umask = process.umask(0o022);
    try {
      const db = open();
      db.exec('INSERT INTO a VALUES (1, 2)');
      const pragma = (name: string) => db.pragma(name, { simple: true });
      expect([pragma('journal_mode'), pragma('synchronous'), pragma('foreign_keys')]).toEqual(['wal', 1, 1]);
      expect(open({ synchronous: 'FULL' }).pragma('synchronous', { simple: true })).toBe(2);
      for (const suffix of ['', '-wal', '-shm']) expect(statSync(path + suffix).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(umask);
    }
  });

  test('works in memory', async () => {
    const db = open({}, ':memory:');
    db.exec('INSERT INTO a VALUES (1, 2)');
    await syncWal(':memory:');
    expect(db.prepare('SELECT count(*) FROM a').pluck().get()).toBe(1);
  });

  test('runs the migrations that are missing, in order, once', () => {
    open().exec(`INSERT INTO a VALUES (1, 'kept')`);
    const seen: number[] = [];
    const beforeMigration = (_: Database, from: number) => void seen.push(from);
    const db = open({ migrations: [first, second], beforeMigration });
    expect(db.prepare('SELECT * FROM a').all()).toEqual([{ x: 1, y: 'kept', z: null }]);
    open({ migrations: [first, second], beforeMigration });
    expect(seen).toEqual([1]);
    expect(db.pragma('user_version', { simple: true })).toBe(2);
  });

  test('leaves the old schema when a migration fails half-way', () => {
    open();
    expect(
      failureOf(() => open({ migrations: [first, `${second}; SELECT nonsense FROM nowhere`] })).code,
    ).toBe('Internal');
    const db = open();
    expect(db.pragma('user_version', { simple: true })).toBe(1);
    expect(db.prepare(`SELECT count(*) FROM sqlite_schema WHERE name = 'b'`).pluck().get()).toBe(0);
  });

  test('refuses a newer schema with a hint, and leaves it alone', () => {
    open({ migrations: [first, second] });
    const error = failureOf(() => open());
    expect(error).toMatchObject({ code: 'UnsupportedFormat', details: { found: 2, known: 1 } });
    expect(error.message).toContain(path);
    expect(error.details.hint).toContain('newer');
    expect(open({ migrations: [first, second] }).pragma('user_version', { simple: true })).toBe(2);
  });

  test('for reading only refuses to create, to migrate and to write', () => {
    expect(failureOf(() => open({ readonly: true })).code).toBe('NotFound');
    open();
    const older = failureOf(() => open({ readonly: true, migrations: [first, second] }));
    expect(older).toMatchObject({ code: 'UnsupportedFormat', details: { found: 1, known: 2 } });
    const db = open({ readonly: true });
    expect(db.prepare('SELECT count(*) FROM a').pluck().get()).toBe(0);
    expect(failureOf(() => transaction(db, () => void db.exec('DELETE FROM a'))).code).toBe('ReadOnly');
  });

  test.each<[string, (path: string) => void, ErrorCode]>([
    [
      'holds something else',
      (at) => writeFileSync(at, 'no database at all, but long enough'.repeat(100)),
      'Corrupt',
    ],
    [
      'has a spoilt header',
      (at) => writeFileSync(at, Buffer.concat([Buffer.alloc(16), wholeFile(at).subarray(16)])),
      'Corrupt',
    ],
    ['is a directory', (at) => mkdirSync(at), 'AccessDenied'],
  ])('a path that %s fails and is named', (_, spoil, code) => {
    const at = join(directory, 'spoilt.db');
    if (code === 'Corrupt') openDatabase(at, { migrations: [first] }).close();
    spoil(at);
    const error = failureOf(() => open({}, at));
    expect(error.code).toBe(code);
    expect(error.message).toContain(at);
  });

  test('in a directory that is not there is NotFound', () => {
    expect(failureOf(() => open({}, join(directory, 'no/such.db'))).code).toBe('NotFound');
  });

  test('twice is refused when the first is exclusive', () => {
    const db = open({ exclusive: true });
    db.exec('INSERT INTO a VALUES (1, 2)');
    const error = failureOf(() => open({ busyMsMax: 1 }));
    expect(error.code).toBe('Busy');
    expect(error.details.hint).toContain('other artifactfs');
  });
});

const wholeFile = (at: string): Buffer => readFileSync(at);

describe('a transaction', () => {
  const count = (db: Database) => db.prepare<[], number>('SELECT count(*) FROM a').pluck().get();
  const insert = (db: Database) => db.exec('INSERT INTO a DEFAULT VALUES');

  test('is all or nothing, also nested', () => {
    const db = open();
    const run = () =>
      transaction(db, () => {
        insert(db);
        expect(() =>
          transaction(db, () => {
            insert(db);
            throw new ArtifactError('Busy', 'inner');
          }),
        ).toThrow('inner');
        return count(db);
      });
    expect(run()).toBe(1);
    expect(count(db)).toBe(1);
    expect(() =>
      transaction(db, () => {
        insert(db);
        throw new ArtifactError('Busy', 'outer');
      }),
    ).toThrow('outer');
    expect(count(db)).toBe(1);
    expect(db.inTransaction).toBe(false);
  });

  test('refuses a body that returns a promise, and keeps nothing of it', () => {
    const db = open();
    const body = async () => insert(db);
    // @ts-expect-error an async body does not compile
    expect(() => transaction(db, body)).toThrow(/promise/);
    expect(count(db)).toBe(0);
    expect(db.inTransaction).toBe(false);
  });

  test('passes on what its body throws for other reasons', () => {
    const db = open();
    const bug = new TypeError('ours');
    const body = () => {
      throw bug;
    };
    expect(() => transaction(db, body)).toThrow(bug);
  });

  test('says what is wrong with the file, or that it is our bug', () => {
    const db = open({ migrations: [first, second] });
    const bug = failureOf(() => transaction(db, () => void db.exec('INSERT INTO b VALUES (7)')));
    expect(bug).toMatchObject({ code: 'Internal', details: { path } });
    db.pragma('max_page_count = 10');
    const full = failureOf(() =>
      transaction(db, () => void db.prepare('INSERT INTO a (y) VALUES (?)').run('x'.repeat(100_000))),
    );
    expect(full.code).toBe('NoSpace');
    expect(full.message).toContain(path);
    expect(db.inTransaction).toBe(false);
  });

  test('meets pages that are not what they must be as Corrupt', () => {
    const db = open();
    transaction(db, () => {
      for (let i = 0; i < 2000; i++) db.prepare('INSERT INTO a (y) VALUES (?)').run('x'.repeat(200));
    });
    db.close();
    const bytes = readFileSync(path);
    bytes.fill(0xa5, 4096);
    writeFileSync(path, bytes);
    const again = open();
    expect(failureOf(() => transaction(again, () => count(again))).code).toBe('Corrupt');
  });
});

describe('the log', () => {
  const bytesMax = 1 << 20;
  const log = () => statSync(`${path}-wal`).size;

  test('stays within its bound however much is written', () => {
    const db = open({ walBytesMax: bytesMax });
    const put = db.prepare('INSERT INTO a (y) VALUES (?)');
    let most = 0;
    for (let i = 0; i < 2_000; i++) {
      transaction(db, () => void put.run('x'.repeat(8_000)));
      most = Math.max(most, log());
    }
    expect(most).toBeGreaterThan(bytesMax / 2);
    expect(most).toBeLessThan(1.1 * bytesMax);
  });

  test('that one large transaction made longer is cut again', () => {
    const db = open({ walBytesMax: bytesMax });
    const put = db.prepare('INSERT INTO a (y) VALUES (?)');
    transaction(db, () => {
      for (let i = 0; i < 1_000; i++) put.run('x'.repeat(8_000));
    });
    expect(log()).toBeGreaterThan(4 * bytesMax);
    for (let i = 0; i < 2; i++) transaction(db, () => void put.run('x'));
    expect(log()).toBeLessThan(1.1 * bytesMax);
  });

  test.runIf(process.getuid?.() === 0)('is shorter on a small disk', () => {
    const small = join(directory, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64M', 'artifactfs-test', small]);
    try {
      const db = open({}, join(small, 'its.db'));
      const put = db.prepare('INSERT INTO a (y) VALUES (?)');
      for (let i = 0; i < 500; i++) transaction(db, () => void put.run('x'.repeat(8_000)));
      expect(statSync(`${db.name}-wal`).size).toBeLessThan(512 << 10);
      for (const each of opened.splice(0)) each.close();
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

describe('syncWal', () => {
  test('waits for the log beside a database that is being written', async () => {
    const db = open();
    for (let i = 0; i < 20; i++) {
      db.exec('INSERT INTO a DEFAULT VALUES');
      await syncWal(path);
    }
    // Its descriptor was another one on the same file: SQLite's locks must still hold.
    const other = open({ busyMsMax: 1 });
    db.exec('BEGIN IMMEDIATE');
    expect(failureOf(() => transaction(other, () => undefined)).code).toBe('Busy');
    db.exec('ROLLBACK');
  });

  test('fails when there is no log', async () => {
    await expect(syncWal(join(directory, 'none.db'))).rejects.toMatchObject({ code: 'NotFound' });
  });
});

test.each<[string, ErrorCode]>([
  ['SQLITE_FULL', 'NoSpace'],
  ['ENOSPC', 'NoSpace'],
  ['SQLITE_IOERR_WRITE', 'NoSpace'],
  ['SQLITE_IOERR_SHMSIZE', 'NoSpace'],
  ['SQLITE_IOERR_READ', 'Corrupt'],
  ['SQLITE_CORRUPT_INDEX', 'Corrupt'],
  ['SQLITE_NOTADB', 'Corrupt'],
  ['SQLITE_BUSY_SNAPSHOT', 'Busy'],
  ['SQLITE_READONLY_DBMOVED', 'ReadOnly'],
  ['SQLITE_CONSTRAINT_UNIQUE', 'Internal'],
  ['EACCES', 'AccessDenied'],
  ['toString', 'Internal'],
])('the failure %s becomes %s, with path and cause', (code, expected) => {
  const cause = Object.assign(new Error('why'), { code });
  const error = sqliteFailure(cause, '/x/y.db');
  expect(error).toMatchObject({ code: expected, cause, details: { path: '/x/y.db' } });
  expect(error.message).toMatch(/\/x\/y\.db.*why/);
});

test('an error that has a code of ours keeps it', () => {
  const error = new ArtifactError('Conflict', 'x');
  expect(sqliteFailure(error, '/x')).toBe(error);
});
