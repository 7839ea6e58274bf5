import { beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/model/entry.js';
import { isCode } from '../../../src/model/errors.js';
import { limits } from '../../../src/model/limits.js';
import { deferred } from '../../../src/util/deferred.js';
import { MissingNames } from '../../../src/vfs/missing-names.js';
import type { Node } from '../../../src/vfs/node.js';
import { workspaceControl } from '../../../src/vfs/nodes/workspace-control.js';
import { Views } from '../../../src/vfs/views.js';
import { outcome, turns } from '../support/user.js';
import { Holds, World } from '../support/world.js';

let { world, user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ world, user, artifacts } = await World.open());
  await user.mkdir('m');
  await user.mkdir('m/d');
  await user.write('m/d/f', 'one');
});

test('K1: names, attributes, pages, links and listings of the working view are kept until told', async () => {
  const file = await user.node('m/d/f');
  expect(file).toMatchObject({
    entrySeconds: Number.POSITIVE_INFINITY,
    attrSeconds: Number.POSITIVE_INFINITY,
  });
  const open = await user.fs.open(user.context, file.nodeId, 0);
  expect(open).toMatchObject({ keepCache: true, noFlush: true });
  user.fs.release(open.handle);
  user.forget(file);
  const directory = await user.with('m/d', (id) => user.fs.openDirectory(user.context, id, 0));
  expect(directory).toMatchObject({ keepCache: true, cacheDirectory: true });
  user.fs.releaseDirectory(directory.handle);
});

test('K2: a missing name is kept as such, and announced when it comes around the kernel', async () => {
  expect(user.fs.negativeSeconds).toBe(Number.POSITIVE_INFINITY);
  const directory = await user.node('m/d');
  const root = await user.node('m');
  for (const name of ['later', 'never', 'mine', 'moved'])
    expect(await missing(directory.nodeId, name)).toBe('kept');
  expect(await missing(root.nodeId, '.git')).toBe('kept');
  // By the kernel itself: it knows.
  await user.write('m/d/mine', 'x');
  await user.rename('m/d/mine', 'm/d/moved');
  const artifact = await artifacts.find('m');
  const inode = await inodeOf('d');
  await artifact.tree.create(inode, 'later', { kind: 'file', mode: 0o644, uid: 0, gid: 0 });
  artifact.invalidate({ type: 'all' });
  await turns();
  expect(user.told.entries).toEqual([`${directory.nodeId}/later`]);
  // Told once, it is forgotten; what is asked for again is remembered again.
  artifact.invalidate({ type: 'all' });
  await turns();
  expect(user.told.entries).toHaveLength(1);
  for (const entry of [directory, root]) user.forget(entry);
});

test('K3: a name or file changed around the kernel is announced, after the request, and only if the kernel knows it', async () => {
  const artifact = await artifacts.find('m');
  const { tree } = artifact;
  const directory = await user.node('m/d');
  const inode = await tree.lookup(tree.root, 'd');
  const file = inode && (await tree.lookup(inode, 'f'));
  if (inode === undefined || file === undefined) throw new Error('the files are not there');
  artifact.invalidate({ type: 'entry', parent: inode, name: 'f' });
  artifact.invalidate({ type: 'inode', inode: file });
  expect(user.told.entries, 'not inside the call').toEqual([]);
  await turns();
  expect(user.told.entries).toEqual([`${directory.nodeId}/f`]);
  expect(user.told.inodes, 'the listing is another; the file is not known').toEqual([directory.nodeId]);
  const known = await user.node('m/d/f');
  artifact.invalidate({ type: 'inode', inode: file });
  await turns();
  expect(user.told.inodes).toEqual([directory.nodeId, known.nodeId]);
  for (const entry of [directory, known]) user.forget(entry);
});

