// What can go wrong around a mount: each has a clear message, and nothing acknowledged is lost.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { driver, sleep, World } from './support/world.js';

let world: World | undefined;
const make = (...args: ConstructorParameters<typeof World>): World => (world = new World(...args));
afterEach(async () => {
  await world?.[Symbol.asyncDispose]();
  world = undefined;
});

describe('mount refuses, naming what is wrong', () => {
  const refusals: [name: string, store: string, message: RegExp][] = [
    ['an unknown scheme', 'ftp://host/x', /ftp.*s3:\/\/|s3:\/\/.*ftp/is],
    ['an endpoint that is down', 's3://bucket/prefix', /127\.0\.0\.1:9.*|bucket/s],
  ];
  for (const [name, store, message] of refusals) {
    test(name, async () => {
      const m = make({
        store,
        env: { AWS_ACCESS_KEY_ID: 'k', AWS_SECRET_ACCESS_KEY: 'hidden-secret' },
      }).machine();
      const outcome = await m.artifactfs(
        'mount',
        '--store',
        store,
        '--endpoint',
        'http://127.0.0.1:9',
        m.mnt,
      );
      expect(outcome.code).toBeGreaterThan(0);
      expect(outcome.stderr).toMatch(message);
      expect(outcome.stderr).not.toContain('hidden-secret');
      expect(outcome.stderr.split('\n').length).toBeLessThan(12);
    });
  }

  test('a mount point that is missing, a file, or not empty', async () => {
    const m = make().machine();
    expect((await m.artifactfs('mount', '--store', m.store, join(m.directory, 'none'))).stderr).toMatch(
      /none/,
    );
    writeFileSync(join(m.directory, 'file'), '');
    expect((await m.artifactfs('mount', '--store', m.store, join(m.directory, 'file'))).stderr).toMatch(
      /director/i,
    );
    mkdirSync(join(m.directory, 'full'));
    writeFileSync(join(m.directory, 'full', 'x'), '');
    expect((await m.artifactfs('mount', '--store', m.store, join(m.directory, 'full'))).stderr).toMatch(
      /empty/i,
    );
  });

  test('a mount point that is mounted already, and a second daemon on the same state', async () => {
    const m = make().machine();
    await m.mount();
    const again = await m.artifactfs('mount', '--store', m.store, m.mnt);
    expect(again.code).toBeGreaterThan(0);
    expect(again.stderr).toMatch(/mounted/i);
    const other = join(m.directory, 'other');
    mkdirSync(other);
    const second = await m.artifactfs('mount', '--store', m.store, other);
    expect(second.code).toBeGreaterThan(0);
    expect(second.stderr).toContain(String(m.pid));
  });

  test('a store written by a newer format', async () => {
    const m = make().machine();
    await m.mount();
    await m.unmount();
    const format = join(world?.directory ?? '', 'store', 'format.json');
    const json = JSON.parse(readFileSync(format, 'utf8'));
    rmSync(format);
    writeFileSync(format, JSON.stringify({ ...json, formatVersion: 99 }));
    const outcome = await m.artifactfs('mount', '--store', m.store, m.mnt);
    expect(outcome.code).toBeGreaterThan(0);
    expect(outcome.stderr).toMatch(/99|newer/);
  });
});

function isShown(directory: string): boolean {
  try {
    return statSync(directory).isDirectory();
  } catch {
    return false;
  }
}

describe('a mount point left behind by a dead daemon', () => {
  test('is recovered by the next mount', async () => {
    const m = make().machine();
    await m.mount();
    mkdirSync(m.path('x'));
    writeFileSync(m.path('x/f'), 'kept');
    await m.kill('SIGKILL', false);
    await m.mount();
    expect(readFileSync(m.path('x/f'), 'utf8')).toBe('kept');
  });

  test('is recovered although the kernel still shows its directory', async () => {
    const m = make().machine();
    await m.mount();
    statSync(m.mnt);
    await m.kill('SIGKILL', false);
    // libfuse lets the kernel keep nothing.
    expect(isShown(m.mnt)).toBe(driver === 'kernel');
    await m.mount();
    mkdirSync(m.path('x'));
  });
});

