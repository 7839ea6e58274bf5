import { beforeEach, expect, test } from 'vitest';
import { O_CREAT, O_RDONLY, O_WRONLY } from '../../../src/vfs/open-flags.js';
import { contextOf, outcome } from '../support/user.js';
import { World } from '../support/world.js';

let { world, user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ world, user, artifacts } = await World.open());
});

test('C1: mkdir in a collection makes an artifact with the mode and owner of who asked', async () => {
  user.context = contextOf(7, 8);
  await user.mkdir('model', 0o750);
  expect(await user.stat('model')).toMatchObject({ kind: 'dir', mode: 0o750, uid: 7, gid: 8 });
  expect((await artifacts.find('model')).isNew).toBe(true);
});

test('C2: files, links and nodes in the root are refused with EPERM, and nothing is left of them', async () => {
  await user.mkdir('model');
  await user.write('model/f', 'x');
  expect(await outcome(() => user.write('file', 'x'))).toBe('NotPermitted');
  expect(await outcome(() => user.symlink('model', 'link'))).toBe('NotPermitted');
  expect(await outcome(() => user.mknod('fifo', 'fifo'))).toBe('NotPermitted');
  expect(await outcome(() => user.link('model/f', 'hard'))).toBe('NotPermitted');
  expect(await user.ls('')).toEqual(['model']);
});

test('C3: an artifact whose manifest says "collection" holds artifacts and files of its own', async () => {
  await user.mkdir('gallery');
  await user.write('gallery/.artifact/manifest.json', '{"type":"collection"}');
  await user.mkdir('gallery/cells');
  await user.write('gallery/README', 'hello');
  await user.write('gallery/cells/f', 'x');
  expect(await user.ls('gallery')).toEqual(['README', 'cells']);
  expect(await user.read('gallery/README')).toBe('hello');
  expect((await artifacts.find('gallery/cells')).path).toBe('gallery/cells');
  expect(await user.stat('gallery')).toMatchObject({ nlink: 1 });
});

test('C4: artifact names that begin with a dot or @ do not exist and cannot be made', async () => {
  for (const name of ['.hidden', '@at']) {
    expect(await user.exists(name)).toBe(false);
    expect(await outcome(() => user.mkdir(name))).toBe('InvalidName');
  }
});

test('C5: rmdir of an artifact never committed removes it, of one with files is ENOTEMPTY, of one with versions EPERM', async () => {
  await user.mkdir('new');
  await user.write('new/f', 'x');
  expect(await outcome(() => user.rmdir('new'))).toBe('NotEmpty');
  await user.unlink('new/f');
  await user.rmdir('new');
  expect(await user.exists('new')).toBe(false);
  await user.mkdir('old');
  await user.commit('old');
  expect(await outcome(() => user.rmdir('old'))).toBe('NotPermitted');
  expect(await outcome(() => user.unlink('old'))).toBe('IsDirectory');
  expect(await user.exists('old')).toBe(true);
});

test('C6: rename of an artifact works within and between collections, and nowhere else', async () => {
  await user.mkdir('a');
  await user.write('a/f', 'x');
  await user.mkdir('gallery');
  await user.write('gallery/.artifact/manifest.json', '{"type":"collection"}');
  await user.rename('a', 'b');
  expect(await user.read('b/f')).toBe('x');
  await user.rename('b', 'gallery/c');
  expect(await user.read('gallery/c/f')).toBe('x');
  expect(await user.exists('b')).toBe(false);
  await user.mkdir('plain');
  await user.mkdir('other');
  expect(await outcome(() => user.rename('other', 'plain/inside'))).toBe('NotPermitted');
  expect(await outcome(() => user.rename('other', 'plain', { noReplace: true, exchange: false }))).toBe(
    'Exists',
  );
  expect(await outcome(() => user.rename('other', 'plain', { noReplace: false, exchange: true }))).toBe(
    'Invalid',
  );
  expect(await outcome(() => user.rename('other', 'plain/.artifact/x'))).toBe('NotPermitted');
});

test('C7: rename and link between artifacts answer EXDEV, so that mv copies', async () => {
  await user.mkdir('a');
  await user.mkdir('b');
  await user.mkdir('a/dir');
  await user.write('a/f', 'x');
  expect(await outcome(() => user.rename('a/f', 'b/f'))).toBe('CrossDevice');
  expect(await outcome(() => user.rename('a/dir', 'b/dir'))).toBe('CrossDevice');
  expect(await outcome(() => user.link('a/f', 'b/f'))).toBe('CrossDevice');
  expect(await user.read('a/f')).toBe('x');
});

