import { request } from 'node:http';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorFromBody, httpStatus } from '../../src/http/error-body.js';
import type { CommitProgress, WriteProgress } from '../../src/http/schemas.js';
import { ArtifactError } from '../../src/model/errors.js';
import { startTestApp, type TestApp } from './support.js';

let running: TestApp;
beforeAll(async () => {
  running = await startTestApp();
});
afterAll(() => running[Symbol.asyncDispose]());

const client = () => running.client;
let names = 0;
/** An artifact that no other test uses, with these files committed. */
async function artifact(files: Record<string, string> = {}): Promise<string> {
  const path = `a${names++}`;
  await client().create({ path });
  for (const [name, bytes] of Object.entries(files))
    await client().write(path, name, Readable.from([Buffer.from(bytes)]));
  if (Object.keys(files).length > 0) await client().commit(path, { message: 'first' });
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

/** A request as any HTTP client would send it. */
function raw(
  method: string,
  path: string,
  options: { headers?: Record<string, string>; body?: string } = {},
): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath: running.app.socketPath, method, path, headers: options.headers ?? {} },
      async (response) => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: await text(response) });
      },
    );
    sent.on('error', reject);
    sent.end(options.body);
  });
}

describe('daemon', () => {
  test('status says what runs where', async () => {
    const status = await client().status();
    expect(status).toMatchObject({
      pid: process.pid,
      state: 'running',
      mountPoint: null,
      readOnly: null,
      store: `file://${running.directory}/store`,
      stateDirectory: running.app.stateDirectory,
    });
  });

  test('stats count', async () => {
    const stats = await client().stats();
    expect(stats.memory.residentBytes).toBeGreaterThan(0);
    expect(Object.keys(stats.counters)).toContain('store.gets');
  });

  test('the log level can be changed, but not to anything', async () => {
    await client().setLogLevel('error');
    expect(await client().logLevel()).toEqual({ level: 'error' });
    const failed = await failure(client().setLogLevel('loud'));
    expect([failed.code, failed.details.hint]).toEqual([
      'Invalid',
      'use one of trace, debug, info, warn, error, silent',
    ]);
    await client().setLogLevel('silent');
  });
});

describe('artifacts', () => {
  test('create, list, show', async () => {
    await client().create({ path: 'gallery', type: 'collection' });
    await client().create({ path: 'gallery/cells', type: 'dataset', manifest: { tags: ['x'] } });
    await artifact();
    const top = (await client().artifacts({ collection: '' })).artifacts;
    expect(top.map(({ path }) => path)).toContain('gallery');
    expect(top.map(({ path }) => path)).not.toContain('gallery/cells');
    const all = (await client().artifacts({ collection: '', recursive: true })).artifacts.map(
      ({ path }) => path,
    );
    expect(all.slice(all.indexOf('gallery'), all.indexOf('gallery') + 2)).toEqual([
      'gallery',
      'gallery/cells',
    ]);
    expect(await client().show('gallery/cells')).toMatchObject({
      type: 'dataset',
      isNew: true,
      isCollection: false,
      latest: null,
      versions: 0,
      manifest: { tags: ['x'], type: 'dataset' },
    });
  });

  test('a long list comes in pages', async () => {
    await client().create({ path: 'many', type: 'collection' });
    const expected = ['many/a', 'many/b', 'many/c', 'many/d', 'many/e'];
    for (const path of expected) await client().create({ path });
    const found: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await client().artifacts({
        collection: 'many',
        limit: 2,
        ...(after === undefined ? {} : { after }),
      });
      found.push(...page.artifacts.map(({ path }) => path));
      after = found.at(-1);
      if (!page.more) break;
      expect(page.artifacts).toHaveLength(2);
    }
    expect(found).toEqual(expected);
  });

  test.each([
    ['a name that is taken', { path: 'twice' }, 'Exists'],
    ['no name', { path: '' }, 'InvalidName'],
    ['a collection that is not there', { path: 'nowhere/x' }, 'NotFound'],
  ])('%s is refused', async (_what, body, code) => {
    if (code === 'Exists') await client().create({ path: 'twice' });
    expect((await failure(client().create(body))).code).toBe(code);
  });

  test('the manifest is staged', async () => {
    const path = await artifact({ f: '1' });
    const put = await raw('PUT', `/v1/artifacts/${path}/manifest`, {
      headers: { 'content-type': 'application/json' },
      body: '{"description":"new"}',
    });
    expect(put.status).toBe(200);
    expect((await client().show(path)).manifest).toMatchObject({ description: 'new' });
    expect((await client().show(path)).isStaged).toBe(true);
  });

  test('one that was never committed can be removed', async () => {
    const path = await artifact();
    expect((await raw('DELETE', `/v1/artifacts/${path}`)).status).toBe(200);
    expect((await failure(client().show(path))).code).toBe('NotFound');
  });
});

