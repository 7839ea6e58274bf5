// A workspace that a newer artifactfs has changed: what this one does not know it refuses by name, where it matters, and the
// rest works on.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCatalog } from '../src/catalog/open-catalog.js';
import { newArtifactId } from '../src/model/ids.js';
import type { ObjectStore } from '../src/store/object-store.js';
import { openStore } from '../src/store/open-store.js';
import { encodeFormat } from '../src/workspace/format.js';
import type { RecordBody } from '../src/workspace/records.js';
import { FakeTrees } from '../test/catalog/fake-trees.js';
import { appendAsNewer, readAsNewer } from '../test/support/newer-build.js';
import { type Machine, World } from './support/world.js';

const world = new World();
const names = ['readers', 'writers', 'collectors', 'plain'];
let store: ObjectStore;
let machine: Machine;

beforeAll(async () => {
  store = await openStore(world.store, { create: true });
  machine = world.machine();
  await machine.mount('--refresh-interval=0');
  await machine.sh(
    `for name in ${names.join(' ')}; do mkdir $name
       for n in 0 1; do echo $n > $name/f; echo . > $name/.artifact/commit; done
     done`,
    { cwd: machine.mnt },
  );
  await append('readers', { type: 'feature', reader: ['sparkle'] });
  await append('readers', { type: 'meta', manifest: { of: 'a newer build' } });
  await append('writers', { type: 'feature', writer: ['sparkle'] });
  await append('collectors', { type: 'feature', gc: ['sparkle'] });
  for (const name of names) await append(name, { type: 'expire', versions: [0] });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

async function append(name: string, body: RecordBody): Promise<void> {
  await appendAsNewer(store, idOf(name), body);
}

const idOf = (name: string): string =>
  (JSON.parse(readFileSync(machine.path(name, '.artifact/status'), 'utf8')) as { artifactId: string })
    .artifactId;
const here = (script: string) => machine.sh(script, { cwd: machine.mnt });
const statusOf = ({ mnt }: Machine) =>
  JSON.parse(readFileSync(join(mnt, '.artifactfs/status'), 'utf8')) as {
    workspaceId: string;
    readOnly: string | null;
  };
const stateOf = (one: Machine): string => join(one.directory, 'state/artifactfs', statusOf(one).workspaceId);

test('a refresh shows what is new everywhere but behind the reader feature, and says so', async () => {
  expect(
    await here('cat > .artifactfs/refresh <<< . || echo $?; cat readers/.artifact/last-error'),
  ).toContain(
    `artifact ${idOf('readers')} from log record 3 on needs features that this artifactfs does not have to read it: sparkle`,
  );
  expect(await here('for name in *; do ls $name/.artifact/versions; done')).toBe('v1\nv1\nv0\nv1\nv1\n');
  expect(await here('cat */f')).toBe('1\n1\n1\n1\n');
});

test('commits are refused where a reader or writer feature is, and keep what is staged', async () => {
  const commit = (name: string) => here(`echo 2 > ${name}/f; echo . > ${name}/.artifact/commit && echo done`);
  for (const name of ['readers', 'writers']) {
    await expect(commit(name)).rejects.toThrow('Operation not supported');
    expect(await here(`cat ${name}/f ${name}/.artifact/last-error`)).toMatch(/^2\n.*sparkle/s);
  }
  expect(await commit('collectors')).toBe('done\n');
  expect(await commit('plain')).toBe('done\n');
});

test('gc frees what it may, and names what it leaves alone', async () => {
  const outcome = await machine.artifactfs('gc', '--grace', '0', '--json', '--store', world.store);
  expect(outcome.stderr).toBe('');
  const { artifacts, failures } = JSON.parse(outcome.stdout) as {
    artifacts: { path: string; freed: { objects: number } }[];
    failures: { path: string }[];
  };
  expect(outcome.code).not.toBe(0);
  expect(failures.map(({ path }) => path).sort()).toEqual(['collectors', 'readers', 'writers']);
  expect(artifacts.filter(({ freed }) => freed.objects > 0).map(({ path }) => path)).toEqual(['plain']);
  expect(await here('cat collectors@v1/f plain@v1/f')).toBe('1\n1\n');
});

test('a catalog of a newer build that went on is not believed', async () => {
  await here('echo . > readers/.artifact/discard; echo . > writers/.artifact/discard');
  const state = stateOf(machine);
  const id = idOf('readers');
  await machine.unmount();
  {
    using catalog = openCatalog(join(state, 'catalog.db'), new FakeTrees());
    const head = catalog.artifact(id);
    catalog.apply(id, await readAsNewer(store, id, head?.headSeq ?? 0, head?.headHash ?? ''));
    expect(catalog.artifact(id)?.manifest).toEqual({ of: 'a newer build' });
  }
  await machine.mount('--refresh-interval=0');
  expect(
    await here('cat readers/f; ls readers/.artifact/versions; cat readers/.artifact/manifest.json'),
  ).toMatch(/^1\nv0\nv1\n\{\n?\}/);
});

test('a writer feature of the whole workspace mounts it read-only', async () => {
  const directory = join(world.directory, 'newer');
  mkdirSync(directory);
  const format = { formatVersion: 1, workspaceId: newArtifactId(), reader: [], gc: [] } as const;
  writeFileSync(join(directory, 'format.json'), encodeFormat({ ...format, writer: ['sparkle'] }));
  await using newer = new World({ store: `file://${directory}` });
  const other = newer.machine();
  await other.mount();
  expect(statusOf(machine).readOnly).toBeNull();
  expect(statusOf(other).readOnly).toMatch(/needs features .* to change it: sparkle$/);
  expect((await other.try('mkdir m 2>&1', { cwd: other.mnt })).stdout).toContain('Read-only file system');
  expect(await other.sh(`find ${directory} -type f`)).toBe(`${directory}/format.json\n`);
});