test('C8: an artifact that cannot be read is listed, and only its own look-up fails', async () => {
  await user.mkdir('bad');
  await user.mkdir('good');
  await user.write('good/f', 'x');
  await user.commit('bad');
  await user.commit('good');
  await world.breakLog(await artifacts.find('bad'));
  const other = await world.machine();
  expect(await other.user.ls('')).toEqual(['bad', 'good']);
  expect(await other.user.read('good/f')).toBe('x');
  expect(await outcome(() => other.user.stat('bad'))).toBe('Corrupt');
});

test('C9: NAME@REF is found in the collection for every version, latest and alias, and not listed', async () => {
  await user.mkdir('m');
  await user.write('m/f', 'one');
  await user.commit('m');
  await user.write('m/f', 'two');
  await user.commit('m');
  await world.setAlias(await artifacts.find('m'), 'best', null, 0);
  expect(await user.read('m@v0/f')).toBe('one');
  expect(await user.read('m@v1/f')).toBe('two');
  expect(await user.read('m@latest/f')).toBe('two');
  expect(await user.read('m@best/f')).toBe('one');
  expect(await user.exists('m@v2')).toBe(false);
  expect(await user.exists('m@worst')).toBe(false);
  expect(await user.exists('none@v0')).toBe(false);
  expect(await user.ls('')).toEqual(['m']);
  expect(await outcome(() => user.rmdir('m@v0'))).toBe('ReadOnly');
  expect(await outcome(() => user.rename('m@v0', 'x'))).toBe('ReadOnly');
});

test('C10: an artifact has no @ in its name, so that NAME@REF means one thing', async () => {
  await user.mkdir('m');
  expect(await outcome(() => user.mkdir('m@v9'))).toBe('InvalidName');
  expect(await outcome(() => user.rename('m', 'm@best'))).toBe('InvalidName');
});

test('C11: a setgid collection hands its group and the bit to new artifacts', async () => {
  await user.with('', (id) => user.fs.setAttributes(user.context, id, { mode: 0o2775, gid: 42 }));
  user.context = contextOf(1, 1);
  await user.mkdir('m', 0o755);
  expect(await user.stat('m')).toMatchObject({ mode: 0o2755, gid: 42 });
});

test('C12: names over 255 bytes are ENAMETOOLONG, counted in bytes', async () => {
  await user.mkdir('m');
  await user.write(`m/${'é'.repeat(127)}`, 'x');
  expect(await outcome(() => user.write(`m/${'é'.repeat(128)}`, 'x'))).toBe('NameTooLong');
  expect(await outcome(() => user.mkdir('n'.repeat(256)))).toBe('NameTooLong');
  const create = user.inParent('m/x', (p) =>
    outcome(() => user.fs.create(user.context, p, 'n'.repeat(256), 0o644, O_CREAT | O_WRONLY)),
  );
  expect(await create).toBe('NameTooLong');
});

test('C13: what another mount removes is gone after a refresh, and found again when it is restored', async () => {
  await user.mkdir('m');
  await user.write('m/f', 'kept');
  await user.commit('m');
  const { artifacts: other } = await world.machine();
  const roots = [await user.node('m'), await user.node('m@v0')];
  const open = await user.open('m/f', O_RDONLY);
  await other.unlink(await other.find('m'), { force: false, recursive: false });
  expect(await user.read('m/f')).toBe('kept');
  user.told.entries.length = 0;
  await artifacts.refresh();
  await user.fs.kernelTold();
  expect(user.told.entries).toEqual(['1/m', '1/m@v0']);
  for (const path of ['m', 'm@v0']) expect(await user.exists(path), path).toBe(false);
  expect(await user.readAll(open.handle, 100)).toBe('kept');
  user.fs.release(open.handle);
  user.told.entries.length = 0;
  await other.restore('m');
  await artifacts.refresh();
  await user.fs.kernelTold();
  expect(user.told.entries).toContain('1/m');
  expect(await user.read('m/f')).toBe('kept');
  for (const entry of roots) user.forget(entry);
});