describe('resolve', () => {
  beforeAll(async () => {
    await client().create({ path: 'box', type: 'collection' });
    await client().create({ path: 'box/model' });
  });

  test.each([
    ['', '', '', ''],
    ['/', '', '', ''],
    ['box', 'box', '', ''],
    ['box/model/', 'box/model', '', ''],
    ['box//model/./w/x.bin', 'box/model', '', 'w/x.bin'],
    ['box/model@v3/w', 'box/model', 'v3', 'w'],
    ['box/model@latest', 'box/model', 'latest', ''],
    ['box/@v1/x', 'box', '', '@v1/x'],
    ['box/model/.artifact/versions/v2/w', 'box/model', 'v2', 'w'],
    ['box/model/a@b', 'box/model', '', 'a@b'],
    ['box/none/x', 'box', '', 'none/x'],
  ])('%j', async (given, expected, ref, path) => {
    expect(await client().resolve(given)).toMatchObject({ artifact: expected, ref, path });
  });

  test('what is missing has a name that is near', async () => {
    expect((await client().resolve('box/modle')).near).toBe('model');
    expect((await client().resolve('box/unlike')).near).toBeNull();
  });

  test('upward is refused', async () => {
    expect((await failure(client().resolve('box/../x'))).code).toBe('Invalid');
  });
});

describe('versions', () => {
  test('stage, status, diff, commit, log', async () => {
    const path = await artifact({ keep: 'k', change: '1', drop: 'd' });
    await client().write(path, 'change', Readable.from(['22']));
    await client().write(path, 'new/file', Readable.from(['n']));
    await client().remove(path, 'drop');
    const status = await client().artifactStatus(path);
    expect(status).toMatchObject({ base: 0, path });
    expect(status.staged.map((s) => `${s.change} ${s.path}`)).toEqual(
      expect.arrayContaining(['changed change', 'removed drop', 'added new/file']),
    );
    const staged = await client().diff(path, {});
    expect([staged.from, staged.to]).toEqual([0, 'stage']);
    const result = await client().commit(path, { message: 'second' });
    expect(result).toMatchObject({ version: 1, rebased: false });
    const { versions } = await client().log(path);
    expect(versions.map(({ version, message }) => [version, message])).toEqual([
      [1, 'second'],
      [0, 'first'],
    ]);
    const between = await client().diff(path, { to: 'v1' });
    expect([between.from, between.to]).toEqual([0, 1]);
    expect(between.summary).toEqual(result.summary);
    expect((await client().diff(path, { to: 'v0' })).from).toBeNull();
    expect((await client().log(path, 1)).more).toBe(true);
  });

  test('discard drops what is staged', async () => {
    const path = await artifact({ f: '1' });
    await client().write(path, 'f', Readable.from(['2']));
    expect((await client().discard(path)).discarded).toBeGreaterThan(0);
    expect(await text(await client().read(path, '', 'f'))).toBe('1');
  });

  test('nothing staged, and a version that is not there', async () => {
    const path = await artifact({ f: '1' });
    expect((await failure(client().commit(path, { message: '' }))).code).toBe('NothingStaged');
    expect((await failure(client().show(path, 'v7'))).code).toBe('NotFound');
  });

  test('a commit tells how it goes, and asked for as JSON it answers once', async () => {
    const path = await artifact();
    await client().write(path, 'f', Readable.from(['1']));
    const operations: string[] = [];
    const progress: CommitProgress[] = [];
    const result = await client().commit(
      path,
      { message: 'm' },
      { onStarted: (id) => operations.push(id), onProgress: (p) => progress.push(p) },
    );
    expect(operations).toHaveLength(1);
    expect(result.version).toBe(0);
    await client().write(path, 'f', Readable.from(['2']));
    const answer = await raw('POST', `/v1/artifacts/${path}/commit`, {
      headers: { 'content-type': 'application/json' },
      body: '{"message":"plain"}',
    });
    expect(answer.headers['content-type']).toContain('application/json');
    expect(JSON.parse(answer.body)).toMatchObject({ version: 1 });
    expect(await client().cancel(operations[0] ?? '')).toEqual({ cancelled: false });
  });

  test('refresh of an artifact that nobody changed', async () => {
    expect(await client().refresh(await artifact({ f: '1' }))).toEqual({ moved: false });
  });
});

