import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { openCatalog } from '../../src/catalog/open-catalog.js';
import { rootCollectionId } from '../../src/model/ids.js';
import type { RecordBody } from '../../src/workspace/records.js';
import { FakeTrees } from '../catalog/fake-trees.js';
import { appendAsNewer, readAsNewer } from '../support/newer-build.js';
import { failure, type Machine, Shell, shellOf, unexpected } from './support/daemon.js';
import { gatedMachines } from './support/machines.js';

const machines = gatedMachines();
let first: Machine;
let one: Shell;

/** An artifact with the versions v0 to v2, in the records 1 to 3. */
beforeEach(async () => {
  first = await machines.open();
  one = new Shell(first.artifacts.create(first.artifacts.root, 'm'));
  await one.commitEach('f', ['0', '1', '2']);
});

const append = (id: string, body: RecordBody) => appendAsNewer(machines.store, id, body);

/** The newer build leaves a catalog that has read all of the log. */
async function leaveCatalog(machine: Machine, id: string): Promise<void> {
  using catalog = openCatalog(join(machine.stateDir, 'catalog.db'), new FakeTrees());
  const head = catalog.artifact(id);
  catalog.apply(id, await readAsNewer(machines.store, id, head?.headSeq ?? 0, head?.headHash ?? ''));
}

const needs = (id: string, seq: number) => ({
  code: 'UnsupportedFormat',
  message: `artifact ${id} from log record ${seq} on needs features that this artifactfs does not have to read it: sparkle`,
  details: { hint: 'install a newer artifactfs on this machine' },
});

test('what was written before a reader feature is served, and nothing is written', async () => {
  const { id } = one.artifact;
  await append(id, { type: 'feature', reader: ['sparkle'] });
  const second = await machines.open();
  const two = await shellOf(second, 'm');
  expect(unexpected.splice(0)).toMatchObject([needs(id, 4)]);
  for (const shell of [one, two]) {
    expect(await failure(shell.artifact.refresh())).toMatchObject(needs(id, 4));
    expect(await shell.read('f')).toBe('2');
    await shell.put('f', 'staged');
    expect(await failure(shell.commit())).toMatchObject({ code: 'UnsupportedFormat' });
    expect((await failure(shell.artifact.setAlias('best', 'v1'))).code).toBe('UnsupportedFormat');
  }
  expect(await readAsNewer(machines.store, id)).toHaveLength(4);
});

test('what a newer build has read past a reader feature is not believed, and is there again for the newer one', async () => {
  const { id } = one.artifact;
  const second = await machines.open();
  await shellOf(second, 'm');
  await second.close();
  await append(id, { type: 'feature', reader: ['sparkle'] });
  await append(id, { type: 'meta', manifest: { only: 'newer builds' } });
  await leaveCatalog(second, id);
  const again = await machines.open({ stateDir: second.stateDir });
  const two = await shellOf(again, 'm');
  expect(unexpected.splice(0)).toMatchObject([needs(id, 4)]);
  expect(await two.read('f')).toBe('2');
  expect(two.artifact.manifest()).toEqual({});
  await two.put('f', 'staged');
  expect(await failure(two.commit())).toMatchObject({ code: 'UnsupportedFormat' });
  await again.close();
  await leaveCatalog(again, id);
  using catalog = openCatalog(join(again.stateDir, 'catalog.db'), new FakeTrees());
  expect(catalog.artifact(id)).toMatchObject({ headSeq: 5, manifest: { only: 'newer builds' } });
});

test.each(['kept', 'lost'])(
  'what a newer build has staged past a reader feature stays for it, also with its catalog %s',
  async (which) => {
    const { id } = one.artifact;
    const second = await machines.open();
    const other = new Shell(second.artifacts.create(second.artifacts.root, 'other'));
    await other.write('f', 'fine');
    // Its base is record 4 then: the newer build has read that.
    await append(id, { type: 'noop' });
    await second.artifacts.refresh();
    const two = await shellOf(second, 'm');
    await two.put('f', 'staged');
    await second.close();
    await machines.store.deleteMany([`a/${id}/log/00000000000000000004.json`]);
    await append(id, { type: 'feature', reader: ['sparkle'] });
    if (which === 'kept') await leaveCatalog({ ...second, stateDir: emptied(second) }, id);
    else emptied(second);
    const errors: unknown[] = [];
    const again = await machines.open({ stateDir: second.stateDir, onError: (error) => errors.push(error) });
    expect(errors).toMatchObject([needs(id, 4)]);
    expect(await failure(() => again.artifacts.find('m'))).toMatchObject(needs(id, 4));
    expect(await (await shellOf(again, 'other')).commit()).toMatchObject({ version: 0 });
  },
);

