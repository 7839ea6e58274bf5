import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type DaemonRecord,
  daemonAt,
  register,
  registryDirectory,
  runningDaemons,
} from '../../src/app/registry.js';
import { StateDirectory } from '../../src/app/state-directory.js';
import { isCode } from '../../src/model/errors.js';

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'artifactfs-state-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const id = '01234567-89ab-4cde-8f01-23456789abcd';
const record = (more: Partial<DaemonRecord> = {}): DaemonRecord => ({
  pid: process.pid,
  startedMs: 1,
  version: '0',
  store: 'file:///x',
  workspaceId: id,
  stateDirectory: join(base, id),
  socketPath: join(base, 's.sock'),
  mountPoint: '/mnt/x',
  transient: false,
  ...more,
});

async function failure(promise: Promise<unknown>) {
  try {
    await promise;
  } catch (error) {
    if (isCode(error, 'Busy', 'AccessDenied', 'NameTooLong')) return error;
    throw error;
  }
  throw new Error('nothing failed');
}

describe('the state directory', () => {
  test('is private, also when it was not before', async () => {
    mkdirSync(join(base, id));
    chmodSync(join(base, id), 0o755);
    await using state = await StateDirectory.open(base, id);
    expect(statSync(state.path).mode & 0o777).toBe(0o700);
  });

  test('is held by one; the second is told by whom and where', async () => {
    await using state = await StateDirectory.open(base, id);
    await state.announce(record());
    const refused = await failure(StateDirectory.open(base, id));
    expect(refused.code).toBe('Busy');
    expect(refused.message).toBe(
      `workspace file:///x is in use by process ${process.pid} and is mounted at /mnt/x`,
    );
    expect(refused.details).toMatchObject({ pid: process.pid, mountPoint: '/mnt/x', transient: false });
  });

  test('of a command that works for a moment is waited for', async () => {
    const first = await StateDirectory.open(base, id);
    await first.announce(record({ transient: true }));
    let opened = false;
    const second = StateDirectory.open(base, id).then((state) => {
      opened = true;
      return state;
    });
    await new Promise((later) => setTimeout(later, 120));
    expect(opened).toBe(false);
    await first[Symbol.asyncDispose]();
    await (await second)[Symbol.asyncDispose]();
  });

  test('is free again when its holder was killed', async () => {
    const loader = join(import.meta.dirname, '../support/typescript-loader.mjs');
    const module = new URL('../../src/app/state-directory.ts', import.meta.url).href;
    const script = `import { StateDirectory } from ${JSON.stringify(module)};
      await StateDirectory.open(${JSON.stringify(base)}, '${id}').then((s) => s.announce(${JSON.stringify(record())}));
      console.log('held'); setInterval(() => {}, 1000);`;
    writeFileSync(join(base, 'holder.mjs'), script);
    const holder = spawn(process.execPath, ['--import', loader, join(base, 'holder.mjs')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(holder, 'exit');
    await once(holder.stdout, 'data');
    expect((await failure(StateDirectory.open(base, id))).code).toBe('Busy');
    holder.kill('SIGKILL');
    await exited;
    await using state = await StateDirectory.open(base, id);
    expect(existsSync(state.path)).toBe(true);
  });

  test('a temporary one goes with its holder', async () => {
    const state = await StateDirectory.open(null, id);
    expect(statSync(state.path).mode & 0o777).toBe(0o700);
    await state[Symbol.asyncDispose]();
    expect(existsSync(state.path)).toBe(false);
  });

  test('with a long path has its socket elsewhere, in a private place', async () => {
    const long = join(base, 'x'.repeat(120));
    await using state = await StateDirectory.open(long, id);
    expect(Buffer.byteLength(state.socketPath)).toBeLessThan(108);
    expect(statSync(join(state.socketPath, '..')).mode & 0o077).toBe(0);
    await using other = await StateDirectory.open(long, id.replace('0', '1'));
    expect(other.socketPath).not.toBe(state.socketPath);
  });

  test('that cannot be made is named', async () => {
    writeFileSync(join(base, 'file'), '');
    const refused = await failure(StateDirectory.open(join(base, 'file'), id));
    expect(refused.code).toBe('AccessDenied');
    expect(refused.message).toContain(join(base, 'file'));
    expect(refused.details.hint).toContain('--state-dir');
  });
});

describe('the registry', () => {
  const env = () => ({ XDG_STATE_HOME: base });

  test('lists who listens, and forgets who does not', async () => {
    const server = createServer().listen(join(base, 's.sock'));
    await once(server, 'listening');
    await register(env(), record());
    await register(env(), record({ stateDirectory: '/other', socketPath: join(base, 'gone.sock') }));
    writeFileSync(join(registryDirectory(env()), 'torn.json'), '{"pid":');
    expect((await runningDaemons(env())).map(({ stateDirectory }) => stateDirectory)).toEqual([
      join(base, id),
    ]);
    await new Promise((closed) => server.close(closed));
    expect(await runningDaemons(env())).toEqual([]);
    expect(await runningDaemons({ XDG_STATE_HOME: join(base, 'none') })).toEqual([]);
  });

  test('finds the innermost mount by text alone', () => {
    const at = (mountPoint: string | null) => record({ mountPoint });
    const daemons = [at('/a'), at('/a/b'), at(null), at('/ab')];
    const found = (path: string) => daemonAt(daemons, path)?.mountPoint;
    expect(found('/a')).toBe('/a');
    expect(found('/a/x/y')).toBe('/a');
    expect(found('/a/b/c')).toBe('/a/b');
    expect(found('/a/bc')).toBe('/a');
    expect(found('/ab/c')).toBe('/ab');
    expect(found('/abc')).toBeUndefined();
    expect(found('/')).toBeUndefined();
  });
});

test('the lock is one that other programs see', async () => {
  await using state = await StateDirectory.open(base, id);
  const script = `const db = new (require('better-sqlite3'))(process.argv[1], { timeout: 0 });
    try { db.exec('BEGIN IMMEDIATE'); console.log('free'); } catch (error) { console.log(error.code); }`;
  const answer = await new Promise<string>((resolve, reject) =>
    execFile(
      process.execPath,
      ['-e', script, join(state.path, 'lock.db')],
      { cwd: import.meta.dirname },
      (error, out) => (error === null ? resolve(out.trim()) : reject(error)),
    ),
  );
  expect(answer).toBe('SQLITE_BUSY');
});
