import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { compile, compileMsMax, Home } from './compiled.js';

beforeAll(compile, compileMsMax);

let home: Home;
beforeEach(async () => {
  home = new Home();
  writeFileSync(home.path('a.txt'), 'one\n');
  await afs('put', 'a.txt', 'my-model/');
  expect((await afs('commit', 'my-model', '-m', 'first')).code).toBe(0);
});
afterEach(() => home[Symbol.dispose]());

const afs = (...args: string[]) => home.run(...args, '--store', home.path('store'));

/** Paths in the store that end so. */
const stored = (end: string) =>
  readdirSync(home.path('store'), { recursive: true })
    .map(String)
    .filter((path) => path.endsWith(end));

test('fsck of a sound workspace says how much it is', async () => {
  const outcome = await afs('fsck');
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  expect(outcome.stdout).toMatch(/^sound: 2 artifacts, 1 version, \d+ objects, \d/);
  expect((await afs('fsck', 'no-model')).code).toBe(3);
});

test('verify reads all, a part, or one version again', async () => {
  expect(await afs('verify')).toMatchObject({ code: 0, stdout: 'sound: 1 file in 1 object, 4B read\n' });
  expect((await afs('verify', 'my-model@v0', '--sample', '5%')).code).toBe(0);
  expect((await afs('verify', '--sample', '5')).code).toBe(2);
  for (const pack of stored('.pack')) writeFileSync(home.path('store', pack), 'two\n');
  const outcome = await afs('verify', 'my-model', '--json');
  expect(outcome.code).toBe(11);
  expect(JSON.parse(outcome.stdout)).toMatchObject({
    ok: false,
    findings: [{ files: ['a.txt'], versions: [0] }],
  });
});

test('fsck names what is damaged, and fails', async () => {
  for (const pack of stored('.pack')) rmSync(home.path('store', pack));
  const outcome = await afs('fsck', 'my-model');
  expect(outcome.code).toBe(11);
  expect(outcome.stdout).toContain('damage object-missing  my-model: the data object is not there\n');
  expect(outcome.stdout).toContain('    a.txt\n');
  const { ok, findings } = JSON.parse((await afs('fsck', '--json')).stdout);
  expect(ok).toBe(false);
  expect(findings).toMatchObject([{ code: 'object-missing', artifact: 'my-model', files: ['a.txt'] }]);
});
