import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openCatalog } from '../../src/catalog/open-catalog.js';
import { compareNames } from '../../src/model/entry.js';
import type { LogRecord, RecordBody, StoredRecord } from '../../src/workspace/records.js';
import {
  applyRecord,
  emptyArtifactState,
  latestVersion,
  type ReplayState,
} from '../../src/workspace/replay.js';
import { FakeTrees } from './fake-trees.js';

const artifactId = '01890000-0000-7000-8000-000000000001';
const openEmpty = () => openCatalog(':memory:', new FakeTrees());

/** Chains bodies into a log. */
function logOf(bodies: readonly RecordBody[], start?: StoredRecord): StoredRecord[] {
  const stored: StoredRecord[] = [];
  let prev = start?.hash ?? '';
  let seq = start?.record.seq ?? 0;
  for (const body of bodies) {
    const record: LogRecord = {
      kind: 'artifactfs.record',
      formatVersion: 1,
      seq: ++seq,
      prev,
      commitId: `commit-${seq}`,
      host: 'h',
      user: 'u',
      time: 1_700_000_000_000 + seq,
      ...body,
    };
    prev = createHash('sha256').update(JSON.stringify(record)).digest('hex');
    stored.push({ record, hash: prev });
  }
  return stored;
}

function commitBody(version: number): RecordBody {
  return {
    type: 'commit',
    version,
    baseSeq: 0,
    stages: ['s'],
    tree: { object: `t/s/${version}`, offset: 1, length: 2, sha256: 'ab', entries: 3, bytes: 4 },
    summary: { added: version, changed: 2, removed: 1 },
    message: `message ${version}`,
    manifest: { type: 'model', version },
    inputs: [],
  };
}

const name = fc.constantFrom('a', 'b', '\uffee', '\u{1f600}', '__proto__');
const someId = fc.constantFrom('id-1', 'id-2');
const version = fc.nat(4);
const otherBody: fc.Arbitrary<RecordBody> = fc.oneof(
  fc.record({ type: fc.constant('link' as const), name, artifactId: someId }),
  fc.record({ type: fc.constant('unlink' as const), name, artifactId: someId }),
  fc.record({ type: fc.constant('rename' as const), from: name, to: name, artifactId: someId }),
  fc.record({
    type: fc.constant('alias' as const),
    alias: name,
    expected: fc.option(version),
    version: fc.option(version),
  }),
  fc.record({ type: fc.constant('meta' as const), manifest: fc.dictionary(fc.string(), fc.integer()) }),
  fc.record({ type: fc.constant('expire' as const), versions: fc.array(version, { maxLength: 3 }) }),
  fc.constant<RecordBody>({ type: 'abandon', stages: ['s'] }),
  fc.constant<RecordBody>({ type: 'feature', reader: ['x'] }),
  fc.constant<RecordBody>({ type: 'noop' }),
);

/** Commits are numbered as they come; everything else is anything. */
const anyLog = fc
  .array(fc.oneof(fc.constant('commit' as const), otherBody), { minLength: 1, maxLength: 60, size: 'max' })
  .map((steps) => {
    let next = 0;
    return logOf(steps.map((step) => (step === 'commit' ? commitBody(next++) : step)));
  });

function expectSame(catalog: ReturnType<typeof openEmpty>, replayed: ReplayState): void {
  const versions = replayed.versions.map((known) => ({
    version: known.version,
    seq: known.seq,
    commitId: known.commitId,
    timeMs: known.timeMs,
    host: known.host,
    user: known.user,
    message: known.message,
    tree: known.tree,
    ...known.summary,
    expired: known.expired,
  }));
  const latest = latestVersion(replayed)?.version;
  expect(catalog.versions(artifactId)).toEqual(versions.toReversed());
  expect(catalog.artifact(artifactId)).toEqual({
    artifactId,
    headSeq: replayed.headSeq,
    headHash: replayed.headHash,
    latest: latest === undefined ? null : versions[latest],
    manifest: replayed.manifest,
  });
  expect(new Map(Object.entries(catalog.aliases(artifactId)))).toEqual(replayed.aliases);
  const children = [...replayed.children].sort(([a], [b]) => compareNames(a, b));
  expect(catalog.children(artifactId).map((child) => [child.name, child.artifactId])).toEqual(children);
}

