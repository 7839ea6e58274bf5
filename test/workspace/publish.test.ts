import { describe, expect, it } from 'vitest';
import { time } from '../../src/model/entry.js';
import { ArtifactError } from '../../src/model/errors.js';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import { limits } from '../../src/model/limits.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { PublishRequest, PublishResult } from '../../src/workspace/commit-types.js';
import { logKey, objectKey } from '../../src/workspace/keys.js';
import { encodeRecord, sha256Hex } from '../../src/workspace/record-codec.js';
import type { RecordBody, StoredRecord } from '../../src/workspace/records.js';
import type { PathChange } from '../../src/workspace/trees.js';
import { Workspace } from '../../src/workspace/workspace.js';
import {
  added,
  artifactId,
  changed,
  checkTree,
  dirAt,
  fileAt,
  MemoryJournal,
  publishRequest,
  readTree,
  removed,
  rootEntry,
} from './helpers.js';

const at = (result: PublishResult): NonNullable<PublishRequest['base']> => {
  const last = result.records.at(-1);
  if (last === undefined) throw new Error('no records');
  return { seq: last.record.seq, hash: last.hash, version: result.version, tree: result.tree };
};

/** A store that fails as it is told. */
class BrokenStore extends MemoryStore {
  /** Called before each create; throws what the caller is to see. */
  beforeCreate: (key: string) => void = () => undefined;
  afterCreate: (key: string) => void = () => undefined;
  beforeGet: (key: string) => void = () => undefined;
  beforePut: (key: string) => void = () => undefined;
  /** What others do before a create arrives. */
  meanwhile: () => Promise<void> = () => Promise.resolve();
  readonly created: string[] = [];

  override async putIfAbsent(...args: Parameters<MemoryStore['putIfAbsent']>): Promise<{ etag: string }> {
    this.created.push(args[0]);
    this.beforeCreate(args[0]);
    await this.meanwhile();
    const result = await super.putIfAbsent(...args);
    this.afterCreate(args[0]);
    return result;
  }

  override get(...args: Parameters<MemoryStore['get']>): Promise<Buffer> {
    this.beforeGet(args[0]);
    return super.get(...args);
  }

  override put(...args: Parameters<MemoryStore['put']>): Promise<{ etag: string }> {
    this.beforePut(args[0]);
    return super.put(...args);
  }
}

const unavailable = () => new ArtifactError('StoreUnavailable', 'no answer');

async function bench() {
  const store = new BrokenStore();
  let now = 1_700_000_000;
  const workspace = await Workspace.open(store, {
    host: 'h',
    user: 'u',
    clock: () => time(now),
    sleep: () => Promise.resolve(),
    random: () => 0.5,
  });
  const journal = new MemoryJournal();
  const publish = (changes: readonly PathChange[], more: Partial<PublishRequest> = {}) =>
    workspace.publish(publishRequest(changes, more), journal);
  const append = (body: RecordBody, since: { seq: number; hash: string } = { seq: 0, hash: '' }) =>
    workspace.append(
      {
        artifactId,
        commitId: newCommitId(),
        stageId: newStageId(),
        sinceSeq: since.seq,
        sincePrev: since.hash,
      },
      () => body,
      journal,
    );
  const setTime = (seconds: number) => {
    now = seconds;
  };
  return { store, workspace, journal, publish, append, setTime };
}

