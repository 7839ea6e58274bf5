import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { exitCodes } from '../../src/cli/exit-codes.js';
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
  return JSON.parse(outcome.stdout);
};

/** An artifact with so many versions. */
async function artifact(path: string, versions: number): Promise<void> {
  mkdirSync(home.path('src'), { recursive: true });
  for (let i = 0; i < versions; i++) {
    writeFileSync(home.path('src/f'), `version ${i}`);
    await afs('put', 'src/f', `${path}/f`);
    expect((await afs('commit', path, '-m', `number ${i}`)).code).toBe(0);
  }
}

describe('aliases and expiry', () => {
  test('an alias is made, listed, moved from where it is expected, and deleted', async () => {
    await artifact('m', 3);
    expect((await afs('alias', 'm')).stderr).toBe('no aliases yet\n');
    expect(await afs('alias', 'm', 'best', 'v0', '--expected', 'none')).toMatchObject({
      code: 0,
      stdout: 'best: v0\n',
    });
    expect((await afs('alias', 'm@v1', 'best', '--expected', 'v0')).stdout).toBe('best: v0 -> v1\n');
    expect(await afs('alias', 'm', 'best', 'v2', '--expected', 'v0')).toMatchObject({
      code: exitCodes.conflict.code,
      stderr: expect.stringContaining('best of m is v1 now, not v0'),
    });
    expect(await json('alias', 'm', 'prod')).toEqual({
      artifact: 'm',
      alias: 'prod',
      before: null,
      version: 2,
    });
    expect((await afs('alias', 'm')).stdout).toBe('best  v1\nprod  v2\n');
    expect((await afs('cat', 'm@best/f')).stdout).toBe('version 1');
    expect((await afs('alias', 'm', 'best', '-d')).stdout).toBe('best: deleted; it was v1\n');
    expect(await json('alias', 'm')).toEqual({ artifact: 'm', aliases: { prod: 2 } });
    for (const wrong of [
      ['m', 'x', '--expected', 'best'],
      ['m', 'prod', 'v2', '--delete'],
    ])
      expect((await afs('alias', ...wrong)).code, wrong.join(' ')).toBe(exitCodes.usage.code);
  });

  test('versions expire when that is confirmed, and the log goes on naming them', async () => {
    await artifact('m', 3);
    const unasked = await afs('expire', 'm', 'v0', '1');
    expect(unasked).toMatchObject({ code: exitCodes.usage.code, stderr: expect.stringContaining('--yes') });
    expect((await afs('expire', 'm', 'v0', '1', '--yes')).stdout).toBe('2 versions expired\n');
    expect((await afs('expire', 'm', 'v0', '-y')).stdout).toBe('expired already\n');
    expect(await afs('cat', 'm@v0/f')).toMatchObject({
      code: exitCodes.notFound.code,
      stderr: expect.stringContaining('version v0 of m has expired'),
    });
    expect((await afs('log', 'm')).stdout).toMatch(/v0 .*\(expired\)/);
    expect(await afs('expire', 'm', 'v2', '-y')).toMatchObject({
      code: exitCodes.denied.code,
      stderr: expect.stringContaining('v2 is the latest of m'),
    });
    expect((await afs('expire', 'm', 'best', '-y')).code).toBe(exitCodes.usage.code);
  });
});

test('an artifact is moved into a collection, removed when that is confirmed, and restored', async () => {
  await artifact('m', 1);
  await afs('create', 'c', '--type', 'collection');
  await afs('commit', 'c');
  expect(await afs('mv', 'm', 'c')).toMatchObject({ code: 0, stdout: 'm -> c/m\n' });
  expect(await json('mv', 'c/m', 'c/n')).toEqual({ artifact: 'c/m', path: 'c/n' });
  expect(await afs('rm', 'c/n')).toMatchObject({
    code: exitCodes.usage.code,
    stderr: expect.stringContaining('--yes'),
  });
  expect(await afs('rm', 'c/n@v0', '-y')).toMatchObject({
    code: exitCodes.denied.code,
    stderr: expect.stringContaining('v0 is the latest of c/n'),
  });
  expect(await afs('rm', 'c/n', '-y')).toMatchObject({
    code: 0,
    stdout: 'c/n: removed\n',
    stderr: 'until gc it comes back by: artifactfs restore c/n\n',
  });
  expect((await afs('restore')).stdout).toMatch(/^c\/n {2}1 version {2}.* [0-9a-f-]{36}\n$/);
  expect((await afs('restore', 'c/n', '--as', 'm')).stdout).toBe('m: restored\n');
  expect((await afs('cat', 'm/f')).stdout).toBe('version 0');
  expect((await afs('restore')).stderr).toBe('nothing can come back\n');
});
