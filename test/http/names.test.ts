import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { startTestApp, type TestApp } from './support.js';

let running: TestApp;
beforeAll(async () => {
  running = await startTestApp();
  await running.client.create({ path: 'c', type: 'collection' });
  await running.client.commit('c', { message: '' });
  for (const path of ['m', 'c/n']) {
    await running.client.create({ path });
    await running.client.write(path, 'f', Readable.from([Buffer.from(path)]));
    await running.client.commit(path, { message: '' });
  }
});
afterAll(() => running[Symbol.asyncDispose]());

const client = () => running.client;
const gently = { force: false, recursive: false };
const paths = async () =>
  (await client().artifacts({ collection: '', recursive: true })).artifacts.map(({ path }) => path);
async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ArtifactError) return error.code;
    throw error;
  }
  return 'ok';
}

test('an artifact is renamed, moved, removed, listed and restored', async () => {
  expect(await client().move('m', 'renamed')).toEqual({ path: 'renamed' });
  expect(await client().move('renamed', 'c/moved')).toEqual({ path: 'c/moved' });
  expect(await paths()).toEqual(['c', 'c/moved', 'c/n']);
  expect(await codeOf(client().move('c/moved', 'c/n'))).toBe('Exists');
  expect(await codeOf(client().move('c/moved', 'no/where'))).toBe('NotFound');
  expect(await codeOf(client().move('c', 'c/n/x'))).not.toBe('ok');
  expect(await codeOf(client().move('', 'x'))).toBe('NotPermitted');
  await client().unlink('c/moved', gently);
  expect(await paths()).toEqual(['c', 'c/n']);
  const { removed } = await client().removed();
  expect(removed).toMatchObject([{ path: 'c/moved', versions: 1 }]);
  expect(await codeOf(client().unlink('c', gently))).toBe('NotEmpty');
  expect(await client().restore(removed[0]?.artifactId ?? '', 'm')).toEqual({ path: 'm' });
  expect(await client().removed()).toEqual({ removed: [] });
  expect(await codeOf(client().restore('c/moved'))).toBe('NotFound');
  expect(await paths()).toEqual(['c', 'c/n', 'm']);
});
