// What programs write, with the kernel keeping it for a while and without: commits, listings and other ways to the same
// files see all of it, and the kernel sees what was changed around it.
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Machine, World } from './support/world.js';

describe.each(['on', 'off'])('with the write cache %s', (writeCache) => {
  const world = new World({ env: { ARTIFACTFS_WRITE_CACHE: writeCache } });
  const here = world.machine('here');
  const there = world.machine('there');
  let artifacts = 0;

  beforeAll(async () => {
    await here.mount();
    await there.mount();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  /** A new artifact, mounted here. */
  function artifact(): { name: string; path: (...parts: string[]) => string; commit: () => void } {
    const name = `a${artifacts++}`;
    mkdirSync(here.path(name));
    const path = (...parts: string[]): string => here.path(name, ...parts);
    return { name, path, commit: () => writeFileSync(path('.artifact', 'commit'), 'next\n') };
  }
  const python = (machine: Machine, script: string): Promise<string> =>
    machine.sh(`python3 - <<'PYTHON'\n${script}\nPYTHON`);

  test('requests say which of the two it is', () => {
    const { path } = artifact();
    const writes = (): number =>
      (JSON.parse(readFileSync(here.path('.artifactfs', 'stats'), 'utf8')) as Stats).counters['fuse.write'] ??
      0;
    const file = openSync(path('log'), 'a');
    const before = writes();
    for (let i = 0; i < 1000; i++) writeSync(file, 'a line that is short\n');
    const after = writes();
    closeSync(file);
    if (writeCache === 'on') expect(after - before).toBeLessThan(100);
    else expect(after - before).toBeGreaterThanOrEqual(1000);
    expect(readFileSync(path('log'), 'utf8')).toBe('a line that is short\n'.repeat(1000));
  });

  test('what a killed program wrote has a new mtime, also when the kernel forgot to tell it', async () => {
    const { path } = artifact();
    const long = 981_173_106;
    const name = path('mapped');
    writeFileSync(name, 'x'.repeat(100_000));
    writeFileSync(
      join(here.directory, 'maps.py'),
      `import mmap, os
print('ready', flush=True)
while True:
    file = os.open('${name}', os.O_RDWR)
    os.pwrite(file, b'old', 5000)
    os.close(file)
    os.utime('${name}', (${long}, ${long}))
    file = os.open('${name}', os.O_RDWR)
    memory = mmap.mmap(file, 0)
    os.close(file)
    memory[5000:5003] = b'new'
    memory.close()
`,
    );
    // Killed at any step: mostly while the mapping is closed, which takes longest.
    for (let i = 0; i < 25; i++) {
      await python(
        here,
        `import subprocess, sys, time
program = subprocess.Popen([sys.executable, 'maps.py'], stdout=subprocess.PIPE)
program.stdout.readline()
time.sleep(${0.002 + (i * 0.03) / 25})
program.kill()
program.wait()`,
      );
      writeFileSync('/proc/sys/vm/drop_caches', '2');
      const { mtimeMs } = statSync(name);
      const isNew = readFileSync(name, 'latin1').slice(5000, 5003) === 'new';
      expect(isNew && mtimeMs === long * 1000, `kill ${i}`).toBe(false);
    }
  });

  test('a commit has what was written before it to a file that is open', () => {
    const { path, commit } = artifact();
    const file = openSync(path('open'), 'w');
    writeSync(file, 'first');
    commit();
    expect(readFileSync(path('.artifact/versions/v0/open'), 'utf8')).toBe('first');
    writeSync(file, ' second');
    commit();
    expect(readFileSync(path('.artifact/versions/v1/open'), 'utf8')).toBe('first second');
    expect(readFileSync(path('.artifact/versions/v0/open'), 'utf8')).toBe('first');
    closeSync(file);
    expect(() => commit()).toThrow('ENODATA');
  });

  test('a commit by the command line has it, too', async () => {
    const { path } = artifact();
    const file = openSync(path('open'), 'w');
    writeSync(file, 'x'.repeat(3_000_000));
    expect(await here.artifactfs('commit', '-m', 'open', path())).toMatchObject({ code: 0 });
    expect(statSync(path('.artifact/versions/v0/open')).size).toBe(3_000_000);
    expect(readFileSync(path('.artifact/versions/v0/open'), 'utf8')).toBe('x'.repeat(3_000_000));
    closeSync(file);
  });

  test('a commit has what was written to a shared mapping', async () => {
    const { path } = artifact();
    const out = await python(
      here,
      `import mmap, os
f = os.open('${path('map')}', os.O_RDWR | os.O_CREAT)
os.ftruncate(f, 20000)
m = mmap.mmap(f, 20000)
os.close(f)
for version in range(3):
    m[10000:10005] = b'map-%d' % version
    open('${path('.artifact/commit')}', 'w').write('mapped')
for version in range(3):
    print(open('${path('.artifact/versions')}/v%d/map' % version, 'rb').read()[10000:10005])`,
    );
    expect(out).toBe("b'map-0'\nb'map-1'\nb'map-2'\n");
  });

  test('status and the command line show what was written to an open file', async () => {
    const { path } = artifact();
    const file = openSync(path('open'), 'w');
    writeSync(file, 'x'.repeat(12_345));
    const status = JSON.parse(readFileSync(path('.artifact/status'), 'utf8')) as { staged: unknown[] };
    expect(status.staged).toContainEqual({ path: 'open', change: 'added', kind: 'file', size: 12_345 });
    const cat = await here.artifactfs('cat', path('open'));
    expect(cat.stdout).toBe('x'.repeat(12_345));
    closeSync(file);
  });

  test('the size and the bytes of a file put around the kernel are seen at once', async () => {
    const { path } = artifact();
    writeFileSync(path('file'), 'long enough to be cut');
    expect(readFileSync(path('file'), 'utf8')).toBe('long enough to be cut');
    for (const text of ['short', 'much longer than all that was there before']) {
      const source = join(here.directory, 'tmp', 'source');
      writeFileSync(source, text);
      expect(await here.artifactfs('put', source, path('file'))).toMatchObject({ code: 0 });
      expect(statSync(path('file')).size).toBe(text.length);
      expect(readFileSync(path('file'), 'utf8')).toBe(text);
    }
  });

  test('what is put comes after what an open file was given before', async () => {
    const { path } = artifact();
    const file = openSync(path('file'), 'w');
    writeSync(file, 'old and long text');
    const source = join(here.directory, 'tmp', 'source');
    writeFileSync(source, 'new');
    expect(await here.artifactfs('put', source, path('file'))).toMatchObject({ code: 0 });
    closeSync(file);
    expect(readFileSync(path('file'), 'utf8')).toBe('new');
    expect(statSync(path('file')).size).toBe(3);
  });

  test('a discard leaves nothing of what was written before it', () => {
    const { path, commit } = artifact();
    writeFileSync(path('file'), 'committed');
    commit();
    const file = openSync(path('file'), 'r+');
    writeSync(file, 'something longer than before');
    const other = openSync(path('other'), 'w');
    writeSync(other, 'new');
    writeFileSync(path('.artifact/discard'), '1');
    closeSync(file);
    closeSync(other);
    expect(existsSync(path('other'))).toBe(false);
    expect(statSync(path('file')).size).toBe(9);
    expect(readFileSync(path('file'), 'utf8')).toBe('committed');
    const status = JSON.parse(readFileSync(path('.artifact/status'), 'utf8')) as { staged: unknown[] };
    expect(status.staged).toEqual([]);
  });

  test('a commit of another machine shows its sizes after refresh', () => {
    const { name, path, commit } = artifact();
    writeFileSync(path('file'), 'one');
    commit();
    expect(readFileSync(path('file'), 'utf8')).toBe('one');
    writeFileSync(there.path('.artifactfs/refresh'), '1');
    appendFileSync(there.path(name, 'file'), ' and two');
    writeFileSync(there.path(name, '.artifact/commit'), 'elsewhere');
    writeFileSync(path('.artifact/refresh'), '1');
    expect(statSync(path('file')).size).toBe('one and two'.length);
    expect(readFileSync(path('file'), 'utf8')).toBe('one and two');
  });

  test('a log that is written on stays one file over a commit that was rebased', () => {
    const { name, path, commit } = artifact();
    writeFileSync(path('log'), '');
    commit();
    const log = openSync(path('log'), 'a');
    writeSync(log, '1\n');
    writeFileSync(there.path('.artifactfs/refresh'), '1');
    writeFileSync(there.path(name, 'other'), 'x');
    writeFileSync(there.path(name, '.artifact/commit'), 'elsewhere');
    commit();
    expect(readFileSync(path('other'), 'utf8')).toBe('x');
    for (const [line, all] of [
      ['2\n', '1\n2\n'],
      ['3\n', '1\n2\n3\n'],
    ] as const) {
      writeSync(log, line);
      expect(readFileSync(path('log'), 'utf8')).toBe(all);
    }
    closeSync(log);
    expect(statSync(path('log')).size).toBe(6);
    expect(readFileSync(path('log'), 'utf8')).toBe('1\n2\n3\n');
  });

  test('appends through two handles are all there, in order', () => {
    const { path } = artifact();
    const a = openSync(path('log'), 'a');
    const b = openSync(path('log'), 'a');
    let all = '';
    for (let i = 0; i < 500; i++) {
      writeSync(a, `a${i}\n`);
      writeSync(b, `b${i}\n`);
      all += `a${i}\nb${i}\n`;
    }
    expect(readFileSync(path('log'), 'utf8')).toBe(all);
    closeSync(a);
    closeSync(b);
    expect(readFileSync(path('log'), 'utf8')).toBe(all);
  });

  test('a page that is partly written shows old and new bytes, and truncation cuts both', async () => {
    const { path, commit } = artifact();
    writeFileSync(path('file'), 'o'.repeat(10_000));
    commit();
    await here.unmount();
    await here.mount();
    const file = openSync(path('file'), 'r+');
    writeSync(file, 'NEW', 5000);
    const bytes = Buffer.alloc(9);
    readSync(file, bytes, 0, 9, 4997);
    expect(bytes.toString()).toBe('oooNEWooo');
    ftruncateSync(file, 5001);
    ftruncateSync(file, 6000);
    closeSync(file);
    expect(readFileSync(path('file')).equals(Buffer.from(`${'o'.repeat(5000)}N${'\0'.repeat(999)}`))).toBe(
      true,
    );
    truncateSync(path('file'), 2);
    appendFileSync(path('file'), '!');
    commit();
    expect(readFileSync(path('.artifact/versions/v1/file'), 'utf8')).toBe('oo!');
  });

  test('times that were set stay, and those of writes are the times of the writes', async () => {
    const { path } = artifact();
    const file = openSync(path('set'), 'w');
    writeSync(file, 'x');
    futimesSync(file, 1_000_000_000.5, 1_100_000_000.25);
    closeSync(file);
    writeFileSync(path('written'), 'x');
    const written = statSync(path('written'), { bigint: true });
    const later = openSync(path('later'), 'w');
    writeSync(later, 'x');
    const whenWritten = statSync(path('later'), { bigint: true });
    fsyncSync(later);
    closeSync(later);
    await here.unmount();
    await here.mount();
    const set = statSync(path('set'));
    expect([set.atimeMs, set.mtimeMs]).toEqual([1_000_000_000_500, 1_100_000_000_250]);
    const times = ({ mtimeNs, ctimeNs }: { mtimeNs: bigint; ctimeNs: bigint }) => ({ mtimeNs, ctimeNs });
    expect(times(statSync(path('written'), { bigint: true }))).toEqual(times(written));
    expect(times(statSync(path('later'), { bigint: true }))).toEqual(times(whenWritten));
  });

  test('data that nobody closed yet is no hole', async () => {
    const { path } = artifact();
    const out = await python(
      here,
      `import os
f = os.open('${path('sparse')}', os.O_RDWR | os.O_CREAT)
os.ftruncate(f, 1 << 20)
os.pwrite(f, b'x' * 5000, 409600)
g = os.open('${path('sparse')}', os.O_RDONLY)
data = os.lseek(g, 0, os.SEEK_DATA)
hole = os.lseek(g, data, os.SEEK_HOLE)
print(data <= 409600 and hole >= 414600)`,
    );
    expect(out).toBe('True\n');
    await here.sh(
      `cd '${path()}' && exec 5>s && printf '%70000s' x >&5 && cp --sparse=always s copy && cmp s copy && tar cSf - s | tar xOf - | cmp s -`,
    );
  });

  test('what was written is there after the daemon was killed: since close with the cache, else at once', async () => {
    const { path } = artifact();
    writeFileSync(path('closed'), 'closed');
    const synced = openSync(path('synced'), 'w');
    writeSync(synced, 'synced');
    fsyncSync(synced);
    const open = openSync(path('open'), 'w');
    writeSync(open, 'open');
    await here.kill();
    for (const file of [synced, open]) {
      try {
        closeSync(file);
      } catch {
        // The mount is gone.
      }
    }
    await here.mount();
    expect(readFileSync(path('closed'), 'utf8')).toBe('closed');
    expect(readFileSync(path('synced'), 'utf8')).toBe('synced');
    if (writeCache === 'off') expect(readFileSync(path('open'), 'utf8')).toBe('open');
  });

  test('manifest.json has the size of its text, whoever wrote it', async () => {
    const { path, commit } = artifact();
    const manifest = path('.artifact/manifest.json');
    for (const text of ['{"a":1}', '{"a":{"b":[1,2,3]},"c":"something longer"}', '{}']) {
      writeFileSync(manifest, text);
      const shown = readFileSync(manifest, 'utf8');
      expect(JSON.parse(shown)).toEqual(JSON.parse(text));
      expect(statSync(manifest).size).toBe(shown.length);
    }
    commit();
    writeFileSync(path('.artifact/manifest.json'), '{"staged":"and dropped"}');
    writeFileSync(path('.artifact/discard'), '1');
    expect(statSync(manifest).size).toBe(readFileSync(manifest, 'utf8').length);
  });
});

interface Stats {
  readonly counters: Readonly<Record<string, number>>;
}