const file = fileAt('f', 2 ** 20, 'one');
const withCode = (code: string, message: string | RegExp = '') =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe('publish', () => {
  it('makes version 0 of a new artifact, in one tree object and one record', async () => {
    const { store, workspace, journal, publish } = await bench();
    const inside = fileAt('a/x', 2 ** 20 + 1, 'hello');
    const result = await publish([added(dirAt('a', 2 ** 20)), added(inside)], {
      root: rootEntry({ nlink: 3 }),
    });
    expect(result).toMatchObject({ version: 0, rebased: false });
    const { entries, metarange } = await readTree(workspace, result.tree);
    checkTree(entries, metarange);
    expect([...entries.keys()]).toEqual(['', 'a', 'a/x']);
    expect(journal.history).toEqual(['prepared', 'slot']);
    const keys: string[] = [];
    for await (const { key } of store.list('a/')) keys.push(key);
    expect(keys).toHaveLength(2);
    expect(await workspace.readLog(artifactId, 0, '')).toEqual(result.records);
  });

  it('reads nothing of a tree that this process wrote, and the slot always', async () => {
    const { store, workspace, publish } = await bench();
    const first = await publish([added(file)], { root: rootEntry() });
    const reads: string[] = [];
    store.beforeGet = (key) => void reads.push(key.replace(/^.*\/(\w+)\/[^/]*$/, '$1'));
    const mine = at(first);
    const second = await publish([added(fileAt('g', 2 ** 20 + 1, 'x'))], { base: mine });
    const written = await workspace.metarange(artifactId, second.tree);
    // The base's record, the slot that is free and the slot that was taken.
    expect(reads).toEqual(['log', 'log', 'log']);
    const other = await Workspace.open(store, { host: 'h', user: 'u' });
    expect(await other.metarange(artifactId, second.tree)).toEqual(written);
  });

  it('looks in the base for what a removed path held, when somebody else was faster', async () => {
    const { publish, workspace } = await bench();
    const other = fileAt('g', 2 ** 20 + 1, 'two');
    const first = await publish([added(file), added(other)], { root: rootEntry() });
    const base = at(first);
    const theirs = await publish([changed(file, fileAt('f', 2 ** 20, 'changed'))], { base });
    const gone = (name: string): PublishRequest['changes'] => [{ dir: '', name, after: null }];
    await expect(publish([], { base, changes: gone('f') })).rejects.toThrow(withCode('Conflict', 'f'));
    const mine = await publish([], { base, changes: gone('g') });
    expect([theirs.rebased, mine.rebased]).toEqual([false, true]);
    expect([...(await readTree(workspace, mine.tree)).entries.keys()]).toEqual(['', 'f']);
  });

  it('leaves the intent of a success to the caller, and removes it after a failure', async () => {
    const { journal, publish } = await bench();
    const first = await publish([added(file)]);
    expect(journal.pending()).toHaveLength(1);
    journal.intents.clear();
    await publish([added(fileAt('g', 9, 'x'))], { base: at(first) });
    journal.intents.clear();
    const late = publish([added(fileAt('g', 8, 'other'))], { base: at(first) });
    await expect(late).rejects.toThrow(withCode('Conflict', 'g'));
    expect(journal.pending()).toEqual([]);
  });

  it('with a commitId that is in the log already is that commit', async () => {
    const { workspace, journal } = await bench();
    const request = publishRequest([added(file)]);
    const first = await workspace.publish(request, journal);
    journal.intents.clear();
    expect(await workspace.publish(request, journal)).toEqual(first);
    expect(await workspace.readLog(artifactId, 0, '')).toHaveLength(1);
  });

  it('first resolves an intent of the same commit that is in a slot', async () => {
    const { store, workspace, journal } = await bench();
    const request = publishRequest([added(file)]);
    store.beforeCreate = () => {
      throw unavailable();
    };
    await expect(workspace.publish(request, journal)).rejects.toThrow(withCode('OutcomeUnknown'));
    const body = journal.intents.get(request.commitId)?.body;
    store.beforeCreate = () => undefined;
    const result = await workspace.publish({ ...request, message: 'again' }, journal);
    expect(result.records).toHaveLength(1);
    expect((await store.get(logKey(artifactId, 1))).toString()).toBe(body);
  });

  it('tries the same slot again, and only that, while it cannot tell; then says so', async () => {
    const { store, journal, publish } = await bench();
    store.beforeCreate = () => {
      throw unavailable();
    };
    await expect(publish([added(file)])).rejects.toThrow(withCode('OutcomeUnknown', 'log record 1'));
    expect(store.created.slice(1)).toEqual(Array(limits.slotAttemptsMax).fill(logKey(artifactId, 1)));
    expect(journal.pending()).toMatchObject([{ state: 'unknown', seq: 1 }]);
    expect(journal.history).toEqual(['prepared', 'slot', 'unknown']);
  });

  it('answers success when the record arrived though every answer was lost', async () => {
    const { store, publish } = await bench();
    store.afterCreate = () => {
      throw unavailable();
    };
    await expect(publish([added(file)])).resolves.toMatchObject({ version: 0 });
  });

  it('repeats a create that was answered 409', async () => {
    const { store, publish } = await bench();
    let refused = 0;
    store.beforeCreate = () => {
      if (refused++ < 3) throw new ArtifactError('Busy', '409');
    };
    await expect(publish([added(file)])).resolves.toMatchObject({ version: 0 });
    expect(store.created).toHaveLength(5);
  });

  it('does not believe a 200 that it cannot read back', async () => {
    const { store, journal, publish } = await bench();
    store.afterCreate = () => {
      store.beforeGet = () => {
        throw unavailable();
      };
    };
    await expect(publish([added(file)])).rejects.toThrow(withCode('OutcomeUnknown'));
    expect(journal.pending()).toMatchObject([{ state: 'unknown' }]);
  });

  it('calls a torn slot unknown: it may be ours', async () => {
    const { store, publish } = await bench();
    store.beforeCreate = (key) => {
      void store.put(key, Buffer.from('{"kind":"artifactfs.rec'));
      throw unavailable();
    };
    await expect(publish([added(file)])).rejects.toThrow(withCode('OutcomeUnknown'));
  });

  it('fails plainly when trees cannot be written: nothing was sent to the log', async () => {
    const { store, journal, publish } = await bench();
    store.beforePut = () => {
      throw new ArtifactError('StoreDenied', 'no');
    };
    await expect(publish([added(file)])).rejects.toThrow(withCode('StoreDenied'));
    expect(journal.pending()).toEqual([]);
    expect(journal.history).toEqual(['prepared']);
  });

  it('stops before the slot when it is interrupted', async () => {
    const { store, workspace, journal } = await bench();
    const stop = new AbortController();
    store.beforePut = () => stop.abort();
    const options = { signal: stop.signal };
    await expect(workspace.publish(publishRequest([added(file)]), journal, options)).rejects.toThrow(
      withCode('Interrupted'),
    );
    expect(store.created).toHaveLength(1);
    expect(journal.pending()).toEqual([]);
  });

  it('looks once more when it is interrupted in the slot', async () => {
    const { store, workspace, journal } = await bench();
    const stop = new AbortController();
    store.afterCreate = () => {
      stop.abort();
      throw new ArtifactError('Interrupted', 'stopped');
    };
    const options = { signal: stop.signal };
    const result = await workspace.publish(publishRequest([added(file)]), journal, options);
    expect(result.version).toBe(0);
  });

  it('shares the tree when only the manifest changes', async () => {
    const { publish } = await bench();
    const first = await publish([added(file)], { manifest: { type: 'model' } });
    const second = await publish([], { base: at(first), manifest: { type: 'dataset' } });
    expect(second.tree).toEqual(first.tree);
    expect(second.records.at(-1)?.record).toMatchObject({ version: 1, manifest: { type: 'dataset' } });
  });

  it('writes times that only go forward, whatever the clock says', async () => {
    const { publish, setTime } = await bench();
    const first = await publish([added(file)]);
    setTime(1_600_000_000);
    const second = await publish([added(fileAt('g', 9, 'x'))], { base: at(first) });
    const [before, after] = [first, second].map(({ records }) => records.at(-1)?.record.time ?? 0);
    expect(after).toBe((before ?? 0) + 1);
  });

  it('numbers versions on, also after the newest one expired', async () => {
    const { publish, append } = await bench();
    const v0 = await publish([added(file)]);
    const v1 = await publish([changed(file, fileAt('f', 2 ** 20, 'two'))], { base: at(v0) });
    const records = await append({ type: 'expire', versions: [1] }, { seq: at(v1).seq, hash: at(v1).hash });
    const head = records.at(-1);
    const base = { seq: head?.record.seq ?? 0, hash: head?.hash ?? '', version: 0, tree: v0.tree };
    const v2 = await publish([added(fileAt('g', 9, 'x'))], { base });
    expect(v2.version).toBe(2);
  });

  it('builds on the newest version that is alive', async () => {
    const { workspace, publish, append } = await bench();
    const v0 = await publish([added(file)]);
    const v1 = await publish([changed(file, fileAt('f', 2 ** 20, 'two'))], { base: at(v0) });
    await append({ type: 'expire', versions: [1] }, at(v1));
    const v2 = await publish([added(fileAt('g', 9, 'x'))], { base: at(v0) });
    const { entries } = await readTree(workspace, v2.tree);
    expect(entries.get('f')?.sha256).toBe(file.sha256);
    expect(v2.version).toBe(2);
  });

  it('uses no planned tree whose version has expired, though a later one has the same bytes', async () => {
    const { store, workspace, publish, append } = await bench();
    const v0 = await publish([added(file)]);
    const chmod = (before: PublishResult, mode: number) =>
      publish([], { base: at(before), root: rootEntry({ mode }) });
    const v1 = await chmod(v0, 0o700);
    let v3 = v1;
    store.meanwhile = async () => {
      store.meanwhile = () => Promise.resolve();
      v3 = await chmod(await chmod(v1, 0o711), 0o700);
      await append({ type: 'expire', versions: [1, 2] }, at(v3));
    };
    const mine = await publish([], { base: at(v0), manifest: { type: 'model' } });
    expect(v3.tree.sha256).toBe(v1.tree.sha256);
    expect(v3.tree.object).not.toBe(v1.tree.object);
    expect(mine).toMatchObject({ version: 4, tree: v3.tree });
    await store.deleteMany([objectKey(artifactId, v1.tree.object)]);
    const { entries } = await readTree(workspace, mine.tree);
    expect(entries.get('f')?.sha256).toBe(file.sha256);
  });

  it('keeps the manifest of the head, found behind other records', async () => {
    const { publish, append } = await bench();
    const v0 = await publish([added(file)], { manifest: { type: 'model' } });
    let head = v0.records.at(-1) as StoredRecord;
    for (let i = 0; i < 40; i++)
      head = (await append({ type: 'noop' }, at({ ...v0, records: [head] }))).at(-1) ?? head;
    const base = { ...at(v0), seq: head.record.seq, hash: head.hash };
    const v1 = await publish([added(fileAt('g', 9, 'x'))], { base });
    expect(v1.records.at(-1)?.record).toMatchObject({ version: 1, manifest: { type: 'model' } });
  });

  it('treats a manifest that both edited as a conflict, or as the policy says', async () => {
    const { publish } = await bench();
    const v0 = await publish([added(file)], { manifest: { a: 1 } });
    await publish([], { base: at(v0), manifest: { a: 2 } });
    const mine = { base: at(v0), manifest: { a: 3 } };
    await expect(publish([], mine)).rejects.toThrow(withCode('Conflict', 'manifest.json'));
    const theirs = await publish([], { ...mine, onConflict: 'theirs' });
    expect(theirs.records.at(-1)?.record).toMatchObject({ manifest: { a: 2 } });
    const kept = await publish([], { ...mine, onConflict: 'mine' });
    expect(kept.records.at(-1)?.record).toMatchObject({ manifest: { a: 3 } });
  });

  it('asks the caller about the manifest it is about to publish', async () => {
    const { publish } = await bench();
    const checkManifest = (manifest: object) => {
      if (!('name' in manifest)) throw new ArtifactError('Invalid', 'a name is missing');
    };
    await expect(publish([added(file)], { checkManifest })).rejects.toThrow(withCode('Invalid'));
    await expect(publish([added(file)], { checkManifest, manifest: { name: 'x' } })).resolves.toBeDefined();
  });

  it('names the first hundred conflicts and counts all', async () => {
    const { publish } = await bench();
    const files = Array.from({ length: 150 }, (_, i) =>
      fileAt(`f${String(i).padStart(3, '0')}`, 50 + i, 'x'),
    );
    const v0 = await publish(files.map(added));
    await publish(files.map(removed), { base: at(v0) });
    const mine = publish(
      files.map((before) => changed(before, fileAt(before.name, before.ino, 'y'))),
      { base: at(v0) },
    );
    const error = await mine.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'Conflict', details: { pathsTotal: 150 } });
    expect((error as ArtifactError).details['paths']).toHaveLength(100);
  });

  it.each<[string, RecordBody | ((stageId: string) => RecordBody), string]>([
    ['its stage was abandoned', (stageId) => ({ type: 'abandon', stages: [stageId] }), 'Stale'],
    ['its base has expired', { type: 'expire', versions: [0] }, 'Stale'],
    ['an unknown writer feature appeared', { type: 'feature', writer: ['sparkle'] }, 'UnsupportedFormat'],
    ['an unknown reader feature appeared', { type: 'feature', reader: ['sparkle'] }, 'UnsupportedFormat'],
  ])('refuses when %s', async (_, body, code) => {
    const { publish, append } = await bench();
    const stageId = newStageId();
    const v0 = await publish([added(file)]);
    await append(typeof body === 'function' ? body(stageId) : body, at(v0));
    await expect(publish([added(fileAt('g', 9, 'x'))], { base: at(v0), stageId })).rejects.toThrow(
      withCode(code),
    );
  });

  it('refuses when an earlier version has expired of which staged files use objects', async () => {
    const { publish, append } = await bench();
    const v0 = await publish([added(file)]);
    const v1 = await publish([added(fileAt('g', 9, 'x'))], { base: at(v0) });
    await append({ type: 'expire', versions: [0] }, at(v1));
    const base = { ...at(v1), uses: { versions: [0], stages: [] } };
    await expect(publish([added(fileAt('h', 10, 'y'))], { base })).rejects.toThrow(withCode('Stale'));
    await publish([added(fileAt('h', 10, 'y'))], { base: at(v1) });
  });

  it('refuses to publish one stage twice', async () => {
    const { publish } = await bench();
    const stageId = newStageId();
    await publish([added(file)], { stageId });
    await expect(publish([added(file)], { stageId })).rejects.toThrow(withCode('Stale', 'version 0'));
  });

  it.each<[string, Partial<PublishRequest>, string]>([
    ['a bad name', { changes: [added(fileAt('.', 9, 'x'))] }, 'InvalidName'],
    ['a name that is not Unicode', { changes: [added(fileAt('a\ud800', 9, 'x'))] }, 'InvalidName'],
    ['a name that is too long', { changes: [added(fileAt('ä'.repeat(128), 9, 'x'))] }, 'NameTooLong'],
    [
      'changes out of order',
      { changes: [added(fileAt('b', 9, 'x')), added(fileAt('a', 8, 'x'))] },
      'Internal',
    ],
    ['extents that miss bytes', { changes: [added(fileAt('b', 9, 'x', { size: 2 }))] }, 'Internal'],
    ['a message that is too long', { message: 'x'.repeat(5000) }, 'TooLarge'],
    ['a manifest that does not fit', { manifest: { x: 'x'.repeat(70_000) } }, 'TooLarge'],
  ])('refuses %s', async (_, more, code) => {
    const { workspace, journal } = await bench();
    const request = { ...publishRequest([]), ...more };
    await expect(workspace.publish(request, journal)).rejects.toThrow(withCode(code));
    expect(journal.pending()).toEqual([]);
  });

  it('refuses a log that is not the one the stage was built on', async () => {
    const { publish } = await bench();
    const v0 = await publish([added(file)]);
    const base = { ...at(v0), hash: 'a'.repeat(64) };
    await expect(publish([added(fileAt('g', 9, 'x'))], { base })).rejects.toThrow(
      withCode('Corrupt', 'log/'),
    );
  });

  it('renumbers new files when two stages drew the same prefix', async () => {
    const { workspace, publish } = await bench();
    const prefix = 77;
    const v0 = await publish([added(fileAt('old', 5 * 2 ** 20, 'x'))], { inoPrefixes: [5] });
    const stage = { base: at(v0), inoPrefixes: [prefix] };
    await publish([added(fileAt('a', prefix * 2 ** 20 + 3, 'A'))], stage);
    const v2 = await publish([added(fileAt('b', prefix * 2 ** 20 + 3, 'B'))], stage);
    const { entries, metarange } = await readTree(workspace, v2.tree);
    checkTree(entries, metarange);
    const ino = entries.get('b')?.ino ?? 0;
    expect(ino).not.toBe(entries.get('a')?.ino);
    expect(ino % 2 ** 20).toBe(3);
    expect(metarange.inoPrefixes).toContain(Math.floor(ino / 2 ** 20));
  });

  it('keeps the prefix of an earlier commit of the same machine', async () => {
    const { workspace, publish } = await bench();
    const v0 = await publish([added(fileAt('a', 5 * 2 ** 20, 'x'))], { inoPrefixes: [5] });
    await publish([added(fileAt('other', 6 * 2 ** 20, 'x'))], { base: at(v0), inoPrefixes: [6] });
    const v2 = await publish([added(fileAt('b', 5 * 2 ** 20 + 1, 'y'))], { base: at(v0), inoPrefixes: [5] });
    expect((await readTree(workspace, v2.tree)).entries.get('b')?.ino).toBe(5 * 2 ** 20 + 1);
  });
});

