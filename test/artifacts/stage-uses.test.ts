import { beforeEach, expect, test } from 'vitest';
import type { StageRow } from '../../src/artifacts/stage-db/stage-rows.js';
import { usesNothing } from '../../src/workspace/commit-types.js';
import { collectGarbage } from '../../src/workspace/gc/collect-garbage.js';
import { leaseKey, objectKey } from '../../src/workspace/keys.js';
import { encodeLease } from '../../src/workspace/lease.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { failure, type Machine, Shell, shellOf } from './support/daemon.js';
import { gatedMachines } from './support/machines.js';

const machines = gatedMachines();
let first: Machine;
let second: Machine;
let one: Shell;
let two: Shell;

/** Two machines at v0 of one artifact: files `x` and `y`. */
beforeEach(async () => {
  first = await machines.open();
  one = new Shell(first.artifacts.create(first.artifacts.root, 'm'));
  await one.write('x', 'x of v0');
  await one.write('y', 'y of v0');
  await one.commit();
  second = await machines.open();
  two = await shellOf(second, 'm');
});

/** The stage of machine two. */
function stage(): StageRow {
  const [row] = (second?.artifacts.staged() ?? []).map(({ tree }) => tree.core.stage.row);
  if (row === undefined || row === null) throw new Error('nothing is staged');
  return row;
}

/** A commit of machine two, during which `x` changes there, but not its bytes: they are not sent again. */
async function commitAndTouch(onConflict: 'fail' | 'theirs'): Promise<void> {
  const release = machines.store.hold();
  const committing = two.artifact.commit({ message: '', onConflict });
  await machines.store.waiting();
  await two.artifact.tree.setAttributes(await two.get('x'), { mode: 0o600 });
  release();
  expect(await committing).toMatchObject({ version: 2, rebased: true });
}

/** The lease that machine two would write. */
async function lease(): Promise<void> {
  const { artifactId, stageId, base, uses } = stage();
  const who = { host: 'h', user: 'u', mount: null, bytes: 0, state: 'staging' as const };
  const bytes = encodeLease({ stageId, base: base?.version ?? null, ...uses, ...who });
  await machines.store.put(leaseKey(artifactId, stageId), bytes);
}

/** Without any grace. */
async function gc(): Promise<void> {
  const options = { paths: [], graceMs: 0, deadAfterMs: 1e12, dryRun: false };
  const { failures } = await collectGarbage(await Workspace.open(machines.store), options);
  expect(failures).toEqual([]);
}

async function usedObjects(): Promise<string[]> {
  const { artifacts } = second ?? {};
  const [tree] = (artifacts?.staged() ?? []).map((artifact) => artifact.tree);
  const row = tree?.core.db.inodes.get(stage().s, (await two.get('x')).ino);
  const map = row === undefined ? [] : (tree?.core.db.inodes.extents(stage().s, row) ?? []);
  return [...map].flatMap(({ source }) => (source.type === 'object' ? [source.object] : []));
}

test('a stage remembers the version that its bytes are of, and is not published when that has expired', async () => {
  await one.put('x', 'another x');
  await one.commit();
  await two.write('y', 'Y');
  await commitAndTouch('fail');
  expect(stage()).toMatchObject({ base: { version: 2 }, uses: { versions: [0], stages: [] } });
  const [object = ''] = await usedObjects();
  await lease();
  await one.artifact.refresh();
  await one.artifact.expire([0, 1]);
  await gc();
  expect((await machines.store.head(objectKey(two.artifact.id, object))).size).toBeGreaterThan(0);
  expect((await failure(two.artifact.commit({ message: '', onConflict: 'mine' }))).code).toBe('Stale');
  expect(await two.read('x')).toBe('x of v0');
  await two.artifact.discard();
  await gc();
  await two.write('x', 'A');
  expect(await two.commit()).toMatchObject({ version: 3 });
  expect(await two.read('x')).toBe('Another x');
});

test('the version that a stage uses does not expire by itself, and the stage forgets it when it is published', async () => {
  await one.artifact.setManifest({ retention: { keepLast: 1 } });
  await one.put('x', 'another x');
  await one.commit();
  await two.write('y', 'Y');
  await commitAndTouch('fail');
  await lease();
  await gc();
  await two.artifact.commit({ message: '', onConflict: 'mine' });
  await one.artifact.refresh();
  expect(await one.read('x')).toBe('x of v0');
  await two.write('y', '?');
  expect(stage().uses).toEqual(usesNothing);
});

test('a stage remembers the published stage whose bytes others have hidden, and gc leaves them to it', async () => {
  await one.put('x', 'another x');
  await one.commit();
  await two.put('x', 'x by two');
  const { stageId } = stage();
  await commitAndTouch('theirs');
  expect(stage().uses).toEqual({ versions: [], stages: [stageId] });
  await lease();
  await gc();
  await two.artifact.commit({ message: '', onConflict: 'mine' });
  await one.artifact.refresh();
  expect(await one.read('x')).toBe('x by two');
});

test('bytes of a published stage that are deleted after all are not published', async () => {
  await one.put('x', 'another x');
  await one.commit();
  await two.put('x', 'x by two');
  await commitAndTouch('theirs');
  await gc();
  expect((await failure(two.artifact.commit({ message: '', onConflict: 'mine' }))).code).toBe('Stale');
});

test('a stage uses nothing besides its base when nobody else commits, or what it has is in the new version', async () => {
  const release = machines.store.hold();
  const committing = two.write('y', 'Y').then(() => two.commit());
  await machines.store.waiting();
  await two.write('x', 'X');
  await two.write('y', '?');
  release();
  await committing;
  expect(stage()).toMatchObject({ base: { version: 1 }, uses: usesNothing });
  await one.artifact.refresh();
  await one.write('new', 'new');
  await one.commit();
  await two.commit();
  await one.artifact.refresh();
  expect(await one.read('x')).toBe('X of v0');
});

test('what is copied out of a file that others removed is copied byte by byte: its version may expire', async () => {
  const removed = await two.get('x');
  const tree = two.artifact.tree;
  tree.retain(removed);
  await one.unlink('x');
  await one.put('y', 'in another pack');
  await one.commit();
  await two.artifact.refresh();
  const copy = await two.create('copy');
  expect(await tree.copyRange({ inode: removed, offset: 0 }, { inode: copy, offset: 0 }, 7)).toBe(7);
  tree.release(removed);
  await one.artifact.expire([0]);
  await gc();
  await two.commit();
  await one.artifact.refresh();
  expect(await one.read('copy')).toBe('x of v0');
});
