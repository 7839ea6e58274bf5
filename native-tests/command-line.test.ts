// The command line around a mount: background daemons, what a path means, and every way to end one.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { driver, type Machine, World } from './support/world.js';

let world: World | undefined;
let machine: Machine | undefined;
afterEach(async () => {
  // Daemons in the background are not the world's children.
  if (machine?.isMounted()) await machine.artifactfs('unmount', '--force', machine.mnt);
  await world?.[Symbol.asyncDispose]();
  world = undefined;
  machine = undefined;
});

function make(): Machine {
  world = new World();
  machine = world.machine();
  return machine;
}

const inBackground = async (m: Machine, ...flags: string[]) => {
  const outcome = await m.artifactfs('mount', '--store', m.store, '--json', ...flags, m.mnt);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  return JSON.parse(outcome.stdout) as { pid: number; mountPoint: string };
};
const daemons = async (m: Machine) =>
  JSON.parse((await m.artifactfs('status', '--json')).stdout).daemons as {
    pid: number;
    mountPoint: string;
  }[];

describe('in the background', () => {
  test('mount returns when the mount can be used, unmount when it is over', async () => {
    const m = make();
    const { pid } = await inBackground(m);
    mkdirSync(m.path('a'));
    writeFileSync(m.path('a/f'), '1');
    expect(await daemons(m)).toMatchObject([{ pid, mountPoint: m.mnt }]);
    expect(await m.artifactfs('unmount', m.mnt)).toMatchObject({ code: 0, stdout: `unmounted ${m.mnt}\n` });
    expect(m.isMounted()).toBe(false);
    expect(await daemons(m)).toEqual([]);
    await inBackground(m);
    expect(readFileSync(m.path('a/f'), 'utf8')).toBe('1');
  });

  test('its log is in the state directory, and the directory of the terminal is free', async () => {
    const m = make();
    const { pid } = await inBackground(m, '--log-level', 'debug');
    const state = join(m.env['XDG_STATE_HOME'] ?? '', 'artifactfs');
    const [workspace] = readdirSync(state).filter((name) => name.length === 36);
    expect(readFileSync(join(state, workspace ?? '', 'daemon.log'), 'utf8')).toMatch(/"msg":"ready"/);
    expect(await m.sh(`readlink /proc/${pid}/cwd`)).toBe('/\n');
  });

  test('an unmount by umount ends the daemon', async () => {
    const m = make();
    await inBackground(m);
    await m.sh('umount "$MNT" || fusermount3 -u "$MNT"');
    await expect.poll(() => daemons(m)).toEqual([]);
  });

  test('a killed daemon is no daemon, and its mount is replaced', async () => {
    const m = make();
    const { pid } = await inBackground(m);
    mkdirSync(m.path('a'));
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => daemons(m)).toEqual([]);
    await inBackground(m);
    expect(existsSync(m.path('a'))).toBe(true);
  });
});

describe('unmount', () => {
  test('refuses while a file is open, and --force does it all the same', async () => {
    const m = make();
    await inBackground(m);
    mkdirSync(m.path('a'));
    writeFileSync(m.path('a/f'), '1');
    const descriptor = openSync(m.path('a/f'), 'r');
    try {
      const refused = await m.artifactfs('unmount', m.mnt);
      expect([refused.code, refused.stderr]).toEqual([
        8,
        expect.stringContaining(`artifactfs unmount --force ${m.mnt}`),
      ]);
      expect(readFileSync(m.path('a/f'), 'utf8')).toBe('1');
      expect((await m.artifactfs('unmount', '--force', m.mnt)).code).toBe(0);
      expect(m.isMounted()).toBe(false);
    } finally {
      // libfuse flushes also what was only read, and nobody is left to take that.
      if (driver === 'kernel') closeSync(descriptor);
      else expect(() => closeSync(descriptor)).toThrow('ENOTCONN');
    }
  });

  test('--force ends a daemon that hangs; without it the user is told', async () => {
    const m = make();
    const { pid } = await inBackground(m);
    process.kill(pid, 'SIGSTOP');
    const silent = await m.artifactfs('status');
    expect([silent.code, silent.stdout]).toEqual([
      0,
      expect.stringContaining(`process ${pid} does not answer`),
    ]);
    expect((await m.artifactfs('unmount', m.mnt)).code).toBe(6);
    expect((await m.artifactfs('unmount', '--force', m.mnt)).code).toBe(0);
    expect(m.isMounted()).toBe(false);
  });
});

describe('a path selects the artifact', () => {
  test('from inside, from beside, absolute, by a symlink, or by its version directory', async () => {
    const m = make();
    await inBackground(m);
    mkdirSync(m.path('a/d/e'), { recursive: true });
    writeFileSync(m.path('a/d/e/f'), '1');
    await m.sh('echo one > "$MNT/a/.artifact/commit"');
    writeFileSync(m.path('a/d/e/f'), '2');
    const from = async (cwd: string, ...args: string[]) => {
      const cli = join(import.meta.dirname, '..', 'dist', 'bin', 'main.js');
      return (await m.exec(process.execPath, [cli, ...args], { cwd })).stdout;
    };
    expect(await from(m.path('a/d'), 'status')).toMatch(/^a: based on v0, 1 path staged/);
    expect(await from(m.path('a/d'), 'ls')).toBe('e/\n');
    expect(await from(m.path('a/d'), 'cat', 'e/f')).toBe('2');
    expect(await from(m.path('a/d'), 'cat', 'a@v0/d/e/f')).toBe('1');
    expect(await from(m.directory, 'cat', 'mnt/a/d/e/f')).toBe('2');
    expect(await from('/', 'cat', m.path('a@v0/d/e/f'))).toBe('1');
    expect(await from('/', 'cat', m.path('a/.artifact/versions/v0/d/e/f'))).toBe('1');
    symlinkSync(m.path('a'), join(m.directory, 'alias'));
    expect(await from(m.directory, 'cat', './alias/d/e/f')).toBe('2');
    writeFileSync(join(m.directory, 'new'), '3');
    await from(m.path('a/d'), 'put', join(m.directory, 'new'), '.');
    expect(readFileSync(m.path('a/d/new'), 'utf8')).toBe('3');
    expect(await from(m.path('a/d'), 'commit', '-m', 'two')).toBe('v1  1 added, 1 changed\n');
    expect(await from(m.mnt, 'log', 'a', '-n', '1')).toContain('two');
  });

  test('what put writes is at once what the mount shows, and the other way round', async () => {
    const m = make();
    await inBackground(m);
    mkdirSync(m.path('a'));
    expect(readdirSync(m.path('a'))).toEqual([]);
    await m.sh(
      `head -c 20000000 /dev/zero | ${process.execPath} ${join(import.meta.dirname, '../dist/bin/main.js')} put - "$MNT/a/big"`,
    );
    expect(readdirSync(m.path('a'))).toEqual(['big']);
    expect(readFileSync(m.path('a/big')).length).toBe(20_000_000);
    writeFileSync(m.path('a/big'), 'short');
    expect((await m.artifactfs('cat', m.path('a/big'))).stdout).toBe('short');
    await m.artifactfs('discard', m.path('a'));
    expect(readdirSync(m.path('a'))).toEqual([]);
  });
});
