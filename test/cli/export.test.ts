import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { compile, compileMsMax, Home } from './compiled.js';

beforeAll(compile, compileMsMax);

let home: Home;
beforeEach(() => {
  home = new Home();
  mkdirSync(home.path('source/dir'), { recursive: true });
  writeFileSync(home.path('source/a.txt'), 'one\n', { mode: 0o640 });
  writeFileSync(home.path('source/dir/large'), Buffer.alloc(3 << 20, 'large '));
  symlinkSync('../a.txt', home.path('source/dir/link'));
  utimesSync(home.path('source/a.txt'), 1_600_000_000, 1_600_000_000);
});
afterEach(() => home[Symbol.dispose]());

const afs = (...args: string[]) => home.run(...args, '--store', home.path('store'));

test('a directory becomes an artifact, and a version a directory again', async () => {
  expect(await afs('import', 'source', 'model', '-m', 'first of all')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^model: v0, 2 files, 3[.0-9]*MiB\n$/),
  });
  expect((await afs('log', 'model')).stdout).toContain('first of all');
  writeFileSync(home.path('b.txt'), 'two');
  await afs('put', 'b.txt', 'model/');
  await afs('commit', 'model', '-m', 'second');
  expect(await afs('export', 'model@v0', 'out')).toMatchObject({ code: 0, stderr: '' });
  expect(readdirSync(home.path('out')).sort()).toEqual(['a.txt', 'dir']);
  expect(readFileSync(home.path('out/dir/link'), 'utf8')).toBe('one\n');
  expect(statSync(home.path('out/a.txt'))).toMatchObject({ mode: 0o100640, mtimeMs: 1_600_000_000_000 });
  const again = await afs('export', 'model', 'out');
  expect(again.code).not.toBe(0);
  expect(again.stderr).toContain('out exists already');
  expect(existsSync(home.path('out/b.txt'))).toBe(false);
  const taken = await afs('import', 'source', 'model');
  expect(taken.stderr).toContain('model exists already');
});

test('all versions go through a tar, by file and by pipe, into another workspace', async () => {
  await afs('import', 'source', 'model');
  writeFileSync(home.path('b.txt'), 'two');
  await afs('put', 'b.txt', 'model/');
  await afs('commit', 'model', '-m', 'second');
  const exported = await afs('export', 'model', 'model.tar', '--json');
  expect(JSON.parse(exported.stdout)).toMatchObject({ versions: 2, expired: 0 });
  expect((await afs('export', 'model', 'model.tar')).stderr).toContain('exists already');
  expect((await afs('export', 'model', 'model.tar.gz')).stderr).toContain('| gzip');
  expect((await home.run('import', 'model.tar', '--store', home.path('other'))).stdout).toMatch(
    /^model: 2 versions, /,
  );
  const piped = await home.shell(
    `set -o pipefail; $A export model - --store ${home.path('store')} | gzip | $A import - again --store ${home.path('other')}`,
  );
  expect(piped).toMatchObject({ code: 0 });
  const log = async (store: string, name: string) =>
    JSON.parse((await home.run('log', name, '--json', '--store', home.path(store))).stdout).versions;
  expect(await log('other', 'again')).toEqual(await log('store', 'model'));
  expect((await home.run('cat', 'again/b.txt', '--store', home.path('other'))).stdout).toBe('two');
  expect((await home.run('fsck', '--store', home.path('other'))).code).toBe(0);
});

test('Ctrl-C in the middle of an import leaves no artifact and no object', async () => {
  await home.shell('tar -cf source.tar -C source .');
  const tar = readFileSync(home.path('source.tar'));
  const child = home.start('import', '-', 'model', '--store', home.path('store'));
  let said = '';
  child.stderr?.on('data', (text) => {
    said += text;
  });
  const ended = once(child, 'exit');
  // More than a pipe holds has gone, so somebody reads.
  await new Promise((sent) => child.stdin?.write(tar.subarray(0, 2 << 20), sent));
  child.kill('SIGINT');
  const [code] = await ended;
  expect(said).toContain('import was interrupted: nothing of it is left');
  expect(code).not.toBe(0);
  const left = readdirSync(home.path('store'), { recursive: true, encoding: 'utf8' });
  expect(left.filter((path) => lstatSync(join(home.path('store'), path)).isFile())).toEqual(['format.json']);
});
