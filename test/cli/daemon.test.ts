import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type App, startApp } from '../../src/app/start.js';
import { loadConfig } from '../../src/config/load.js';
import { startS3Server } from '../support/s3-server/server.js';
import { compile, compileMsMax, Home } from './compiled.js';

beforeAll(compile, compileMsMax);

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

/** A daemon of this home that has no mount; it is registered as one with a mount is. */
async function daemon(store: string, flags: Record<string, unknown> = {}): Promise<App> {
  const all = { store: home.path(store), 'log-level': 'silent', ...flags };
  const { config } = loadConfig({ flags: all, env: home.env, cwd: home.directory });
  return startApp(config, { env: home.env });
}

describe('a running daemon', () => {
  test('is found by its store, or because it is the only one', async () => {
    await using app = await daemon('one');
    expect((await home.run('create', 'm', '--store', home.path('one'))).code).toBe(0);
    expect((await home.run('ls')).stdout).toBe('m (new)\n');
    const { daemons } = JSON.parse((await home.run('status', '--json')).stdout);
    expect(daemons).toHaveLength(1);
    expect(daemons[0]).toMatchObject({ pid: process.pid, stateDirectory: app.stateDirectory, staged: ['m'] });
    await using second = await daemon('two');
    expect(second.socketPath).not.toBe(app.socketPath);
    const ambiguous = await home.run('ls');
    expect(ambiguous.code).toBe(2);
    expect(ambiguous.stderr).toMatch(/2 workspaces.*\n.*one\n.*two\nhint: .*--store/);
    expect((await home.run('ls', '--store', home.path('two'))).stdout).toBe('');
  });

  test('is found under another spelling of its store, too', async () => {
    await using app = await daemon('one');
    expect(app.mountPoint).toBeNull();
    writeFileSync(home.path('link-target'), '');
    const outcome = await home.shell(`ln -s one other && $A create m --store ${home.path('other')} && $A ls`);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout).toContain('m (new)');
  });

  test('leaves nothing behind that would be taken for one', async () => {
    await (await daemon('one'))[Symbol.asyncDispose]();
    expect(JSON.parse((await home.run('status', '--json')).stdout)).toEqual({ daemons: [] });
  });
});

describe('Ctrl-C during a commit', () => {
  test('cancels it, keeps the stage and says so', async () => {
    const s3 = await startS3Server();
    const credentials = { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey };
    Object.assign(home.env, credentials, {
      ARTIFACTFS_STORE: `s3://${s3.bucket}/w`,
      ARTIFACTFS_ENDPOINT: s3.endpoint,
    });
    try {
      writeFileSync(home.path('f'), 'bytes');
      expect(await home.run('put', 'f', 'm/')).toMatchObject({ code: 0 });
      await s3.control.resetCounters();
      await s3.control.addFault({ on: 'PutObject', key: '/d/', effect: { kind: 'stall' } });
      const child = home.start('commit', 'm', '-m', 'never');
      const said = text(child.stderr ?? process.stdin);
      const ended = once(child, 'exit');
      while (((await s3.control.counters()).operations.PutObject?.requests ?? 0) === 0) {
        await new Promise((again) => setTimeout(again, 20));
      }
      child.kill('SIGINT');
      const [code] = await ended;
      expect(await said).toMatch(
        /cancelling.*\nartifactfs: commit cancelled: nothing was published, the stage is as it was\n/,
      );
      expect(code).toBe(130);
      await s3.control.clearFaults();
      expect((await home.run('status', 'm')).stdout).toMatch(/never committed, 1 path staged/);
      expect((await home.run('commit', 'm', '-m', 'now')).stdout).toBe('v0  1 added\n');
    } finally {
      await s3.close();
    }
  });
});
