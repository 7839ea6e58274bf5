import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { compile, compileMsMax, Home } from './compiled.js';

beforeAll(compile, compileMsMax);

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

/** A verb on the home's own store, without a daemon. */
const afs = (...args: string[]) => home.run(...args, '--store', home.path('store'));
const json = async (...args: string[]) => {
  const outcome = await afs(...args, '--json');
  expect(outcome.stderr).toBe('');
  expect(outcome.code).toBe(0);
  return JSON.parse(outcome.stdout);
};

function file(path: string, text: string | Buffer, mode = 0o644): string {
  mkdirSync(home.path(path, '..'), { recursive: true });
  writeFileSync(home.path(path), text);
  chmodSync(home.path(path), mode);
  return home.path(path);
}

describe('without a daemon', () => {
  test('put, status, commit, log, show, diff, cat, get', async () => {
    file('a.txt', 'one\n');
    const put = await afs('put', 'a.txt', 'my-model/');
    expect(put).toMatchObject({ code: 0, stdout: '1 file staged in my-model, 4B\n' });
    expect(put.stderr).toBe('my-model: created; commit makes v0\n');
    expect((await afs('status', 'my-model')).stdout).toMatch(
      /^my-model: never committed, 1 path staged.*\n {2}added {2}a.txt\n$/,
    );
    expect(await afs('commit', 'my-model', '-m', 'first')).toMatchObject({
      code: 0,
      stdout: 'v0  1 added\n',
    });
    file('b.txt', 'two\n');
    await afs('put', 'b.txt', 'my-model/dir/renamed.txt');
    expect((await afs('diff', 'my-model')).stdout).toBe('added  dir/\nadded  dir/renamed.txt\n');
    expect((await json('commit', 'my-model', '-m', 'second')).version).toBe(1);
    const { versions } = await json('log', 'my-model');
    expect(versions.map((v: { message: string }) => v.message)).toEqual(['second', 'first']);
    expect(await json('show', 'my-model@v0')).toMatchObject({
      selected: { version: 0, entries: 1 },
      latest: { version: 1 },
    });
    expect((await afs('cat', 'my-model/dir/renamed.txt', 'my-model@v0/a.txt')).stdout).toBe('two\none\n');
    expect((await afs('ls', 'my-model@v0')).stdout).toBe('a.txt\n');
    expect((await afs('ls')).stdout).toBe('my-model\n');
    await afs('get', 'my-model', 'out');
    expect(readFileSync(home.path('out/dir/renamed.txt'), 'utf8')).toBe('two\n');
    const difference = await json('diff', 'my-model@v0', 'v1');
    expect(difference.changes.map((c: { path: string }) => c.path)).toEqual(['dir', 'dir/renamed.txt']);
    expect(await json('diff', 'my-model@v0', 'my-model@v1')).toEqual(difference);
    await afs('create', 'other');
    expect((await home.run('diff', 'my-model@v0', 'other', '--store', home.path('store'))).stderr).toContain(
      'no version',
    );
    expect(
      (await home.run('diff', 'my-model@v0', 'other@latest', '--store', home.path('store'))).stderr,
    ).toContain('artifactfs:');
  });

  test('a directory goes and comes back with modes, times, symlinks and odd names', async () => {
    file('src/run.sh', '#!/bin/sh\n', 0o755);
    file('src/-dash', 'd');
    file('src/ü ?#&%41', 'odd');
    file('src/deep/er/secret', 's', 0o600);
    mkdirSync(home.path('src/empty'), { mode: 0o700 });
    symlinkSync('../run.sh', home.path('src/deep/link'));
    symlinkSync('nowhere', home.path('src/dangling'));
    utimesSync(home.path('src/run.sh'), 981_173_106.5, 981_173_106.5);
    utimesSync(home.path('src/deep'), 1_000_000_000, 1_000_000_000);
    const put = await json('put', '-r', 'src/.', 'data');
    expect(put).toMatchObject({ artifact: 'data', files: 4, links: 2, skipped: [] });
    await afs('commit', 'data');
    await afs('get', 'data@v0', 'out');
    const names = (directory: string) => readdirSync(home.path(directory), { recursive: true }).sort();
    expect(names('out')).toEqual(names('src'));
    for (const name of names('src').map(String)) {
      const [a, b] = [lstatSync(home.path('src', name)), lstatSync(home.path('out', name))];
      if (a.isSymbolicLink())
        expect(readlinkSync(home.path('out', name))).toBe(readlinkSync(home.path('src', name)));
      else expect(b.mode.toString(8), name).toBe(a.mode.toString(8));
      if (a.isFile())
        expect(readFileSync(home.path('out', name))).toEqual(readFileSync(home.path('src', name)));
      expect(Math.abs(b.mtimeMs - a.mtimeMs), name).toBeLessThan(0.01);
    }
  });

  test('where a put goes is as with cp', async () => {
    file('d/f', '1');
    file('g', '2');
    await afs('create', 'm');
    await afs('put', 'g', 'm');
    await afs('put', '-r', 'd', 'm');
    await afs('put', '-r', 'd', 'm/new');
    await afs('put', '-r', 'd', 'm/new');
    await afs('put', '-r', 'd/.', 'm');
    await afs('put', 'g', 'd/f', 'm/both/');
    const { files } = await json('ls', '-R', 'm');
    expect(files.map((f: { path: string }) => f.path)).toEqual(
      ['both', 'both/f', 'both/g', 'd', 'd/f', 'f', 'g', 'new', 'new/d', 'new/d/f', 'new/f'].sort(),
    );
    expect(await afs('put', 'd', 'm')).toMatchObject({ code: 2, stderr: expect.stringContaining('add -r') });
    expect((await afs('put', 'none', 'm')).code).toBe(3);
    expect((await afs('put', 'g', 'loose')).code).toBe(7);
    expect((await afs('put', 'g', 'm@v0/x')).code).toBe(7);
  });

  test('standard input of any length, also none', async () => {
    const store = home.path('store');
    const big = await home.shell(`head -c 20000000 /dev/zero | tr '\\0' x | $A put - m/big --store ${store}`);
    expect(big).toMatchObject({ code: 0 });
    expect((await home.shell(`$A cat m/big --store ${store} | md5sum`)).stdout).toBe(
      (await home.shell("head -c 20000000 /dev/zero | tr '\\0' x | md5sum")).stdout,
    );
    await home.runWith({ input: '' }, 'put', '-', 'm/empty', '--store', store);
    expect((await afs('cat', 'm/empty')).stdout).toBe('');
    expect(await home.runWith({ input: 'x' }, 'put', '-', 'm/', '--store', store)).toMatchObject({ code: 2 });
  });

  test('get to a name, into a directory, to standard output', async () => {
    file('f', 'bytes', 0o640);
    await afs('put', 'f', 'm/dir/f');
    await afs('get', 'm/dir/f');
    await afs('get', 'm/dir/f', 'other');
    mkdirSync(home.path('into'));
    await afs('get', 'm/dir', 'into');
    await afs('get', 'm', 'into/');
    for (const path of ['f', 'other', 'into/dir/f', 'into/m/dir/f']) {
      expect(readFileSync(home.path(path), 'utf8')).toBe('bytes');
      expect(statSync(home.path(path)).mode & 0o777).toBe(0o640);
    }
    expect((await afs('get', 'm/dir/f', '-')).stdout).toBe('bytes');
    expect((await afs('get', 'm/dir/none', 'x')).code).toBe(3);
    expect(readdirSync(home.path('into')).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  test('exit codes say what kind of failure it was', async () => {
    const nothing = await afs('ls');
    expect([nothing.code, nothing.stderr]).toEqual([
      3,
      expect.stringContaining('mount, create and put make a workspace'),
    ]);
    await afs('create', 'model', '--type', 'model');
    expect((await afs('create', 'model')).code).toBe(4);
    expect((await afs('create', '.hidden')).code).toBe(2);
    file('f', '1');
    await afs('put', 'f', 'model');
    await afs('commit', 'model');
    expect((await afs('commit', 'model')).code).toBe(5);
    expect((await afs('show', 'model@v9')).code).toBe(3);
    const near = await afs('show', 'modle');
    expect([near.code, near.stderr]).toEqual([
      3,
      "artifactfs: no artifact 'modle'\nhint: did you mean 'model'?\n",
    ]);
    expect((await afs('cat', 'model')).code).toBe(2);
    expect((await afs('put', '--read-only', 'f', 'model')).code).toBe(7);
    expect((await afs('discard', 'model@v0')).code).toBe(7);
    const down = ['--store', 's3://bucket', '--endpoint', 'http://127.0.0.1:9', '--region', 'r'];
    const env = { AWS_ACCESS_KEY_ID: 'k', AWS_SECRET_ACCESS_KEY: 'hidden' };
    const away = await home.runWith({ env }, 'ls', ...down);
    expect(away.code).toBe(6);
    expect(away.stderr).not.toContain('hidden');
  });

  test('a store that is gone is not made anew by accident', async () => {
    await afs('create', 'm');
    renameSync(home.path('store'), home.path('away'));
    file('f', '1');
    const refused = await afs('put', 'f', 'm');
    expect([refused.code, refused.stderr]).toEqual([
      3,
      expect.stringContaining('had one when it was last used here'),
    ]);
    mkdirSync(home.path('store'));
    expect((await afs('put', 'f', 'm')).code).toBe(3);
    rmdirSync(home.path('store'));
    renameSync(home.path('away'), home.path('store'));
    expect((await afs('put', 'f', 'm')).code).toBe(0);
  });

  test('discard drops what is staged, and never guesses the artifact', async () => {
    file('f', '1');
    await afs('put', 'f', 'm/a');
    await afs('commit', 'm');
    await afs('put', 'f', 'm/b');
    expect((await home.run('discard', '--store', home.path('store'))).code).toBe(2);
    expect((await afs('discard', 'm')).stdout).toBe('1 path discarded\n');
    expect((await afs('ls', 'm')).stdout).toBe('a\n');
  });

  test('commands at the same time wait for each other', async () => {
    await afs('create', 'm');
    const files = Array.from({ length: 5 }, (_, i) => file(`f${i}`, String(i)));
    const outcomes = await Promise.all(files.map((path) => afs('put', path, 'm')));
    expect(outcomes.map(({ code, stderr }) => [code, stderr])).toEqual(files.map(() => [0, '']));
    expect((await afs('ls', 'm')).stdout).toBe('f0\nf1\nf2\nf3\nf4\n');
  });

  test('a reader of the output that goes away is no failure to speak of', async () => {
    const store = home.path('store');
    await home.shell(`head -c 30000000 /dev/zero | $A put - m/big --store ${store}`);
    const outcome = await home.shell(
      `$A cat m/big --store ${store} | head -c 10 >/dev/null; echo \${PIPESTATUS[0]}`,
    );
    expect([outcome.stderr, outcome.stdout]).toEqual(['', '141\n']);
    // The next command finds everything as it should be.
    expect((await afs('ls', 'm')).stdout).toBe('big\n');
  });

  test('nothing is coloured in a pipe', async () => {
    await afs('create', 'm');
    expect(
      (await home.runWith({ env: { FORCE_COLOR: '1' } }, 'ls', '--store', home.path('store'))).stdout,
    ).not.toContain('\u001b');
  });
});

describe('status', () => {
  test('with nothing mounted is no failure', async () => {
    expect(await home.run('status')).toMatchObject({
      code: 0,
      stdout: 'nothing is mounted: no daemon is running\n',
    });
    expect(JSON.parse((await home.run('status', '--json')).stdout)).toEqual({ daemons: [] });
  });
});

describe('doctor', () => {
  test('says what is wrong and what to do, and fails for it', async () => {
    const good = await home.run('doctor', '--json', '--store', home.path('store'));
    const findings = JSON.parse(good.stdout).findings as { what: string; result: string }[];
    expect(findings.map(({ what }) => what)).toEqual(
      expect.arrayContaining([
        'Node.js',
        '/dev/fuse',
        'fusermount3',
        'compiled addon',
        'state directory',
        'store',
      ]),
    );
    expect(findings.find(({ what }) => what === 'Node.js')?.result).toBe('ok');
    await afs('create', 'm');
    const proved = JSON.parse((await home.run('doctor', '--json', '--store', home.path('store'))).stdout);
    expect(proved.findings).toContainEqual({ what: 'store create-if-absent', result: 'ok', found: 'proved' });
    const env = { AWS_ACCESS_KEY_ID: 'k', AWS_SECRET_ACCESS_KEY: 's' };
    const bad = await home.runWith(
      { env },
      'doctor',
      '--store',
      's3://bucket',
      '--endpoint',
      'http://127.0.0.1:9',
    );
    expect(bad.code).toBe(1);
    expect(bad.stdout).toMatch(/^fail {2}store: /m);
  });
});

describe('mount', () => {
  test('in the background hands its failure to the terminal, with the exit code', async () => {
    const missing = await home.run('mount', 'none', '--store', home.path('store'));
    expect([missing.code, missing.stdout]).toEqual([3, '']);
    expect(missing.stderr).toMatch(/^artifactfs: .*none.*\n(hint: .*\n)?$/);
    const asJson = await home.run('mount', 'none', '--json');
    expect(JSON.parse(asJson.stderr).error.code).toBe('NotFound');
  });

  test('unmount of what is not mounted', async () => {
    expect((await home.run('unmount', home.directory)).code).toBe(3);
  });
});