describe('files', () => {
  const time = { s: 1_700_000_000, ns: 123_456_789 };

  test('bytes, mode and time come back', async () => {
    const path = await artifact();
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
    const written = await client().write(path, 'd/f', Readable.from([bytes]), { mode: 0o640, mtime: time });
    expect(written).toMatchObject({
      path: 'd/f',
      kind: 'file',
      size: bytes.length,
      mode: 0o640,
      mtime: time,
    });
    expect(await client().stat(path, '', 'd/f')).toMatchObject({ mode: 0o640, mtime: time });
    expect((await buffer(await client().read(path, '', 'd/f'))).equals(bytes)).toBe(true);
  });

  test('times before 1970', async () => {
    const path = await artifact();
    for (const mtime of [
      { s: -1, ns: 0 },
      { s: -1, ns: 250_000_000 },
      { s: -1_000_000, ns: 1 },
      { s: 0, ns: 0 },
    ]) {
      await client().write(path, 'f', Readable.from(['x']), { mtime });
      expect((await client().stat(path, '', 'f')).mtime).toEqual(mtime);
    }
  });

  test('directories and symlinks', async () => {
    const path = await artifact();
    await client().mkdir(path, 'a/b', { mode: 0o700 });
    await client().symlink(path, 'a/link', '../elsewhere');
    const { files } = await client().list(path, { ref: '', path: '', recursive: true });
    expect(files.map((f) => [f.path, f.kind])).toEqual([
      ['a', 'dir'],
      ['a/b', 'dir'],
      ['a/link', 'symlink'],
    ]);
    expect(files[2]?.target).toBe('../elsewhere');
    expect((await client().list(path, { ref: '', path: 'a' })).files.map((f) => f.path)).toEqual([
      'a/b',
      'a/link',
    ]);
  });

  test('names that are hard to write in a URL', async () => {
    const path = await artifact();
    for (const name of ['a b', 'ü#?&=+%41', '100', '.hidden', 'x\ny', '"quoted"', '日本']) {
      await client().write(path, name, Readable.from([name]));
      expect(await text(await client().read(path, '', name)), name).toBe(name);
    }
    const { files } = await client().list(path, { ref: '', path: '' });
    expect(files).toHaveLength(7);
  });

  test('a version is read by its name, the working view without', async () => {
    const path = await artifact({ f: 'old' });
    await client().write(path, 'f', Readable.from(['new']));
    expect(await text(await client().read(path, 'v0', 'f'))).toBe('old');
    expect(await text(await client().read(path, 'latest', 'f'))).toBe('old');
    expect(await text(await client().read(path, '', 'f'))).toBe('new');
  });

  test.each([
    ['bytes=0-1', 206, 'bytes 0-1/10', '01'],
    ['bytes=8-', 206, 'bytes 8-9/10', '89'],
    ['bytes=-3', 206, 'bytes 7-9/10', '789'],
    ['bytes=5-100', 206, 'bytes 5-9/10', '56789'],
    ['bytes=10-', 416, 'bytes */10', undefined],
    ['bytes=3-1', 200, undefined, '0123456789'],
    ['lines=1-2', 200, undefined, '0123456789'],
    ['bytes=0-0,2-2', 200, undefined, '0123456789'],
  ])('range %s', async (range, status, contentRange, body) => {
    const path = await artifact();
    await client().write(path, 'f', Readable.from(['0123456789']));
    const answer = await raw('GET', `/v1/artifacts/${path}/content?path=f`, { headers: { range } });
    expect([answer.status, answer.headers['content-range']]).toEqual([status, contentRange]);
    if (body !== undefined) expect(answer.body).toBe(body);
  });

  test('an empty file', async () => {
    const path = await artifact();
    await client().write(path, 'f', Readable.from([]));
    expect(await text(await client().read(path, '', 'f'))).toBe('');
    expect(
      (await raw('GET', `/v1/artifacts/${path}/content?path=f`, { headers: { range: 'bytes=0-' } })).status,
    ).toBe(416);
  });

  test('a write that is cut off leaves nothing', async () => {
    const path = await artifact();
    await client().write(path, 'f', Readable.from(['whole']));
    const broken = Readable.from(
      (async function* () {
        yield Buffer.alloc(100_000);
        throw new Error('the disk is gone');
      })(),
    );
    await expect(client().write(path, 'f', broken)).rejects.toThrow('the disk is gone');
    const cut = request({
      socketPath: running.app.socketPath,
      method: 'PUT',
      path: `/v1/artifacts/${path}/content?path=f`,
      headers: { 'content-type': 'application/octet-stream', 'content-length': '1000' },
    });
    cut.on('error', () => undefined);
    await new Promise((sent) => cut.write('part', sent));
    cut.destroy();
    // Another whole write comes after the failed ones: nothing of them is seen in between or after.
    expect(await text(await client().read(path, '', 'f'))).toBe('whole');
    await client().write(path, 'g', Readable.from(['g']));
    expect(await text(await client().read(path, '', 'f'))).toBe('whole');
  });

  test('progress of a write counts its bytes', async () => {
    const path = await artifact();
    const progress: WriteProgress[] = [];
    const chunks = Array.from({ length: 40 }, () => Buffer.alloc(256 << 10, 'x'));
    await client().write(path, 'f', Readable.from(chunks), {}, { onProgress: (p) => progress.push(p) });
    const counts = progress.map(({ bytesDone }) => bytesDone);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(counts.every((n) => n <= 40 * (256 << 10))).toBe(true);
  });

  test.each([
    ['stat', 'NotFound'],
    ['content', 'NotFound'],
  ])('%s of what is missing', async (what, code) => {
    const path = await artifact();
    const answer = await raw('GET', `/v1/artifacts/${path}/${what}?path=none`);
    expect([answer.status, JSON.parse(answer.body).code]).toEqual([404, code]);
  });

  test('files lie where they may in the mount', async () => {
    await client().create({ path: 'shelf', type: 'collection' });
    const put = (where: string, path: string) => failure(client().write(where, path, Readable.from(['x'])));
    expect((await put('', 'loose')).code).toBe('NotPermitted');
    expect((await put('shelf', 'new/file')).details.hint).toBe(
      'create it first: artifactfs create shelf/new',
    );
    expect((await failure(client().mkdir('shelf', 'directory'))).code).toBe('NotPermitted');
    expect((await put(await artifact(), '.artifact/commit')).code).toBe('NotPermitted');
    expect((await client().write('shelf', 'README', Readable.from(['x']))).path).toBe('README');
  });

  test('a directory has no bytes, a version takes none', async () => {
    const path = await artifact({ 'd/f': '1' });
    expect((await failure(client().read(path, '', 'd'))).code).toBe('IsDirectory');
    const answer = await raw('PUT', `/v1/artifacts/${path}/content?path=f&ref=v0`, {
      headers: { 'content-type': 'application/octet-stream' },
      body: 'x',
    });
    expect(answer.status).toBe(400);
  });
});