test('K4: a discard, refresh or rebase announces each file that is another now, each directory, and each name that means something else', async () => {
  await user.write('m/same', 'same');
  await user.write('m/d/changed', 'one');
  await user.commit('m');
  await user.write('m/d/changed', 'two');
  await user.link('m/d/f', 'm/d/g');
  await user.unlink('m/d/f');
  const names = ['m', 'm/d', 'm/d/g', 'm/d/changed', 'm/same'];
  const known = await Promise.all(names.map((name) => user.node(name)));
  const [m, d, g, changed, same] = known.map(({ nodeId }) => nodeId);
  await user.write('m/.artifact/discard', '1');
  expect([...new Set(user.told.inodes)].sort()).toEqual([m, d, g, changed].sort());
  expect(user.told.inodes).not.toContain(same);
  expect(user.told.entries, 'changed, same and d are what they were; f was looked up').toEqual([`${d}/g`]);
  expect(await user.read('m/d/changed')).toBe('one');
  const before = user.told.inodes.length;
  const other = await world.machine();
  await other.user.write('m/same', 'by another');
  await other.user.commit('m');
  await user.write('.artifactfs/refresh', '1');
  expect([...new Set(user.told.inodes.slice(before))].sort()).toEqual([m, d, same].sort());
  for (const entry of known) user.forget(entry);
});

test('K5: a moved file is announced under its new name', async () => {
  const [m, f] = [await user.node('m'), await user.node('m/d/f')];
  await user.rename('m/d/f', 'm/moved');
  const artifact = await artifacts.find('m');
  await artifact.tree.unlink(artifact.tree.root, 'moved');
  artifact.invalidate({ type: 'all' });
  await turns();
  expect(user.told.entries).toEqual([`${m.nodeId}/moved`]);
  for (const entry of [m, f]) user.forget(entry);
});

test('K6: a name that changed in a collection is announced, with the versions shown under it', async () => {
  await user.commit('m');
  const version = await user.node('m@v0');
  const other = await world.machine();
  await other.user.rename('m', 'n');
  await user.write('.artifactfs/refresh', '1');
  expect([...user.told.entries].sort()).toEqual(['1/m', '1/m@v0', '1/n']);
  expect(user.told.inodes).toContain(1);
  expect(await user.exists('m@v0')).toBe(false);
  expect(await user.read('n@v0/d/f')).toBe('one');
  user.forget(version);
});

test('K7: an id never means another file, and a node lives while it is looked up', async () => {
  const first = await user.node('m/d/f');
  const again = await user.node('m/d/f');
  expect(again.nodeId).toBe(first.nodeId);
  user.forget(first);
  await user.fs.getAttributes(user.context, first.nodeId);
  user.forget(again);
  expect(await outcome(() => user.fs.getAttributes(user.context, first.nodeId))).toBe('Stale');
  const later = await user.node('m/d/f');
  expect(later.nodeId).toBe(first.nodeId);
  user.forget(later);
  await user.unlink('m/d/f');
  await user.write('m/d/f', 'another');
  const other = await user.node('m/d/f');
  expect(other.nodeId).toBeGreaterThan(first.nodeId);
  user.forget(other);
});

test('K8: nothing is held for what the kernel has forgotten', async () => {
  const artifact = await artifacts.find('m');
  const holds = new Holds(artifact.tree);
  await user.commit('m');
  await user.read('m@v0/d/f');
  await user.read('m/.artifact/log');
  await user.ls('m/d');
  user.fs.checkInvariants();
  expect(user.fs.counts()).toEqual({ nodes: 1, files: 0, directories: 0 });
  expect([...holds.retained, ...holds.opened]).toEqual([]);
  artifact.invalidate({ type: 'all' });
  await turns();
  expect(user.told.inodes, 'nobody listens').toEqual([]);
  user.fs.forget(1, 1000);
  expect(user.fs.counts().nodes).toBe(1);
});

test('K9: of too many missing names those are given up that were asked for in the first directory', async () => {
  const dropped: string[] = [];
  const names = new MissingNames((_, given) => dropped.push(...given), 3);
  const [first, second] = [anyNode(), anyNode()];
  for (const name of ['a', 'b', 'b']) names.remember(first, name);
  names.remember(second, 'c');
  expect([names.count, ...dropped]).toEqual([3]);
  names.remember(second, 'd');
  expect([names.count, ...dropped]).toEqual([2, 'a', 'b']);
  expect([...names.of(second)]).toEqual(['c', 'd']);
  names.forget(second, 'c');
  names.forgetAll(second);
  expect([names.count, names.of(second).size]).toEqual([0, 0]);
});

test('K10: NAME@REF is asked for again while it is missing, and a name in a version never', async () => {
  await user.commit('m');
  expect(await missing(1, 'm@v7')).toBe('not kept');
  expect(await missing(1, 'm@latest')).toBe('there');
  const version = await user.node('m@v0');
  const control = await user.node('m/.artifact');
  const versions = await user.node('m/.artifact/versions');
  expect(await missing(version.nodeId, 'none')).toBe('kept');
  expect(await missing(control.nodeId, 'none')).toBe('kept');
  expect(await missing(versions.nodeId, 'v7')).toBe('not kept');
  for (const entry of [version, control, versions]) user.forget(entry);
});

