import { ExtentMap } from '../../content/extent-map.js';
import type { Ino } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import type { Database, Statement } from '../../util/sqlite.js';
import type { Node } from '../tree/node.js';
import type { InodeRow } from './inode-row.js';

type Value = string | number | null;

const columns = [
  'ino',
  'kind',
  'mode',
  'uid',
  'gid',
  'nlink',
  'size',
  'rdev',
  'atime_s',
  'atime_ns',
  'atime_set',
  'mtime_s',
  'mtime_ns',
  'ctime_s',
  'ctime_ns',
  'target',
  'xattrs',
  'extra',
  'extents',
  'logged',
  'sha256',
  'file',
  'file_gen',
  'base',
  'base_nlink',
  'gen',
  'content_gen',
] as const satisfies readonly (keyof InodeRow)[]; // prettier-ignore

const attributeColumns = [
  'mode',
  'uid',
  'gid',
  'nlink',
  'size',
  'atime_s',
  'atime_ns',
  'atime_set',
  'mtime_s',
  'mtime_ns',
  'ctime_s',
  'ctime_ns',
  'logged',
  'sha256',
  'file',
  'file_gen',
  'gen',
  'content_gen',
] as const satisfies readonly (keyof InodeRow)[]; // prettier-ignore

const rowsReadAtOnce = 500;

/** Reads staged inodes; a snapshot has one over a connection of its own. */
export class InodeReader {
  readonly #one: Statement<[number, number], InodeRow>;
  readonly #log: Statement<[number, number], { start: number; length: number; file: number }>;
  readonly #hardLinked: Statement<[number], InodeRow>;
  readonly #files: Statement<[], FileRow>;
  readonly #filesAfter: Statement<[number, number, number], FileRow>;
  readonly #contentChanged: Statement<[number, number], { ino: number }>;

  constructor(db: Database) {
    const list = columns.join(', ');
    this.#one = db.prepare(`SELECT ${list} FROM inode WHERE s = ? AND ino = ?`);
    this.#log = db.prepare('SELECT start, length, file FROM extent_log WHERE s = ? AND ino = ? ORDER BY n');
    this.#hardLinked = db.prepare(
      `SELECT ${list} FROM inode WHERE s = ? AND base_nlink > 1 AND kind <> 'dir'`,
    );
    this.#contentChanged = db.prepare(
      "SELECT ino FROM inode WHERE s = ? AND content_gen > ? AND kind = 'file' AND file <> 0",
    );
    this.#filesAfter = db.prepare(
      "SELECT s, ino, file, extents, logged FROM inode WHERE s = ? AND ino > ? AND kind = 'file' ORDER BY ino LIMIT ?",
    );
    this.#files = db.prepare(
      "SELECT s, ino, file, extents, logged FROM inode WHERE kind = 'file' AND s IN (SELECT s FROM stage)",
    );
  }

  get(s: number, ino: Ino): InodeRow | undefined {
    return this.#one.get(s, ino);
  }

  /** Files that have several names in the base version. */
  hardLinked(s: number): InodeRow[] {
    return this.#hardLinked.all(s);
  }

  extents(s: number, row: { ino: Ino; extents: string | null; logged: number }): ExtentMap {
    const map = row.extents === null ? new ExtentMap() : ExtentMap.fromJSON(parse(row.extents, row.ino));
    if (row.logged > 0) {
      for (const { start, length, file } of this.#log.all(s, row.ino))
        map.set(start, length, { type: 'local', file, offset: start });
    }
    return map;
  }

  /** Every staging file that staged inodes of any stage name. */
  stagingFiles(): Set<number> {
    const named = new Set<number>();
    for (const row of this.#files.all()) {
      if (row.file !== 0) named.add(row.file);
      for (const file of this.#localFiles(row)) named.add(file);
    }
    return named;
  }

  /** The staging files of one stage. Read a few at a time: rows may change meanwhile, but none may be added. */
  *eachStagingFiles(s: number): Iterable<readonly [Ino, readonly number[]]> {
    let after = -1;
    for (;;) {
      const rows = this.#filesAfter.all(s, after, rowsReadAtOnce);
      for (const row of rows) {
        const files = this.#localFiles(row);
        if (files.length > 0) yield [row.ino, files];
      }
      if (rows.length < rowsReadAtOnce) return;
      after = rows.at(-1)?.ino ?? after;
    }
  }

  /** Inodes whose content changed after generation `gen` and that have a staging file of their own. */
  contentChangedSince(s: number, gen: number): Ino[] {
    return this.#contentChanged.all(s, gen).map((row) => row.ino);
  }

  #localFiles(row: FileRow): number[] {
    return row.extents === null && row.logged === 0 ? [] : this.extents(row.s, row).localFiles();
  }
}

interface FileRow {
  s: number;
  ino: number;
  file: number;
  extents: string | null;
  logged: number;
}

/** Writes staged inodes. Callers hold a transaction. */
export class InodeRows extends InodeReader {
  readonly #put: Statement<Value[]>;
  readonly #attributes: Statement<Value[]>;
  readonly #content: Statement<Value[]>;
  readonly #setXattrs: Statement<[string | null, number, number]>;
  readonly #appendLog: Statement<[number, number, number, number, number, number]>;
  readonly #clearLog: Statement<[number, number]>;
  readonly #delete: Statement<[number, number]>;
  readonly #changedSince: Statement<[number, number], { ino: number }>;
  readonly #setLinks: Statement<[number, number, number, number]>;
  readonly #any: Statement<[number], { ino: number }>;
  readonly #deleteAll: readonly Statement<[number]>[];

