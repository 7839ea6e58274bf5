import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { encodePackFooter, type PackEntry } from '../content/upload/pack.js';
import {
  compareEntries,
  type Entry,
  type Extent,
  type Kind,
  rootIno,
  splitPath,
  systemClock,
  type Time,
} from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { drawInoPrefix, inosPerPrefix, newArtifactId, newCommitId, newStageId } from '../model/ids.js';
import { limits } from '../model/limits.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { ForgetfulJournal } from '../workspace/forgetful-journal.js';
import { artifactPrefix, dataObject, objectKey, packObject } from '../workspace/keys.js';
import { checkFileName } from '../workspace/names.js';
import { findNewName, linkNewName, type NewName } from '../workspace/new-name.js';
import type { Workspace } from '../workspace/workspace.js';
import type { Piece } from './stored-content.js';

/** A file as it comes from somewhere else. */
export interface NewFile {
  /** Inside the artifact; '' is its own directory. */
  readonly path: string;
  readonly kind: Kind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Time;
  readonly target?: string;
  readonly rdev?: number;
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Of a regular file; `content` has exactly as many bytes. It is read once, before `add` resolves. */
  readonly size?: number;
  readonly content?: AsyncIterable<Piece>;
}

export interface WrittenArtifact {
  readonly artifactId: string;
  readonly path: string;
  readonly files: number;
  readonly directories: number;
  /** Symlinks, devices, FIFOs and sockets. */
  readonly others: number;
  readonly bytes: number;
}

/** Makes a new artifact of one version from files that come one after another, straight into the store. */
export class ArtifactWriter {
  readonly #target: Workspace;
  readonly #name: NewName;
  readonly #path: string;
  readonly #options: CallOptions;
  readonly #artifactId = newArtifactId();
  readonly #stageId = newStageId();
  readonly #entries = new Map<string, NewEntry>();
  readonly #links: { path: string; to: string }[] = [];
  readonly #numbers = new InoNumbers();
  readonly #packs: PackFiles;
  readonly #journal = new ForgetfulJournal();
  #objects = 0;
  #root: NewFile | null = null;

  private constructor(target: Workspace, name: NewName, path: string, options: CallOptions) {
    this.#target = target;
    this.#name = name;
    this.#path = path;
    this.#options = options;
    this.#packs = new PackFiles(target.store, this.#artifactId, () =>
      packObject(this.#stageId, ++this.#objects),
    );
  }

  /** `path`: names from the root. `Exists` when the name is taken, `NotFound` for a collection that is not there. */
  static async open(target: Workspace, path: string, options: CallOptions): Promise<ArtifactWriter> {
    target.requireWritable();
    return new ArtifactWriter(target, await findNewName(target, path, options), path, options);
  }

