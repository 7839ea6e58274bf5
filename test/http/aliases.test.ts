import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { startTestApp, type TestApp } from './support.js';

let running: TestApp;
beforeAll(async () => {
  running = await startTestApp();
});
afterAll(() => running[Symbol.asyncDispose]());

const client = () => running.client;
let names = 0;
async function artifact(versions: number): Promise<string> {
  const path = `a${names++}`;
  await client().create({ path });
  for (let i = 0; i < versions; i++) {
    await client().write(path, 'f', Readable.from([Buffer.from(String(i))]));
    await client().commit(path, { message: '' });
  }
  return path;
}
async function failure(promise: Promise<unknown>): Promise<ArtifactError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ArtifactError) return error;
    throw error;
  }
  throw new Error('nothing failed');
}

test('an alias is made, moved, read and removed, with what it is expected to be', async () => {
  const path = await artifact(3);
  const odd = 'best so far? #1%';
  expect(await client().setAlias(path, odd, { version: 'v0', expected: 'none' })).toEqual({
    alias: odd,
    before: null,
    version: 0,
  });
  expect(await client().setAlias(path, odd, { version: 'latest' })).toMatchObject({ before: 0, version: 2 });
  expect(await client().aliases(path)).toEqual({ aliases: { [odd]: 2 } });
  expect((await client().show(path, odd)).selected?.version).toBe(2);
  expect(await failure(client().setAlias(path, odd, { version: 'v1', expected: 'v0' }))).toMatchObject({
    code: 'Conflict',
    message: `${odd} of ${path} is v2 now, not v0`,
    details: { alias: odd, expected: 0, found: 2 },
  });
  expect((await failure(client().removeAlias(path, odd, 'v1'))).code).toBe('Conflict');
  expect(await client().removeAlias(path, odd, '2')).toMatchObject({ before: 2, version: null });
  expect(await client().aliases(path)).toEqual({ aliases: {} });
  expect((await failure(client().removeAlias(path, odd))).code).toBe('NotFound');
  expect((await failure(client().setAlias(path, 'v3', { version: 'v1' }))).code).toBe('InvalidName');
  expect((await failure(client().setAlias(path, 'best', { version: 'v9' }))).code).toBe('NotFound');
  const bad = { version: 'v1', expected: 'best' };
  expect((await failure(client().setAlias(path, 'best', bad))).code).toBe('Invalid');
});

test('versions expire for ever, but not the latest and not what an alias points to', async () => {
  const path = await artifact(4);
  await client().setAlias(path, 'best', { version: 'v1' });
  expect(await client().expire(path, [0, 2])).toEqual({ expired: [0, 2] });
  expect(await client().expire(path, [0])).toEqual({ expired: [] });
  expect((await client().log(path)).versions.map(({ expired }) => expired)).toEqual([
    false,
    true,
    false,
    true,
  ]);
  expect((await failure(client().show(path, 'v0'))).message).toBe(`version v0 of ${path} has expired`);
  expect((await failure(client().expire(path, [1]))).code).toBe('NotPermitted');
  expect((await failure(client().expire(path, [3]))).code).toBe('NotPermitted');
  expect((await failure(client().expire(path, [7]))).code).toBe('NotFound');
  expect((await failure(client().expire(path, []))).code).toBe('Invalid');
});