  constructor(db: Database) {
    super(db);
    this.#put = db.prepare(
      `INSERT OR REPLACE INTO inode (s, ${columns.join(', ')}) VALUES (?${', ?'.repeat(columns.length)})`,
    );
    const set = attributeColumns.map((column) => `${column} = ?`).join(', ');
    this.#attributes = db.prepare(`UPDATE inode SET ${set} WHERE s = ? AND ino = ?`);
    this.#content = db.prepare(`UPDATE inode SET ${set}, extents = ? WHERE s = ? AND ino = ?`);
    this.#setXattrs = db.prepare('UPDATE inode SET xattrs = ? WHERE s = ? AND ino = ?');
    this.#appendLog = db.prepare(
      'INSERT OR REPLACE INTO extent_log (s, ino, n, start, length, file) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#clearLog = db.prepare('DELETE FROM extent_log WHERE s = ? AND ino = ?');
    this.#delete = db.prepare('DELETE FROM inode WHERE s = ? AND ino = ?');
    this.#setLinks = db.prepare('UPDATE inode SET nlink = ?, base_nlink = ? WHERE s = ? AND ino = ?');
    this.#changedSince = db.prepare('SELECT ino FROM inode WHERE s = ? AND gen > ?');
    this.#any = db.prepare('SELECT ino FROM inode WHERE s = ? LIMIT 1');
    this.#deleteAll = [
      db.prepare('DELETE FROM inode WHERE s = ?'),
      db.prepare('DELETE FROM extent_log WHERE s = ?'),
    ];
  }

  /** The whole row, extents included. */
  put(s: number, node: Node): void {
    if (node.logged > 0) this.#clearLog.run(s, node.ino);
    node.logged = 0;
    this.#put.run(s, ...allValues(node));
  }

  putAttributes(s: number, node: Node): void {
    this.#attributes.run(...attributeValues(node), s, node.ino);
  }

  /** Attributes and the whole extent map. */
  putContent(s: number, node: Node): void {
    if (node.logged > 0) this.#clearLog.run(s, node.ino);
    node.logged = 0;
    this.#content.run(...attributeValues(node), extentsText(node), s, node.ino);
  }

  /** Attributes and one write on top of the stored extent map. */
  putWrite(s: number, node: Node, start: number, length: number, file: number): void {
    this.#appendLog.run(s, node.ino, ++node.logged, start, length, file);
    this.#attributes.run(...attributeValues(node), s, node.ino);
  }

  putLinks(s: number, ino: Ino, nlink: number, baseNlink: number): void {
    this.#setLinks.run(nlink, baseNlink, s, ino);
  }

  putXattrs(s: number, node: Node): void {
    this.#setXattrs.run(xattrsText(node), s, node.ino);
  }

  /** The whole row as it is given, with the content of a file. */
  putRow(
    s: number,
    row: InodeRow,
    content: { map: ExtentMap; file: number; sha256: string | null } | null,
  ): void {
    if (row.logged > 0) this.#clearLog.run(s, row.ino);
    const whole: InodeRow = {
      ...row,
      logged: 0,
      extents: content === null || content.map.count === 0 ? null : JSON.stringify(content.map.toJSON()),
      sha256: content?.sha256 ?? null,
      file: content?.file ?? 0,
    };
    this.#put.run(s, ...columns.map((column) => whole[column]));
  }

  delete(s: number, ino: Ino, logged: number): void {
    if (logged > 0) this.#clearLog.run(s, ino);
    this.#delete.run(s, ino);
  }

  deleteAll(s: number): void {
    for (const statement of this.#deleteAll) statement.run(s);
  }

  changedSince(s: number, gen: number): Ino[] {
    return this.#changedSince.all(s, gen).map((row) => row.ino);
  }

  isEmpty(s: number): boolean {
    return this.#any.get(s) === undefined;
  }
}

function allValues(node: Node): Value[] {
  return [
    node.ino,
    node.kind,
    node.mode,
    node.uid,
    node.gid,
    node.nlink,
    node.size,
    node.rdev,
    node.atime.s,
    node.atime.ns,
    node.atimeSet ? 1 : 0,
    node.mtime.s,
    node.mtime.ns,
    node.ctime.s,
    node.ctime.ns,
    node.target === '' ? null : node.target,
    xattrsText(node),
    node.extra === null ? null : JSON.stringify(node.extra),
    extentsText(node),
    node.logged,
    node.sha256,
    node.file,
    node.fileGen,
    node.base,
    node.baseNlink,
    node.gen,
    node.contentGen,
  ];
}

function attributeValues(node: Node): Value[] {
  return [
    node.mode,
    node.uid,
    node.gid,
    node.nlink,
    node.size,
    node.atime.s,
    node.atime.ns,
    node.atimeSet ? 1 : 0,
    node.mtime.s,
    node.mtime.ns,
    node.ctime.s,
    node.ctime.ns,
    node.logged,
    node.sha256,
    node.file,
    node.fileGen,
    node.gen,
    node.contentGen,
  ];
}

const xattrsText = (node: Node) => (node.xattrs === null ? null : JSON.stringify(node.xattrs));

function extentsText(node: Node): string | null {
  if (node.kind !== 'file') return null;
  const { map } = node;
  return map.count === 0 ? null : JSON.stringify(map.toJSON());
}

function parse(text: string, ino: Ino): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ArtifactError('Corrupt', `stage.db: extents of inode ${ino} are no JSON`, {}, error);
  }
}