test('K11: when more names than 20,000 may have changed, the kernel is told so in one word', async () => {
  const count = limits.kernelChecksMax;
  const directory = await user.node('m/d');
  for (let i = 0; i < count; i++) await missing(directory.nodeId, `missing-${i}`);
  const artifact = await artifacts.find('m');
  artifact.invalidate({ type: 'all' });
  await turns();
  expect([user.told.epochs, user.told.entries.length]).toEqual([1, 0]);
  // What was remembered is forgotten with the old epoch: a name made now needs no word.
  await artifact.tree.create(await inodeOf('d'), 'missing-1', { kind: 'file', mode: 0o644, uid: 0, gid: 0 });
  artifact.invalidate({ type: 'all' });
  await turns();
  expect([user.told.epochs, user.told.entries.length]).toEqual([1, 0]);
  user.forget(directory);
});

test('regression: a name that is missing after that word was said is remembered, also when the word took long', async () => {
  const directory = await user.node('m/d');
  for (let i = 0; i < limits.kernelChecksMax; i++) await missing(directory.nodeId, `missing-${i}`);
  const asked = deferred();
  user.told.invalidateEveryEntry = () => {
    setImmediate(() => missing(directory.nodeId, 'later').then(() => asked.resolve()));
    // Longer than a turn of the event loop may be.
    for (const end = performance.now() + 100; performance.now() < end; );
  };
  const artifact = await artifacts.find('m');
  artifact.invalidate({ type: 'all' });
  await asked.promise;
  await turns();
  await artifact.tree.create(await inodeOf('d'), 'later', { kind: 'file', mode: 0o644, uid: 0, gid: 0 });
  artifact.invalidate({ type: 'all' });
  await turns();
  expect(user.told.entries).toEqual([`${directory.nodeId}/later`]);
  user.forget(directory);
});

test('K12: a commit announces nothing of what the kernel knows already', async () => {
  const known = await Promise.all(['m', 'm/d', 'm/d/f'].map((name) => user.node(name)));
  await missing(known[1]?.nodeId ?? 0, 'none');
  await user.commit('m');
  await turns();
  expect([user.told.inodes, user.told.entries, user.told.epochs]).toEqual([[], [], 0]);
  for (const entry of known) user.forget(entry);
});

test('K13: a listing that was being read while names changed around the kernel is dropped again at its end', async () => {
  const artifact = await artifacts.find('m');
  const directory = await user.node('m/d');
  const open = () => user.fs.openDirectory(user.context, directory.nodeId, 0);
  const early = await open();
  artifact.invalidate({ type: 'entry', parent: await inodeOf('d'), name: 'f' });
  await turns();
  const told = user.told.inodes.length;
  const late = await open();
  expect(late.keepCache, 'the early one may have filled the cache').toBe(false);
  user.fs.releaseDirectory(late.handle);
  await turns();
  expect(user.told.inodes.length).toBe(told);
  user.fs.releaseDirectory(early.handle);
  await turns();
  expect(user.told.inodes.slice(told)).toEqual([directory.nodeId]);
  const after = await open();
  expect(after.keepCache).toBe(true);
  user.fs.releaseDirectory(after.handle);
  user.forget(directory);
});

/** What the kernel makes of the name. */
async function missing(parent: number, name: string): Promise<'kept' | 'not kept' | 'there'> {
  try {
    const found = await user.fs.lookup(user.context, parent, name);
    if (found === undefined) return 'kept';
    user.forget(found);
    return 'there';
  } catch (error) {
    if (isCode(error, 'NotFound')) return 'not kept';
    throw error;
  }
}

/** Any node: what it is does not matter. */
const anyNode = (): Node => workspaceControl(new Views(artifacts, systemClock, texts), texts);
const texts = { version: () => '', readOnly: () => null, config: () => '', stats: () => '' };

const inodeOf = async (name: string) => {
  const { tree } = await artifacts.find('m');
  const inode = await tree.lookup(tree.root, name);
  if (inode === undefined) throw new Error(`${name} is not there`);
  return inode;
};
