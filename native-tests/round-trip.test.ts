// The main job on real input: this project's own node_modules goes in, is committed, and comes back on a machine that
// has nothing but the store. On files, on the test S3 server, and on a real server when one is named.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { differences, fingerprint } from './support/fingerprint.js';
import { realServer, type S3Store, testServer } from './support/s3.js';
import { World } from './support/world.js';

const modules = join(import.meta.dirname, '..', 'node_modules');

async function roundTrip(store?: S3Store): Promise<void> {
  await using world = new World(store?.options ?? {});
  const m = world.machine();
  await m.mount();
  // A copy, because test runners keep a changing cache in node_modules.
  const source = join(world.directory, 'node_modules');
  await m.sh(`cp -a '${modules}' '${source}' && rm -rf '${source}/.vite'`);
  await m.sh(`mkdir "$MNT/app" && cp -a '${source}' "$MNT/app/"`, { timeoutMs: 240_000 });
  const before = fingerprint(source);
  expect(before.length).toBeGreaterThan(5000);
  await m.sh('echo "all modules" > "$MNT/app/.artifact/commit"', { timeoutMs: 240_000 });
  const status = JSON.parse(await m.sh('cat "$MNT/app/.artifact/status"'));
  expect(status).toMatchObject({ base: 0, stagedCount: 0, bytesToUpload: 0 });
  expect((await m.unmount()).code).toBe(0);
  m.forget();
  expect(existsSync(join(m.directory, 'state'))).toBe(false);
  await m.mount();
  await m.sh(`diff -r --no-dereference '${source}' "$MNT/app/node_modules"`, { timeoutMs: 240_000 });
  expect(differences(before, fingerprint(m.path('app/node_modules')))).toEqual([]);
  expect(differences(before, fingerprint(m.path('app@v0/node_modules')))).toEqual([]);
  expect((await m.unmount()).code).toBe(0);
}

describe('node_modules goes in and comes back', () => {
  test('on the embedded store', () => roundTrip(), 600_000);

  test('on the test S3 server', async () => {
    const store = await testServer();
    try {
      await roundTrip(store);
    } finally {
      await store.close();
    }
  }, 600_000);

  const real = realServer();
  if (real === undefined)
    console.log('no real S3 server is named (ARTIFACTFS_TEST_S3_ENDPOINT): not tested on one');
  else test('on the real S3 server', () => roundTrip(real), 600_000);
});
