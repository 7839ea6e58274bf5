import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from 'vitest';
import { startApp } from '../../src/app/start.js';
import { loadConfig } from '../../src/config/load.js';
import { ControlClient } from '../../src/http/client.js';
import { openStore } from '../../src/store/open-store.js';
import { failure, removeTemporaryDirectories } from '../artifacts/support/daemon.js';
import { fill } from '../artifacts/support/filled.js';
import { startS3Server } from '../support/s3-server/server.js';

let directory = '';
afterEach(() => {
  removeTemporaryDirectories();
  if (directory !== '') rmSync(directory, { recursive: true, force: true });
});

test('a store without create-if-absent is read, says why it takes nothing, and is not written to', async () => {
  directory = mkdtempSync(join(tmpdir(), 'artifactfs-poor-'));
  const server = await startS3Server({ features: { conditionalWrites: false } });
  try {
    const { endpoint, accessKeyId, secretAccessKey, bucket } = server;
    const url = `s3://${bucket}/poor`;
    const s3 = { endpoint, accessKeyId, secretAccessKey };
    await using store = await openStore(url, { s3 });
    await fill(store);
    const flags = { store: url, 'log-level': 'silent', 'refresh-interval': '0' };
    const { config } = loadConfig({ flags, env: { HOME: directory }, cwd: directory });
    await using app = await startApp({ ...config, ...s3 }, { env: { HOME: directory } });
    using client = new ControlClient(app.socketPath);
    expect(await text(await client.read('model', '', 'labelled'))).toBe('text');
    expect((await failure(client.create({ path: 'other' }))).code).toBe('ReadOnly');
    expect((await client.status(60_000)).readOnly).toContain('no create-if-absent');
    const keys: string[] = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys.filter((key) => !/^(a|format\.json)/.test(key))).toEqual([]);
  } finally {
    await server.close();
  }
});