describe('append', () => {
  it('decides again when somebody else took the slot, seeing their record', async () => {
    const { store, workspace, journal, append } = await bench();
    const seen: number[] = [];
    let raced = false;
    store.beforeCreate = (key) => {
      if (raced || !key.includes('/log/')) return;
      raced = true;
      const header = { seq: 1, prev: '', commitId: newCommitId(), host: 'o', user: 'o', time: 5 };
      void store.put(key, encodeRecord(header, { type: 'noop' }));
    };
    const records = await workspace.append(
      { artifactId, commitId: newCommitId(), stageId: newStageId(), sinceSeq: 0, sincePrev: '' },
      (since) => {
        seen.push(since.length);
        return { type: 'link', name: 'x', artifactId };
      },
      journal,
    );
    expect(seen).toEqual([0, 1]);
    expect(records.map(({ record }) => record.type)).toEqual(['noop', 'link']);
    expect(journal.history).toEqual(['prepared', 'slot', 'prepared', 'slot']);
    expect(journal.pending()).toEqual([]);
    expect(await append({ type: 'noop' })).toHaveLength(3);
  });

  it('refuses when an unknown writer feature appeared', async () => {
    const { append } = await bench();
    await append({ type: 'feature', writer: ['sparkle'] });
    await expect(append({ type: 'noop' })).rejects.toThrow(withCode('UnsupportedFormat', 'sparkle'));
  });

  it('hands on what decide throws, and writes nothing', async () => {
    const { store, workspace, journal } = await bench();
    const refuse = () => {
      throw new ArtifactError('Exists', 'the name is taken');
    };
    const request = {
      artifactId,
      commitId: newCommitId(),
      stageId: newStageId(),
      sinceSeq: 0,
      sincePrev: '',
    };
    await expect(workspace.append(request, refuse, journal)).rejects.toThrow(withCode('Exists'));
    expect(store.created).toHaveLength(1);
    expect(journal.pending()).toEqual([]);
  });

  it.each<RecordBody>([
    { type: 'link', name: '.hidden', artifactId },
    { type: 'link', name: 'a/b', artifactId },
    { type: 'rename', from: 'a', to: '@b', artifactId },
    { type: 'alias', alias: 'latest', expected: null, version: 0 },
    { type: 'alias', alias: 'v3', expected: null, version: 0 },
  ])('refuses names that are not allowed: %j', async (body) => {
    const { append } = await bench();
    await expect(append(body)).rejects.toThrow(withCode('InvalidName'));
  });

  it('gives up after losing very many slots, and says why', async () => {
    const { store, append } = await bench();
    let prev = '';
    store.beforeCreate = (key) => {
      if (!key.includes('/log/')) return;
      const header = {
        seq: Number(key.slice(-25, -5)),
        prev,
        commitId: newCommitId(),
        host: 'o',
        user: 'o',
        time: 5,
      };
      const bytes = encodeRecord(header, { type: 'noop' });
      prev = sha256Hex(bytes);
      void store.put(key, bytes);
    };
    await expect(append({ type: 'noop' })).rejects.toThrow(withCode('Busy'));
  });
});