describe('applying records', () => {
  test('leads to what replay says, in any portions, some of them twice', () => {
    const portions = fc.array(fc.tuple(fc.nat(60), fc.nat(5)), { maxLength: 8 });
    fc.assert(
      fc.property(anyLog, portions, (log, cuts) => {
        using catalog = openEmpty();
        const replayed = emptyArtifactState();
        for (const stored of log) applyRecord(replayed, stored);
        let applied = 0;
        for (const [upTo, back] of [...cuts, [log.length, 0] as const]) {
          const end = Math.min(log.length, upTo);
          if (end <= applied) continue;
          catalog.apply(artifactId, log.slice(Math.max(0, applied - back), end));
          applied = end;
        }
        expectSame(catalog, replayed);
        expect(catalog.apply(artifactId, log)).toEqual(catalog.artifact(artifactId));
        expectSame(catalog, replayed);
        catalog.checkInvariants();
      }),
    );
  });

  test('keeps artifacts apart', () => {
    using catalog = openEmpty();
    catalog.apply('one', logOf([commitBody(0), { type: 'link', name: 'x', artifactId: 'two' }]));
    catalog.apply('two', logOf([commitBody(0), commitBody(1)]));
    expect(catalog.versions('one')).toHaveLength(1);
    expect(catalog.child('one', 'x')).toEqual({ name: 'x', artifactId: 'two' });
    expect(catalog.child('two', 'x')).toBeUndefined();
    expect(catalog.version('two', 1)?.message).toBe('message 1');
    expect(catalog.version('one', 1)).toBeUndefined();
    expect(catalog.stats().artifacts).toBe(2);
  });

  test.each<[string, string, (log: StoredRecord[]) => StoredRecord[]]>([
    ['after a gap', 'Internal', (log) => log.slice(1)],
    [
      'that does not chain',
      'Corrupt',
      ([one, two]) => (one && two ? [one, { ...two, record: { ...two.record, prev: 'x' } }] : []),
    ],
    ['that skips a version', 'Corrupt', () => logOf([commitBody(0), commitBody(2)])],
  ])('refuses a record %s, and keeps nothing of the portion', (_, code, spoil) => {
    using catalog = openEmpty();
    const spoilt = spoil(logOf([commitBody(0), commitBody(1)]));
    expect(() => catalog.apply(artifactId, spoilt)).toThrow(expect.objectContaining({ code }));
    expect(catalog.artifact(artifactId)).toBeUndefined();
    expect(catalog.versions(artifactId)).toEqual([]);
  });

  test('notices that the head is another record than before', () => {
    using catalog = openEmpty();
    catalog.apply(artifactId, logOf([commitBody(0)]));
    const other = logOf([{ ...commitBody(0), message: 'another' } as RecordBody]);
    expect(() => catalog.apply(artifactId, other)).toThrow(expect.objectContaining({ code: 'Corrupt' }));
    expect(catalog.version(artifactId, 0)?.message).toBe('message 0');
  });

  test('answers nothing for what is unknown', () => {
    using catalog = openEmpty();
    expect(catalog.artifact('x')).toBeUndefined();
    expect(catalog.versions('x')).toEqual([]);
    expect(catalog.aliases('x')).toEqual({});
    expect(catalog.children('x')).toEqual([]);
  });
});

test('children come in pages, in byte order', () => {
  using catalog = openEmpty();
  const names = ['z', 'a', '\u{1f600}', '\uffee', 'B', 'é'];
  catalog.apply(
    artifactId,
    logOf(names.map((child) => ({ type: 'link', name: child, artifactId: `id-${child}` }))),
  );
  const pages: string[] = [];
  for (let after: string | undefined; ; after = pages.at(-1)) {
    const page = catalog.children(artifactId, after, 2);
    pages.push(...page.map((child) => child.name));
    if (page.length < 2) break;
  }
  expect(pages).toEqual(['B', 'a', 'z', 'é', '\uffee', '\u{1f600}']);
});
