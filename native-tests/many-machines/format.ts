// A reader of workspaces written from doc/FORMAT.md alone: it uses nothing of src/.
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import type { Bucket } from './bucket.js';
import { chunksOf, nameOf } from './chunks.js';
import type { State } from './state.js';

export const rootCollection = '00000000-0000-7000-8000-000000000000';

type Json = Readonly<Record<string, unknown>>;

export interface LogRecord {
  readonly seq: number;
  readonly prev: string;
  readonly commitId: string;
  readonly type: string;
  readonly time: number;
  /** Everything of it. */
  readonly body: Json;
}

export interface TreeRef {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

export interface Commit extends LogRecord {
  readonly version: number;
  readonly baseSeq: number;
  readonly message: string;
  readonly stages: readonly string[];
  readonly tree: TreeRef;
}

export interface TreeEntry {
  readonly path: string;
  readonly kind: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly mtime: readonly [number, number];
  readonly target: string | null;
  readonly extents: readonly (readonly [object: string | null, offset: number, length: number])[];
  readonly sha256: string | null;
}

/** One artifact's log, replayed. */
export interface History {
  readonly artifactId: string;
  readonly records: readonly LogRecord[];
  readonly commits: readonly Commit[];
  readonly expired: ReadonlySet<number>;
  readonly abandoned: ReadonlySet<string>;
  readonly aliases: ReadonlyMap<string, number>;
  readonly names: ReadonlyMap<string, string>;
  /** Records whose expectation did not hold. */
  readonly withoutEffect: readonly LogRecord[];
}

interface Content {
  /** Names of its chunks. */
  readonly chunks: string;
  readonly sha256: string;
}

export class Damage extends Error {
  override name = 'Damage';
}

export class Reader {
  readonly #bucket: Bucket;
  readonly #trees = new Map<string, Promise<Map<string, TreeEntry>>>();
  readonly #objects = new Map<string, string[]>();
  readonly #contents = new Map<string, Promise<Content>>();

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /** All records, in order. Throws `Damage` when the chain is not whole. */
  async log(artifactId: string): Promise<LogRecord[]> {
    const records: LogRecord[] = [];
    for (let prev = ''; ; ) {
      const seq = records.length + 1;
      const bytes = await this.#bucket.get(`a/${artifactId}/log/${String(seq).padStart(20, '0')}.json`);
      if (bytes === null) return records;
      const body = JSON.parse(bytes.toString()) as Json & LogRecord;
      const last = records.at(-1);
      if (body.seq !== seq || body.prev !== prev || body['kind'] !== 'artifactfs.record')
        throw new Damage(`record ${seq} of ${artifactId} does not follow: ${bytes.toString().slice(0, 200)}`);
      if (last !== undefined && body.time <= last.time) throw new Damage(`record ${seq} goes back in time`);
      if (bytes.length > 65_536) throw new Damage(`record ${seq} has ${bytes.length} bytes`);
      const { commitId, type, time } = body;
      records.push({ seq, prev, commitId, type, time, body });
      prev = sha256(bytes);
    }
  }

  async history(artifactId: string): Promise<History> {
    return replay(artifactId, await this.log(artifactId));
  }

  /** Every entry of a version by its path, the root directory as ''. */
  tree(artifactId: string, ref: TreeRef): Promise<Map<string, TreeEntry>> {
    const place = placeOf(artifactId, ref);
    const known = this.#trees.get(place) ?? this.#readTree(artifactId, ref);
    this.#trees.set(place, known);
    return known;
  }