describe('a torn or foreign object in the store', () => {
  test('in the log: the artifact is refused and named, others go on', async () => {
    const m = make().machine();
    await m.mount();
    for (const name of ['good', 'bad']) {
      mkdirSync(m.path(name));
      writeFileSync(m.path(name, 'f'), name);
      await m.sh(`echo one > "$MNT/${name}/.artifact/commit"`);
    }
    const id = JSON.parse(readFileSync(m.path('bad/.artifact/status'), 'utf8')).artifactId as string;
    await m.unmount();
    m.forget();
    const slot = join(world?.directory ?? '', 'store', 'a', id, 'log', '00000000000000000001.json');
    statSync(slot);
    rmSync(slot);
    writeFileSync(slot, '{"kind":"artifactfs.rec');
    await m.mount();
    expect(readFileSync(m.path('good/f'), 'utf8')).toBe('good');
    const outcome = await m.try('cat "$MNT/bad/f"');
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/Input\/output error/);
    const show = await m.artifactfs('log', '--store', m.store, 'bad');
    expect(show.code).toBeGreaterThan(0);
    expect(show.stderr).toContain('00000000000000000001');
  });
});

describe('the local disk fills up', () => {
  test('the writer gets ENOSPC, the daemon lives, nothing acknowledged is lost', async () => {
    const small = mkdtempSync(join(tmpdir(), 'artifactfs-small-'));
    const w = make();
    const m = w.machine();
    await m.exec('/bin/mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', small]);
    try {
      await m.mount('--state-dir', small);
      mkdirSync(m.path('x'));
      const outcome = await m.try(
        'for i in $(seq 60); do head -c 1000000 /dev/zero | tr "\\0" "$((i % 10))" > "$MNT/x/f$i" || exit 28; echo "f$i" >> "$TMP/ok"; done',
      );
      expect(outcome.code).toBe(28);
      expect(outcome.stderr).toMatch(/No space left/);
      const acknowledged = readFileSync(join(m.directory, 'tmp', 'ok'), 'utf8')
        .trim()
        .split('\n');
      expect(acknowledged.length).toBeGreaterThan(3);
      const verify = (): void => {
        for (const name of acknowledged) {
          const digit = Number(name.slice(1)) % 10;
          expect(readFileSync(m.path('x', name)).equals(Buffer.alloc(1_000_000, String(digit)))).toBe(true);
        }
      };
      verify();
      await m.kill();
      await m.mount('--state-dir', small);
      verify();
      await m.stop();
    } finally {
      await m.stop();
      await m.exec('/bin/umount', ['-l', small]);
      rmSync(small, { recursive: true, force: true });
    }
  });
});

describe('the end of a daemon', () => {
  test('SIGTERM with files open and written: it ends, and a restart has every byte', async () => {
    const m = make().machine();
    await m.mount();
    mkdirSync(m.path('x'));
    const writer = m.try(
      'exec 3> "$MNT/x/open"; head -c 5000000 /dev/zero >&3; touch "$TMP/written"; sleep 30',
    );
    for (;;) {
      if ((await m.try('test -e "$TMP/written"')).code === 0) break;
      await sleep(20);
    }
    await m.kill('SIGTERM');
    await m.mount();
    expect(statSync(m.path('x/open')).size).toBe(5_000_000);
    void writer;
  });

  test('commit while a file is open for writing takes what is written and names the file', async () => {
    const m = make().machine();
    await m.mount();
    mkdirSync(m.path('x'));
    const outcome = await m.sh(`exec 3> "$MNT/x/open"; echo before >&3
      node "${join(import.meta.dirname, '../dist/bin/main.js')}" commit --json -m open "$MNT/x"; echo after >&3`);
    expect(JSON.parse(outcome.trim().split('\n').at(-1) ?? '').openFiles).toEqual(['open']);
    expect(readFileSync(m.path('x@v0/open'), 'utf8')).toBe('before\n');
    expect(readFileSync(m.path('x/open'), 'utf8')).toBe('before\nafter\n');
  });
});
