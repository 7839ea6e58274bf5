import { describe, expect, it } from 'vitest';
import { newCommitId } from '../../src/model/ids.js';
import type { CommitBody, RecordBody } from '../../src/workspace/records.js';
import {
  applyRecord,
  emptyArtifactState,
  latestVersion,
  type ReplayState,
} from '../../src/workspace/replay.js';
import { artifactId } from './helpers.js';

const other = '01890000-0000-7000-8000-000000000002';

function run(...bodies: RecordBody[]): { state: ReplayState; effective: boolean[] } {
  const state = emptyArtifactState();
  const effective = bodies.map((body, i) =>
    applyRecord(state, {
      hash: `h${i + 1}`,
      record: {
        kind: 'artifactfs.record',
        formatVersion: 1,
        seq: i + 1,
        prev: i === 0 ? '' : `h${i}`,
        commitId: newCommitId(),
        host: 'h',
        user: 'u',
        time: i,
        ...body,
      },
    }),
  );
  return { state, effective };
}

const commit = (version: number, manifest: CommitBody['manifest'] = {}): CommitBody => ({
  type: 'commit',
  version,
  baseSeq: 0,
  stages: [],
  tree: { object: 't/x/1', offset: 0, length: 1, sha256: '', entries: 0, bytes: 0 },
  summary: { added: 0, changed: 0, removed: 0 },
  message: '',
  manifest,
  inputs: [],
});
const link = (name: string, id = artifactId): RecordBody => ({ type: 'link', name, artifactId: id });
const alias = (expected: number | null, version: number | null): RecordBody => ({
  type: 'alias',
  alias: 'best',
  expected,
  version,
});

describe('replay', () => {
  it('links, renames and unlinks names', () => {
    const { state, effective } = run(
      link('a'),
      link('b', other),
      { type: 'rename', from: 'a', to: 'c', artifactId },
      { type: 'unlink', name: 'b', artifactId: other },
    );
    expect([...state.children]).toEqual([['c', artifactId]]);
    expect(effective).toEqual([true, true, true, true]);
  });

  it('lets the first keep a name', () => {
    const { state, effective } = run(
      link('a'),
      link('a', other),
      link('b', other),
      { type: 'rename', from: 'b', to: 'a', artifactId: other },
      { type: 'rename', from: 'a', to: 'z', artifactId: other },
      { type: 'unlink', name: 'a', artifactId: other },
    );
    expect([...state.children]).toEqual([
      ['a', artifactId],
      ['b', other],
    ]);
    expect(effective).toEqual([true, false, true, false, false, false]);
  });

  it('moves an alias only from where it is expected, and only to a version that is alive', () => {
    const { state, effective } = run(
      commit(0),
      commit(1),
      alias(null, 0),
      alias(null, 1),
      alias(0, 1),
      { type: 'expire', versions: [0] },
      alias(1, 0),
      alias(1, 9),
    );
    expect(state.aliases.get('best')).toBe(1);
    expect(effective).toEqual([true, true, true, false, true, true, false, false]);
    expect(run(commit(0), alias(null, 0), alias(0, null)).state.aliases.size).toBe(0);
  });

  it('knows the newest version that is alive', () => {
    const { state, effective } = run(
      commit(0),
      commit(1),
      { type: 'expire', versions: [1, 7] },
      { type: 'expire', versions: [1] },
    );
    expect(latestVersion(state)?.version).toBe(0);
    expect(state.versions).toHaveLength(2);
    expect(effective.slice(2)).toEqual([true, false]);
  });

  it('takes the manifest from commits and meta records alike', () => {
    expect(run(commit(0, { a: 1 }), { type: 'meta', manifest: { a: 2 } }).state.manifest).toEqual({ a: 2 });
    expect(run({ type: 'meta', manifest: { a: 2 } }, commit(0, { a: 1 })).state.manifest).toEqual({ a: 1 });
  });

  it('adds up features and abandoned stages', () => {
    const { state } = run(
      { type: 'feature', reader: ['a'], writer: ['w'] },
      { type: 'feature', reader: ['a', 'b'], gc: ['g'] },
      { type: 'abandon', stages: ['s1', 's2'] },
    );
    expect(state.features).toEqual({ reader: ['a', 'b'], writer: ['w'], gc: ['g'] });
    expect([...state.abandonedStages]).toEqual(['s1', 's2']);
  });

  it('refuses a gap, a broken chain and a version out of turn', () => {
    const corrupt = expect.objectContaining({ code: 'Corrupt' });
    expect(() => run(commit(1))).toThrow(corrupt);
    const { state } = run({ type: 'noop' });
    const record = {
      kind: 'artifactfs.record',
      formatVersion: 1,
      commitId: '',
      host: '',
      user: '',
      time: 0,
      type: 'noop',
    } as const;
    expect(() => applyRecord(state, { hash: '', record: { ...record, seq: 3, prev: 'h1' } })).toThrow(
      corrupt,
    );
    expect(() => applyRecord(state, { hash: '', record: { ...record, seq: 2, prev: 'x' } })).toThrow(corrupt);
  });
});
