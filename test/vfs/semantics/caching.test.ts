import { beforeEach, expect, test } from 'vitest';
import { outcome, turns } from '../support/user.js';
import { Holds, World } from '../support/world.js';

let { world, user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ world, user, artifacts } = await World.open());
  await user.mkdir('m');
  await user.mkdir('m/d');
  await user.write('m/d/f', 'one');
});

test('K1: names and attributes of the working view may be kept for an hour, pages and listings until told', async () => {
  const file = await user.node('m/d/f');
  expect(file).toMatchObject({ entrySeconds: 3600, attrSeconds: 3600 });
  const open = await user.fs.open(user.context, file.nodeId, 0);
  expect(open.keepCache).toBe(true);
  user.fs.release(open.handle);
  user.forget(file);
  const directory = await user.with('m/d', (id) => user.fs.openDirectory(user.context, id, 0));
  expect(directory).toMatchObject({ keepCache: true, cacheDirectory: true });
  user.fs.releaseDirectory(directory.handle);
});

test('K2: a missing name is asked for each time', async () => {
  expect(user.fs.negativeSeconds).toBe(0);
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

test('K4: when everything may have changed, each known file is announced, and each name that means something else now', async () => {
  const [m, d, f] = [await user.node('m'), await user.node('m/d'), await user.node('m/d/f')];
  await user.link('m/d/f', 'm/d/g');
  const g = await user.node('m/d/g');
  const artifact = await artifacts.find('m');
  await artifact.tree.unlink(await inodeOf('d'), 'f');
  artifact.invalidate({ type: 'all' });
  await turns();
  expect([...user.told.inodes].sort()).toEqual([m.nodeId, d.nodeId, f.nodeId].sort());
  expect(user.told.entries, 'g and d are as before').toEqual([`${d.nodeId}/f`]);
  for (const entry of [m, d, f, g]) user.forget(entry);
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

test('K7: ids are never used again, and a node lives while it is looked up', async () => {
  const first = await user.node('m/d/f');
  const again = await user.node('m/d/f');
  expect(again.nodeId).toBe(first.nodeId);
  user.forget(first);
  await user.fs.getAttributes(user.context, first.nodeId);
  user.forget(again);
  expect(await outcome(() => user.fs.getAttributes(user.context, first.nodeId))).toBe('Stale');
  const later = await user.node('m/d/f');
  expect(later.nodeId).toBeGreaterThan(first.nodeId);
  user.forget(later);
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

const inodeOf = async (name: string) => {
  const { tree } = await artifacts.find('m');
  const inode = await tree.lookup(tree.root, name);
  if (inode === undefined) throw new Error(`${name} is not there`);
  return inode;
};