describe('failures', () => {
  test('every code has a status from 400 on, and comes through a body unchanged', () => {
    for (const [code, status] of Object.entries(httpStatus)) {
      expect(status, code).toBeGreaterThanOrEqual(400);
      const error = errorFromBody({ code, message: 'm', hint: 'h', details: { paths: ['p'] } });
      expect([error.code, error.message, error.details]).toEqual([code, 'm', { hint: 'h', paths: ['p'] }]);
    }
  });

  test.each<[string, string, string, { headers?: Record<string, string>; body?: string }, number, string]>([
    ['a route', 'GET', '/v1/nothing', {}, 404, 'NotFound'],
    ['an option', 'GET', '/v1/artifacts?colection=x', {}, 400, 'Invalid'],
    ['a limit', 'GET', '/v1/artifacts?limit=0', {}, 400, 'Invalid'],
    ['a number', 'GET', '/v1/artifacts?limit=many', {}, 400, 'Invalid'],
    [
      'JSON',
      'POST',
      '/v1/artifacts',
      { headers: { 'content-type': 'application/json' }, body: '{' },
      400,
      'Invalid',
    ],
    [
      'a field',
      'POST',
      '/v1/artifacts',
      { headers: { 'content-type': 'application/json' }, body: '{"x":1}' },
      400,
      'Invalid',
    ],
    [
      'a type',
      'POST',
      '/v1/artifacts',
      { headers: { 'content-type': 'text/xml' }, body: '<x/>' },
      400,
      'Invalid',
    ],
    ['a time', 'POST', '/v1/artifacts/x/directories?path=d&mtime=soon', {}, 400, 'Invalid'],
  ])('%s that is wrong', async (_what, method, path, options, status, code) => {
    const answer = await raw(method, path, options);
    expect([answer.status, JSON.parse(answer.body).code]).toEqual([status, code]);
  });

  test('a body that is too large', async () => {
    const answer = await raw('POST', '/v1/artifacts', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ path: 'x'.repeat(2 << 20) }),
    });
    expect([answer.status, JSON.parse(answer.body).code]).toEqual([413, 'TooLarge']);
  });
});