  /** Keys of all objects that a version needs. */
  async objectsOf(artifactId: string, ref: TreeRef): Promise<string[]> {
    const entries = await this.tree(artifactId, ref);
    const data = [...entries.values()].flatMap(({ extents }) => extents.map(([object]) => object));
    const named = [...(this.#objects.get(placeOf(artifactId, ref)) ?? []), ...data];
    return [...new Set(named)]
      .filter((object) => object !== null)
      .map((object) => `a/${artifactId}/${object}`);
  }

  /** What an entry is to those who wrote it; reads all bytes of files. */
  async state(artifactId: string, entry: TreeEntry): Promise<State> {
    const { kind, mode, target } = entry;
    if (kind === 'symlink') return { kind: 'link', content: target ?? '', mode: 0o777 };
    if (kind !== 'file') return { kind: 'dir', content: '', mode };
    return { kind: 'file', content: (await this.content(artifactId, entry)).chunks, mode };
  }

  /** Reads and checks all bytes of a file, once. */
  content(artifactId: string, entry: TreeEntry): Promise<Content> {
    const where = `${artifactId} ${entry.sha256} ${JSON.stringify(entry.extents)}`;
    const content = this.#contents.get(where) ?? this.#content(artifactId, entry);
    this.#contents.set(where, content);
    return content;
  }

  async #content(artifactId: string, entry: TreeEntry): Promise<Content> {
    const pieces: Buffer[] = [];
    for (const [object, offset, length] of entry.extents)
      pieces.push(
        object === null
          ? Buffer.alloc(length)
          : await this.#bucket.part(`a/${artifactId}/${object}`, offset, length),
      );
    const bytes = Buffer.concat(pieces);
    if (bytes.length !== entry.size)
      throw new Damage(`${entry.path} has ${bytes.length} bytes, not ${entry.size}`);
    const hash = sha256(bytes);
    if (entry.sha256 !== null && hash !== entry.sha256) throw new Damage(`${entry.path} has another hash`);
    return { chunks: nameOf(chunksOf(bytes)), sha256: hash };
  }

  async #readTree(artifactId: string, ref: TreeRef): Promise<Map<string, TreeEntry>> {
    const metarange = JSON.parse((await this.#piece(artifactId, ref)).toString()) as Json;
    const ranges = metarange['ranges'] as TreeRef[];
    const found = new Map([['', entryOf(metarange['root'] as Json)]]);
    let before = '';
    for (const range of ranges) {
      const text = (await this.#piece(artifactId, range)).toString().trimEnd();
      const [header = '{}', ...lines] = text.split('\n');
      if ((JSON.parse(header) as Json)['count'] !== lines.length)
        throw new Damage(`a range of ${ref.object} is cut`);
      for (const line of lines) {
        const body = JSON.parse(line) as Json;
        const order = `${body['dir']}\0${body['name']}`;
        if (order <= before) throw new Damage(`${order} is out of order in ${ref.object}`);
        before = order;
        const entry = entryOf(body);
        found.set(entry.path, entry);
      }
    }
    if (found.size - 1 !== metarange['entries'])
      throw new Damage(`${ref.object} has another number of entries`);
    this.#objects.set(placeOf(artifactId, ref), [ref.object, ...ranges.map(({ object }) => object)]);
    return found;
  }

  async #piece(artifactId: string, { object, offset, length, sha256: hash }: TreeRef): Promise<Buffer> {
    const bytes = await this.#bucket.part(`a/${artifactId}/${object}`, offset, length);
    if (sha256(bytes) !== hash) throw new Damage(`${object} at ${offset} has another hash`);
    return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
  }
}

/** Fields of records of all types. */
interface Fields {
  readonly versions?: readonly number[];
  readonly stages?: readonly string[];
  readonly name: string;
  readonly artifactId: string;
  readonly from: string;
  readonly to: string;
  readonly alias: string;
  readonly expected: number | null;
  readonly version: number | null;
}

function replay(artifactId: string, records: readonly LogRecord[]): History {
  const commits: Commit[] = [];
  const expired = new Set<number>();
  const abandoned = new Set<string>();
  const aliases = new Map<string, number>();
  const names = new Map<string, string>();
  const withoutEffect: LogRecord[] = [];
  const holds = (record: LogRecord): boolean => {
    const body = record.body as unknown as Fields;
    const { name, artifactId: id, from, to, alias, expected, version } = body;
    switch (record.type) {
      case 'commit': {
        const commit = record.body as unknown as Commit;
        if (commit.version !== commits.length)
          throw new Damage(`record ${record.seq} is not v${commits.length}`);
        commits.push({ ...commit, body: record.body });
        return true;
      }
      case 'expire':
        for (const each of body.versions ?? []) expired.add(each);
        return true;
      case 'abandon':
        for (const each of body.stages ?? []) abandoned.add(each);
        return true;
      case 'link':
        return !names.has(name) && names.set(name, id) !== undefined;
      case 'unlink':
        return names.get(name) === id && names.delete(name);
      case 'rename':
        if (names.get(from) !== id || names.has(to)) return false;
        names.delete(from);
        return names.set(to, id) !== undefined;
      case 'alias':
        if ((aliases.get(alias) ?? null) !== expected) return false;
        if (version === null) return aliases.delete(alias);
        if (version >= commits.length || expired.has(version)) return false;
        return aliases.set(alias, version) !== undefined;
      default:
        return true;
    }
  };
  for (const record of records) if (!holds(record)) withoutEffect.push(record);
  return { artifactId, records, commits, expired, abandoned, aliases, names, withoutEffect };
}

function entryOf(body: Json): TreeEntry {
  const entry = body as unknown as TreeEntry & { readonly dir: string; readonly name: string };
  const { dir, name, target = null, extents = [], sha256: hash = null } = entry;
  return { ...entry, path: dir === '' ? name : `${dir}/${name}`, target, extents, sha256: hash };
}

const placeOf = (artifactId: string, ref: TreeRef): string =>
  `${artifactId} ${ref.object} ${ref.offset} ${ref.sha256}`;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