  /** Stores the file's bytes. May be called again before it has resolved. Of two with one path the later counts. */
  async add(file: NewFile): Promise<void> {
    const { dir, name } = splitPath(file.path);
    if (file.path === '') {
      this.#root = file;
      return;
    }
    for (const part of dir === '' ? [name] : [...dir.split('/'), name]) checkFileName(part);
    const content = file.kind === 'file' ? await this.#store(name, file) : {};
    const { kind, mode, uid, gid, mtime, target, rdev, xattrs } = file;
    const known = this.#entries.get(file.path);
    if (known?.kind === 'dir' && kind !== 'dir')
      throw new ArtifactError('Invalid', `${file.path} comes twice, as a directory and as something else`);
    this.#entries.set(file.path, {
      dir,
      name,
      kind,
      ino: known?.ino ?? this.#numbers.next(),
      mode: mode & 0o7777,
      uid,
      gid,
      size: kind === 'symlink' ? Buffer.byteLength(target ?? '') : 0,
      mtime,
      ctime: systemClock(),
      ...(target === undefined ? {} : { target }),
      ...(rdev === undefined ? {} : { rdev }),
      ...(xattrs === undefined ? {} : { xattrs }),
      ...content,
    });
  }

  /** Another name for a file that is added before or after. */
  link(path: string, to: string): void {
    for (const part of path.split('/')) checkFileName(part);
    this.#links.push({ path, to });
  }

  /** Publishes what was added as v0 of the artifact, and gives it its name, last of all. */
  async publish(message: string): Promise<WrittenArtifact> {
    await this.#packs.flush(this.#options);
    for (const { path, to } of this.#links) this.#makeLink(path, to);
    for (const { dir } of [...this.#entries.values()]) this.#makeParents(dir);
    const { entries, rootLinks } = this.#counted();
    // From here on it is not interrupted: whether it took place must be known.
    this.#options.signal?.throwIfAborted();
    await this.#target.publish(
      {
        artifactId: this.#artifactId,
        commitId: newCommitId(),
        stageId: this.#stageId,
        base: null,
        changes: entries.map((after) => ({ dir: after.dir, name: after.name, after })),
        root: this.#rootEntry(rootLinks),
        inoPrefixes: this.#numbers.prefixes,
        message,
        manifest: {},
        inputs: [],
        onConflict: 'fail',
      },
      this.#journal,
    );
    await linkNewName(this.#target, this.#name, this.#artifactId, {});
    const count = (...kinds: Kind[]) => entries.filter(({ kind }) => kinds.includes(kind)).length;
    const [files, directories] = [count('file'), count('dir')];
    return {
      artifactId: this.#artifactId,
      path: this.#path,
      files,
      directories,
      others: entries.length - files - directories,
      bytes: entries.reduce((sum, { kind, size }) => sum + (kind === 'file' ? size : 0), 0),
    };
  }

  /** Deletes what was stored, unless a record of it may be in the log: nobody else knows of it. */
  async drop(): Promise<void> {
    if (this.#journal.pending().some(({ state }) => state !== 'prepared')) return;
    await dropObjects(this.#target.store, this.#artifactId);
  }

  async #store(name: string, { path, size = 0, content }: NewFile): Promise<Content> {
    if (size === 0 || content === undefined) return { size: 0 };
    const hash = createHash('sha256');
    const parts = new ContentParts(hash, size, path);
    if (size < limits.packFileBytesMax) {
      const bytes: Buffer[] = [];
      for await (const piece of parts.data(content)) bytes.push(piece);
      if (bytes.length === 0) return { size, sha256: hash.digest('hex'), extents: parts.extents('', 0) };
      const place = await this.#packs.add(Buffer.concat(bytes), this.#options);
      return { size, sha256: hash.digest('hex'), extents: parts.extents(place.object, place.offset) };
    }
    const object = dataObject(this.#stageId, ++this.#objects, name);
    const stream = Readable.from(parts.data(content), { objectMode: false });
    await this.#target.store.putStream(objectKey(this.#artifactId, object), stream, this.#options);
    if (!parts.hasData)
      await this.#target.store.deleteMany([objectKey(this.#artifactId, object)], this.#options);
    return { size, sha256: hash.digest('hex'), extents: parts.extents(object, 0) };
  }

  #makeLink(path: string, to: string): void {
    const entry = this.#entries.get(to);
    if (entry === undefined || entry.kind === 'dir')
      throw new ArtifactError('Invalid', `${path} is a link to ${to}, which is no file of it`);
    this.#entries.set(path, { ...entry, ...splitPath(path) });
  }

  /** A directory that things are in, and that did not come by itself. */
  #makeParents(path: string): void {
    for (let at = path; at !== ''; at = splitPath(at).dir) {
      const known = this.#entries.get(at);
      if (known?.kind === 'dir') return;
      if (known !== undefined)
        throw new ArtifactError('Invalid', `${at} is a ${known.kind}, but files are in it`);
      const { uid, gid } = this.#rootEntry(2);
      const now = systemClock();
      const ino = this.#numbers.next();
      const attributes = {
        kind: 'dir',
        ino,
        mode: 0o755,
        uid,
        gid,
        size: 0,
        mtime: now,
        ctime: now,
      } as const;
      this.#entries.set(at, { ...splitPath(at), ...attributes });
    }
  }

  /** In tree order, each with the number of its names. */
  #counted(): { entries: Entry[]; rootLinks: number } {
    const names = new Map<number, number>();
    const directories = new Map<string, number>();
    for (const { kind, ino, dir } of this.#entries.values()) {
      names.set(ino, (names.get(ino) ?? 0) + 1);
      if (kind === 'dir') directories.set(dir, (directories.get(dir) ?? 2) + 1);
    }
    const entries = [...this.#entries].map(([path, entry]): Entry => {
      const nlink = entry.kind === 'dir' ? (directories.get(path) ?? 2) : (names.get(entry.ino) ?? 1);
      return { ...entry, nlink };
    });
    return { entries: entries.sort(compareEntries), rootLinks: directories.get('') ?? 2 };
  }

  #rootEntry(nlink: number): Entry {
    const ctime = systemClock();
    const { mode = 0o755, uid = process.getuid?.() ?? 0, gid = process.getgid?.() ?? 0 } = this.#root ?? {};
    const { mtime = ctime, xattrs } = this.#root ?? {};
    return {
      dir: '',
      name: '',
      kind: 'dir',
      ino: rootIno,
      mode: mode & 0o7777,
      uid,
      gid,
      nlink,
      size: 0,
      mtime,
      ctime,
      ...(xattrs === undefined ? {} : { xattrs }),
    };
  }
}