/** Its state directory, without the catalog. */
function emptied({ stateDir }: Machine): string {
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(stateDir, `catalog.db${suffix}`), { force: true });
  return stateDir;
}

test('a writer feature of one artifact lets it be read, and everything else be written', async () => {
  const { id } = one.artifact;
  await append(id, { type: 'feature', writer: ['sparkle'] });
  const second = await machines.open();
  const two = await shellOf(second, 'm');
  expect(await two.read('f')).toBe('2');
  await two.put('f', 'staged');
  expect(await failure(two.commit())).toMatchObject({
    code: 'UnsupportedFormat',
    message: `artifact ${id} needs features that this artifactfs does not have to change it: sparkle`,
  });
  expect(await two.read('f')).toBe('staged');
  await append(id, { type: 'meta', manifest: { by: 'a newer build' } });
  await two.artifact.discard();
  await two.artifact.refresh();
  expect(two.artifact.manifest()).toEqual({ by: 'a newer build' });
  const other = new Shell(second.artifacts.create(second.artifacts.root, 'other'));
  await other.write('f', 'fine');
  expect(await other.commit()).toMatchObject({ version: 0 });
});

test('a gc feature forbids neither to read nor to write', async () => {
  await append(one.artifact.id, { type: 'feature', gc: ['sparkle'] });
  const two = await shellOf(await machines.open(), 'm');
  await two.put('f', 'mine');
  expect(await two.commit()).toMatchObject({ version: 3 });
});

test('a collection with a writer feature takes no names and gives none, and its artifacts are written', async () => {
  const box = new Shell(first.artifacts.create(first.artifacts.root, 'box', { type: 'collection' }));
  await box.commit();
  const inside = new Shell(first.artifacts.create(box.artifact, 'inside'));
  await inside.write('f', '0');
  await inside.commit();
  await append(box.artifact.id, { type: 'feature', writer: ['sparkle'] });
  await first.artifacts.refresh();
  const fresh = new Shell(first.artifacts.create(box.artifact, 'fresh'));
  await fresh.write('f', 'new');
  expect(await failure(fresh.commit())).toMatchObject({ code: 'UnsupportedFormat' });
  // Without a name nothing is published either.
  expect(await readAsNewer(machines.store, fresh.artifact.id)).toEqual([]);
  const { root } = first.artifacts;
  const out = failure(async () => first.artifacts.rename(box.artifact, 'inside', root, 'outside'));
  expect(await out).toMatchObject({ code: 'UnsupportedFormat' });
  expect(await failure(async () => first.artifacts.rename(root, 'm', box.artifact, 'm'))).toMatchObject({
    code: 'UnsupportedFormat',
  });
  await first.artifacts.refresh();
  expect(first.artifacts.children(root, null, 10)).toEqual(['box', 'm']);
  expect(first.artifacts.children(box.artifact, null, 10)).toEqual(['fresh', 'inside']);
  await inside.put('f', '1');
  expect(await inside.commit()).toMatchObject({ version: 1 });
});

test('names that come after a reader feature of the root are not there, and those before it are', async () => {
  await append(rootCollectionId, { type: 'feature', reader: ['sparkle'] });
  await append(rootCollectionId, {
    type: 'link',
    name: 'later',
    artifactId: '019a9f2e-7c00-7000-8000-000000000002',
  });
  const second = await machines.open();
  expect(unexpected.splice(0)).toMatchObject([needs(rootCollectionId, 2)]);
  expect(second.artifacts.children(second.artifacts.root, null, 10)).toEqual(['m']);
  const two = await shellOf(second, 'm');
  await two.put('f', 'mine');
  expect(await two.commit()).toMatchObject({ version: 3 });
});
