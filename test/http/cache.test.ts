import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestApp, type TestApp } from './support.js';

let running: TestApp;
beforeAll(async () => {
  running = await startTestApp();
});
afterAll(() => running[Symbol.asyncDispose]());

const client = () => running.client;
let names = 0;

const largeBytes = 3 << 20;

/** v0: small files and one large one; v1: one small file more, and another is changed. */
async function twoVersions(): Promise<string> {
  const path = `c${names++}`;
  await client().create({ path });
  const write = (name: string, bytes: Buffer) => client().write(path, name, Readable.from([bytes]));
  for (const name of ['a', 'd/b', 'd/c']) await write(name, Buffer.alloc(1000, name));
  await write('large', Buffer.alloc(largeBytes, path));
  await client().commit(path, { message: 'one' });
  await write('d/b', Buffer.alloc(700, 'changed'));
  await write('d/new', Buffer.alloc(500, 'new'));
  await client().commit(path, { message: 'two' });
  await client().evictAll();
  return path;
}

describe('the cache', () => {
  test('a version is warmed: what is there counts, and reading it fetches nothing', async () => {
    const path = await twoVersions();
    const bytes = 3000 + largeBytes;
    expect(await client().coverage(path, 'v0', '')).toEqual({
      version: 0,
      files: 4,
      bytes,
      cachedBytes: 0,
      pinned: false,
    });
    const seen: number[] = [];
    const warmed = await client().warm(
      path,
      { ref: 'v0', path: '' },
      { onProgress: ({ bytesDone, bytesTotal }) => seen.push(bytesDone, bytesTotal) },
    );
    expect(warmed).toMatchObject({ version: 0, files: 4, bytes, cachedBytes: 0 });
    expect(warmed.fetchedBytes).toBeGreaterThanOrEqual(bytes);
    expect(seen.slice(0, 2)).toEqual([0, bytes]);
    const { gets } = await client().cache();
    for (const name of ['a', 'd/b', 'd/c', 'large']) await buffer(await client().read(path, 'v0', name));
    expect((await client().cache()).gets).toBe(gets);
    expect(await client().warm(path, { ref: 'v0', path: '' })).toMatchObject({
      cachedBytes: bytes,
      fetchedBytes: 0,
    });
  });

  test('a directory, a file, what changed since a version', async () => {
    const path = await twoVersions();
    expect(await client().warm(path, { ref: 'v0', path: 'd' })).toMatchObject({ files: 2, bytes: 2000 });
    expect(await client().warm(path, { ref: '', path: 'large' })).toMatchObject({
      version: 1,
      files: 1,
      bytes: largeBytes,
    });
    expect(await client().warm(path, { ref: 'v1', path: '', from: 'v0' })).toMatchObject({
      files: 2,
      bytes: 1200,
    });
    expect(await client().warm(path, { ref: 'v1', path: 'd/b', from: 'v0' })).toMatchObject({ files: 1 });
    expect(await client().warm(path, { ref: 'v1', path: 'a', from: 'v0' })).toMatchObject({
      files: 0,
      bytes: 0,
    });
    expect(await client().warm(path, { ref: 'v0', path: '', from: 'v1' })).toMatchObject({ files: 1 });
  });

  test('names of what is not there', async () => {
    const path = await twoVersions();
    const notFound = { code: 'NotFound' };
    await expect(client().warm(path, { ref: 'v7', path: '' })).rejects.toMatchObject(notFound);
    await expect(client().warm(path, { ref: 'v1', path: 'nothing' })).rejects.toMatchObject(notFound);
    await expect(client().warm(path, { ref: 'v1', path: '', from: 'v9' })).rejects.toMatchObject(notFound);
    await expect(client().coverage(path, '', '../x')).rejects.toMatchObject({ code: 'InvalidName' });
    await client().create({ path: `${path}-new` });
    await expect(client().warm(`${path}-new`, { ref: '', path: '' })).rejects.toMatchObject(notFound);
  });

  test('pins are listed, hold what is warm, and end', async () => {
    const path = await twoVersions();
    await client().warm(path, { ref: 'v0', path: '' });
    expect(await client().pin(path, 'v0', 'large')).toMatchObject({ pinned: true, cachedBytes: largeBytes });
    expect((await client().cache()).pins).toEqual([{ artifact: path, version: 0, path: 'large' }]);
    expect(await client().coverage(path, 'v0', 'large')).toMatchObject({ pinned: true });
    expect(await client().coverage(path, 'v0', 'd')).toMatchObject({ pinned: false });
    await client().evict(path, 'v0', '');
    expect(await client().coverage(path, 'v0', '')).toMatchObject({ cachedBytes: largeBytes });
    expect(await client().unpin(path, 'v0', 'large')).toEqual({ unpinned: true });
    expect(await client().unpin(path, 'v0', 'large')).toEqual({ unpinned: false });
    expect(await client().evictAll()).toEqual({ bytes: largeBytes });
    expect(await client().cache()).toMatchObject({ bytes: 0, pins: [] });
  });
});

test('what the cache cannot hold is refused with the sizes, before anything is fetched', async () => {
  await using small = await startTestApp({ 'cache-size': '64M' });
  await small.client.create({ path: 'x' });
  await small.client.write('x', 'large', Readable.from([Buffer.alloc(70_000_000, 'x')]));
  await small.client.commit('x', { message: 'one' });
  const { gets } = await small.client.cache();
  const warming = small.client.warm('x', { ref: 'v0', path: '' });
  await expect(warming).rejects.toMatchObject({
    code: 'NoSpace',
    message: expect.stringContaining('70000000 bytes are to be fetched'),
  });
  expect((await small.client.cache()).gets).toBe(gets);
});