type NewEntry = Omit<Entry, 'nlink'>;
type Content = Pick<Entry, 'size' | 'sha256' | 'extents'>;

/** Everything under the prefix of an artifact that has no record: nobody else knows its id. */
export async function dropObjects(store: ObjectStore, artifactId: string): Promise<void> {
  let keys: string[] = [];
  for await (const { key } of store.list(artifactPrefix(artifactId))) {
    keys.push(key);
    if (keys.length < limits.storeDeleteKeysMax) continue;
    await store.deleteMany(keys);
    keys = [];
  }
  await store.deleteMany(keys);
}

class InoNumbers {
  readonly prefixes = [drawInoPrefix([])];
  #used = 0;

  next(): number {
    if (this.#used === inosPerPrefix) {
      this.prefixes.push(drawInoPrefix(this.prefixes));
      this.#used = 0;
    }
    return (this.prefixes.at(-1) ?? 0) * inosPerPrefix + this.#used++;
  }
}

/** Splits content into the bytes that are stored and the places where they belong. */
class ContentParts {
  readonly #hash: { update(bytes: Buffer): unknown };
  readonly #size: number;
  readonly #path: string;
  readonly #runs: { isHole: boolean; length: number }[] = [];

  constructor(hash: { update(bytes: Buffer): unknown }, size: number, path: string) {
    this.#hash = hash;
    this.#size = size;
    this.#path = path;
  }

  get hasData(): boolean {
    return this.#runs.some(({ isHole }) => !isHole);
  }

  async *data(content: AsyncIterable<Piece>): AsyncGenerator<Buffer> {
    let total = 0;
    for await (const piece of content) {
      const isHole = typeof piece === 'number';
      const length = isHole ? piece : piece.length;
      total += length;
      this.#note(isHole && this.#runs.length < limits.extentsPerFileMax - 1, length);
      if (!isHole) {
        this.#hash.update(piece);
        yield piece;
      } else yield* this.#zeros(length);
    }
    if (total !== this.#size)
      throw new ArtifactError('Stale', `${this.#path} changed while it was read`, {
        hint: 'import it again',
      });
  }

  extents(object: string, start: number): Extent[] {
    let offset = start;
    return this.#runs.map(({ isHole, length }) => {
      if (isHole) return { object: null, offset: 0, length };
      offset += length;
      return { object, offset: offset - length, length };
    });
  }

  /** With as many holes as a file may have pieces, the others are stored as the zeros that they are. */
  *#zeros(length: number): Generator<Buffer> {
    const isStored = this.#runs.at(-1)?.isHole === false;
    for (let left = length; left > 0; left -= zeros.length) {
      const piece = zeros.subarray(0, Math.min(left, zeros.length));
      this.#hash.update(piece);
      if (isStored) yield piece;
    }
  }

  #note(isHole: boolean, length: number): void {
    const last = this.#runs.at(-1);
    if (last?.isHole === isHole) last.length += length;
    else this.#runs.push({ isHole, length });
  }
}

const zeros = Buffer.alloc(1 << 20);

/** Small files side by side in packs. Equal ones are stored once. */
class PackFiles {
  readonly #store: ObjectStore;
  readonly #artifactId: string;
  readonly #newObject: () => string;
  readonly #places = new Map<string, { object: string; offset: number }>();
  #object: string;
  #bytes: Buffer[] = [];
  #size = 0;
  #entries: PackEntry[] = [];

  constructor(store: ObjectStore, artifactId: string, newObject: () => string) {
    this.#store = store;
    this.#artifactId = artifactId;
    this.#newObject = newObject;
    this.#object = newObject();
  }

  /** The place of the bytes, which are stored when it, or the next `flush`, has resolved. */
  async add(bytes: Buffer, options: CallOptions): Promise<{ object: string; offset: number }> {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const known = this.#places.get(sha256);
    if (known !== undefined) return known;
    const place = { object: this.#object, offset: this.#size };
    this.#places.set(sha256, place);
    this.#entries.push({ sha256, offset: this.#size, length: bytes.length });
    this.#bytes.push(bytes);
    this.#size += bytes.length;
    if (this.#size >= limits.packBytesTarget || this.#entries.length >= limits.packEntriesMax)
      await this.flush(options);
    return place;
  }

  async flush(options: CallOptions): Promise<void> {
    if (this.#entries.length === 0) return;
    const body = [...this.#bytes, encodePackFooter(this.#entries, this.#size)];
    const key = objectKey(this.#artifactId, this.#object);
    [this.#object, this.#bytes, this.#size, this.#entries] = [this.#newObject(), [], 0, []];
    await this.#store.put(key, body, options);
  }
}
