import { beforeEach, expect, test } from 'vitest';
import { rootCollectionId } from '../../src/model/ids.js';
import { logKey } from '../../src/workspace/keys.js';
import { recordName } from '../../src/workspace/log.js';
import { failure, type Machine, openMachine, Shell, shellOf, unexpected } from './support/daemon.js';
import { gatedMachines } from './support/machines.js';

const machines = gatedMachines();
let first: Machine;
let one: Shell;

/** An artifact with the versions v0 to v5, in the records 1 to 6. */
beforeEach(async () => {
  first = await machines.open();
  one = new Shell(first.artifacts.create(first.artifacts.root, 'm'));
  await one.commitEach('f', ['0', '1', '2', '3', '4', '5']);
});

const missing = (id: string, seq: number, later: number) => ({
  code: 'Corrupt',
  message: `${recordName(id, seq)} is missing, but record ${later} is there`,
});

async function lose(seq: number, id = one.artifact.id): Promise<Buffer> {
  const bytes = await machines.store.get(logKey(id, seq));
  await machines.store.deleteMany([logKey(id, seq)]);
  return bytes;
}

const slots = async (id: string): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of machines.store.list(`a/${id}/log/`)) keys.push(key);
  return keys;
};

// 5 is the first slot of the second look. One that is the last of a look shows when somebody writes.
test.each([2, 3, 5])(
  'what is before a gap at record %i is served, and the rest is refused by name',
  async (gap) => {
    const { id } = one.artifact;
    const lost = await lose(gap);
    const second = await machines.open();
    const two = await shellOf(second, 'm');
    expect(unexpected.splice(0)).toMatchObject([missing(id, gap, 6)]);
    expect(two.artifact.lastError()).toContain(missing(id, gap, 6).message);
    expect(await two.read('f')).toBe(String(gap - 2));
    expect(two.artifact.versions()).toHaveLength(gap - 1);
    expect(await failure(two.artifact.refresh())).toMatchObject(missing(id, gap, 6));
    await two.put('f', 'staged');
    expect(await failure(two.commit())).toMatchObject(missing(id, gap, 6));
    expect(await two.read('f')).toBe('staged');
    await machines.store.put(logKey(id, gap), lost);
    await two.artifact.discard();
    await two.artifact.refresh();
    expect(two.artifact.lastError()).toBe('');
    expect(await two.read('f')).toBe('5');
    await two.put('f', 'six');
    expect(await two.commit()).toMatchObject({ version: 6 });
  },
);

test('nothing is shown of an artifact whose first record is lost, and all of the others', async () => {
  await lose(1);
  const second = await machines.open();
  expect(await failure(() => second.artifacts.find('m'))).toMatchObject(missing(one.artifact.id, 1, 6));
  const other = new Shell(second.artifacts.create(second.artifacts.root, 'other'));
  await other.write('f', 'fine');
  expect(await other.commit()).toMatchObject({ version: 0 });
});

test.each([
  ['a commit', (shell: Shell) => shell.commit()],
  ['an alias', (shell: Shell) => shell.artifact.setAlias('best', 'v1')],
  ['an expiry', (shell: Shell) => shell.artifact.expire([0])],
])('%s of a machine that has read up to a gap never goes into it', async (_, write) => {
  const { id } = one.artifact;
  const second = await machines.open();
  const two = await shellOf(second, 'm');
  await two.put('f', 'staged');
  await one.commitEach('f', ['6', '7', '8']);
  await lose(7);
  await lose(8);
  const before = await slots(id);
  expect(await failure(write(two))).toMatchObject(missing(id, 7, 9));
  expect(await slots(id)).toEqual(before);
  expect(await two.read('f')).toBe('staged');
});

test('a name never goes into a gap of its collection', async () => {
  const second = await machines.open();
  const two = new Shell(second.artifacts.create(second.artifacts.root, 'two'));
  await two.write('f', 'x');
  for (const name of ['n', 'o', 'p']) {
    const made = new Shell(first.artifacts.create(first.artifacts.root, name));
    await made.write('f', 'x');
    await made.commit();
  }
  await lose(2, rootCollectionId);
  const before = await slots(rootCollectionId);
  expect(await failure(two.commit())).toMatchObject(missing(rootCollectionId, 2, 4));
  expect(
    await failure(async () =>
      second.artifacts.rename(second.artifacts.root, 'm', second.artifacts.root, 'x'),
    ),
  ).toMatchObject(missing(rootCollectionId, 2, 4));
  expect(await slots(rootCollectionId)).toEqual(before);
  const third = await machines.open();
  expect(unexpected.splice(0)).toMatchObject([missing(rootCollectionId, 2, 4)]);
  expect(third.artifacts.children(third.artifacts.root, null, 10)).toEqual(['m']);
  expect(await (await shellOf(third, 'm')).read('f')).toBe('5');
});

test('a record that was on its way is not put where another was lost', async () => {
  const { id } = one.artifact;
  const second = await machines.open({ onError: () => {} });
  const two = await shellOf(second, 'm');
  await two.write('g', 'mine');
  machines.store.atRecord = async (when) => {
    if (when === 'before the record') machines.store.isGone = true;
    if (when === 'before the record') throw new Error('the connection was reset');
  };
  expect((await failure(two.commit())).code).toBe('OutcomeUnknown');
  await second.close();
  machines.store.atRecord = () => Promise.resolve();
  machines.store.isGone = false;
  await one.commitEach('f', ['6', '7']);
  const lost = await lose(7);
  const errors: unknown[] = [];
  const again = await openMachine({
    store: machines.store,
    stateDir: second.stateDir,
    onError: (error) => errors.push(error),
  });
  expect(errors).toMatchObject([{ code: 'OutcomeUnknown', cause: missing(id, 7, 8) }]);
  expect(await slots(id)).toHaveLength(7);
  await machines.store.put(logKey(id, 7), lost);
  const settled = await shellOf(again, 'm');
  expect(await settled.commit()).toMatchObject({ version: 8, rebased: true });
  expect(await settled.read('g')).toBe('mine');
  await again.close();
});
