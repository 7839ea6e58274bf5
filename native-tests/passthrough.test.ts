// FUSE_PASSTHROUGH: files of versions that are wholly in the disk cache are read by the kernel itself.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ordinaryUser } from './support/ordinary-user.js';
import { Requests } from './support/requests.js';
import { type Machine, World } from './support/world.js';

const MiB = 1 << 20;
const sizeBytes = 5 * MiB + 12_345;
const name = 'm@v0/large';
let world: World;

beforeEach(() => {
  world = new World();
});
afterEach(() => world[Symbol.asyncDispose]());

/** A machine with one committed large file, read once. */
async function machineWithFile(
  flags: readonly string[] = ['--write-cache=false'],
  in_ = world,
): Promise<Machine> {
  const machine = in_.machine();
  await machine.mount(...flags);
  await machine.sh(
    `mkdir "$MNT/m"; head -c ${sizeBytes} /dev/urandom > "$MNT/m/large"; sha256sum < "$MNT/m/large" > "$TMP/sum"
     echo first > "$MNT/m/.artifact/commit"; cat "$MNT/${name}" > /dev/null`,
  );
  return machine;
}

const dropPages = (): void => {
  execFileSync('sh', ['-c', 'echo 1 > /proc/sys/vm/drop_caches']);
};

/** READ requests of the daemon while all of a file is read, with no page of it cached. */
async function readsOf(machine: Machine, path = name): Promise<number> {
  const requests = new Requests(machine, { writeCache: false });
  dropPages();
  const { read = 0 } = await requests.of(`sha256sum < "$MNT/${path}" | cmp - "$TMP/sum"`);
  return read;
}

/** Reads until the file has been verified in the background, after which no READ comes. */
async function untilPassed(machine: Machine): Promise<void> {
  await expect.poll(() => readsOf(machine), { timeout: 60_000 }).toBe(0);
}

async function counter(machine: Machine, which: string): Promise<number> {
  const text = await machine.sh('cat "$MNT/.artifactfs/stats"');
  return (JSON.parse(text) as { counters: Record<string, number> }).counters[which] ?? 0;
}

/** The cached bytes of the large file. */
async function cachedFile(machine: Machine): Promise<string> {
  const ready = machine.output.split('\n').find((line) => line.includes('"msg":"ready"')) ?? '{}';
  const directory = join((JSON.parse(ready) as { state: string }).state, 'cache');
  const found = readdirSync(directory)
    .map((file) => join(directory, file))
    .find((path) => path.endsWith('.data') && statSync(path).size === sizeBytes);
  if (found === undefined) throw new Error('the file is not cached');
  return found;
}

test('a whole cached file of a version is read without the daemon, by every name and by mapping', async () => {
  const machine = await machineWithFile();
  await untilPassed(machine);
  expect(await readsOf(machine)).toBe(0);
  expect(await readsOf(machine, 'm/.artifact/versions/v0/large')).toBe(0);
  expect(await readsOf(machine, 'm@latest/large')).toBe(0);
  const mapped = `python3 -c "
import hashlib, mmap, os
with open(os.environ['MNT'] + '/${name}', 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
print(hashlib.sha256(m).hexdigest() + '  -')" | cmp - "$TMP/sum"`;
  const requests = new Requests(machine, { writeCache: false });
  dropPages();
  expect((await requests.of(mapped))['read']).toBeUndefined();
  // Its end is where the file ends, and attributes are the version's.
  expect(await machine.sh(`stat -c '%s %a' "$MNT/${name}"; tail -c 3 "$MNT/${name}" | wc -c`)).toBe(
    `${sizeBytes} 644\n3\n`,
  );
  expect((await machine.try(`echo x >> "$MNT/${name}"`)).stderr).toContain('Read-only file system');
});

test('programs read, copy and run such files as others', async () => {
  const machine = await machineWithFile();
  await machine.sh('cp "$(command -v node)" "$MNT/m/node"; echo second > "$MNT/m/.artifact/commit"');
  await untilPassed(machine);
  const sum = '| sha256sum | cmp - "$TMP/sum"';
  const requests = new Requests(machine, { writeCache: false });
  dropPages();
  const { read } = await requests.of(
    `cd "$MNT/m@v0"; dd if=large bs=1M iflag=direct status=none ${sum}
     cp large "$TMP/copy"; cmp large "$TMP/copy"
     cp --reflink=never --sparse=never large "$MNT/m/copy"
     dd if=large bs=4k skip=300 count=50 status=none | cmp - <(dd if="$TMP/copy" bs=4k skip=300 count=50 status=none)
     python3 -c "
import os
fd = os.open('large', os.O_RDONLY)
out = os.open(os.environ['TMP'] + '/sent', os.O_WRONLY | os.O_CREAT)
while os.sendfile(out, fd, None, 1 << 20): pass
assert os.lseek(fd, 0, os.SEEK_HOLE) == ${sizeBytes}
assert os.pread(fd, 10, ${sizeBytes}) == b''
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
assert len(os.pread(fd, 100, ${sizeBytes - 7})) == 7"
     cmp large "$TMP/sent"`,
  );
  expect(read).toBeUndefined();
  for (let i = 0; i < 3; i++) {
    dropPages();
    expect(await machine.sh(`"$MNT/m@v1/node" -p 6*7`)).toBe('42\n');
  }
});

test('other layers may lie over the mount', async () => {
  const machine = await machineWithFile();
  await untilPassed(machine);
  const merged = join(world.directory, 'merged');
  const upper = join(world.directory, 'upper');
  execFileSync('mkdir', ['-p', upper, join(world.directory, 'work'), merged]);
  const layers = `lowerdir=${machine.path('m@v0')},upperdir=${upper},workdir=${join(world.directory, 'work')}`;
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', layers, merged]);
  try {
    await machine.sh(`sha256sum < ${merged}/large | cmp - "$TMP/sum"; echo x >> ${merged}/large`);
    expect(await readsOf(machine)).toBe(0);
  } finally {
    execFileSync('umount', [merged]);
  }
});

test('the working view is not passed through: a writer may come', async () => {
  const machine = await machineWithFile();
  await untilPassed(machine);
  const before = await readsOf(machine, 'm/large');
  expect(before).toBeGreaterThan(0);
  await machine.sh(`printf changed | dd of="$MNT/m/large" conv=notrunc status=none`);
  expect(await machine.sh(`head -c 7 "$MNT/m/large"`)).toBe('changed');
  expect(await readsOf(machine)).toBe(0);
});

test('a file that is open through the cache stays so for all, until the last has closed it', async () => {
  const machine = await machineWithFile();
  await untilPassed(machine);
  await machine.unmount();
  await machine.mount('--write-cache=false');
  const held = openSync(machine.path(name), 'r'); // not verified yet
  try {
    const other = openSync(machine.path('m/.artifact/versions/v0/large'), 'r');
    for (let i = 0; i < 6; i++) expect(await readsOf(machine)).toBeGreaterThan(0);
    expect(readSync(held, Buffer.alloc(10), 0, 10, 100)).toBe(10);
    expect(readSync(other, Buffer.alloc(10), 0, 10, 100)).toBe(10);
    closeSync(other);
    expect(await readsOf(machine)).toBeGreaterThan(0);
  } finally {
    closeSync(held);
  }
  await untilPassed(machine);
});

test('many open and close it at the same time, while it begins to be passed through', async () => {
  const machine = await machineWithFile();
  await machine.sh(
    `for i in {1..8}; do (for j in {1..40}; do sha256sum < "$MNT/${name}" | cmp - "$TMP/sum"; done) & jobs+=($!); done
     for job in "\${jobs[@]}"; do wait "$job"; done`,
  );
  await untilPassed(machine);
});

test('what is open is not evicted for room, only on demand: who has it open keeps its bytes, and the next open fetches', async () => {
  const machine = await machineWithFile(['--write-cache=false', '--cache-size=64MiB']);
  await untilPassed(machine);
  const expected = (await machine.sh('cat "$TMP/sum"')).slice(0, 64);
  const cached = await cachedFile(machine);
  const held = openSync(machine.path(name), 'r');
  try {
    await machine.sh(
      `for i in 1 2 3; do head -c ${24 * MiB} /dev/urandom > "$MNT/m/other-$i"; done
       echo more > "$MNT/m/.artifact/commit"; cat "$MNT/m@v1/"other-* > /dev/null`,
    );
    expect(existsSync(cached)).toBe(true);
    expect(await machine.artifactfs('cache', 'evict', '--all', '--store', machine.store)).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect(existsSync(cached)).toBe(false);
    dropPages();
    const bytes = Buffer.alloc(sizeBytes + 1);
    let done = 0;
    for (let count = 1; count > 0; done += count)
      count = readSync(held, bytes, done, bytes.length - done, done);
    expect(done).toBe(sizeBytes);
    expect(createHash('sha256').update(bytes.subarray(0, done)).digest('hex')).toBe(expected);
    expect(await readsOf(machine)).toBe(0); // the same node, as it was opened first
  } finally {
    closeSync(held);
  }
  expect(await readsOf(machine)).toBeGreaterThan(0);
});

test('a rotten block is never shown: the file is passed through after it was fetched again', async () => {
  const machine = await machineWithFile();
  await machine.unmount();
  await machine.mount('--write-cache=false');
  const file = await cachedFile(machine);
  const bytes = readFileSync(file);
  bytes[3 * MiB + 7] = (bytes[3 * MiB + 7] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  expect(await readsOf(machine)).toBeGreaterThan(0);
  await untilPassed(machine); // each time comparing the bytes
  expect(await counter(machine, 'cache.badBlocks')).toBe(1);
  expect(await counter(machine, 'store.gets')).toBeGreaterThan(0);
});

test('a cached file that somebody removed is not passed through', async () => {
  const machine = await machineWithFile();
  await untilPassed(machine);
  rmSync(await cachedFile(machine));
  expect(await readsOf(machine)).toBeGreaterThan(0);
});

test('with the write cache the kernel does not do it', async () => {
  const machine = await machineWithFile([]);
  for (let i = 0; i < 4; i++) expect(await readsOf(machine)).toBeGreaterThan(0);
  expect(await counter(machine, 'cache.verifiedObjects')).toBe(0);
  expect(await finding(machine)).toBe('off: it needs --no-write-cache');
});

test('for an ordinary user the kernel does not do it', async () => {
  await using theirs = new World({ user: ordinaryUser() });
  const machine = await machineWithFile(['--write-cache=false'], theirs);
  for (let i = 0; i < 4; i++) expect(await readsOf(machine)).toBeGreaterThan(0);
  expect(await counter(machine, 'cache.verifiedObjects')).toBe(0);
  expect(await finding(machine, '--write-cache=false')).toBe(
    'off: only root may let the kernel read files by itself',
  );
});

test('where the state lies in layers, all is read through the daemon', async () => {
  const machine = world.machine('layered');
  const [upper, work, lower, merged] = ['upper', 'work', 'lower', 'merged'].map((part) =>
    join(world.directory, part),
  );
  const [state] = [join(machine.directory, 'state')];
  execFileSync('mkdir', ['-p', `${upper}`, `${work}`, `${lower}`, `${merged}`]);
  execFileSync('mount', [
    '-t',
    'overlay',
    'overlay',
    '-o',
    `lowerdir=${lower},upperdir=${upper},workdir=${work}`,
    `${merged}`,
  ]);
  try {
    execFileSync('ln', ['-s', `${merged}`, state]);
    await machine.mount('--write-cache=false');
    await machine.sh(
      `mkdir "$MNT/m"; head -c ${sizeBytes} /dev/urandom > "$MNT/m/large"; sha256sum < "$MNT/m/large" > "$TMP/sum"
       echo first > "$MNT/m/.artifact/commit"; cat "$MNT/${name}" > /dev/null`,
    );
    for (let i = 0; i < 6; i++) expect(await readsOf(machine)).toBeGreaterThan(0);
    await machine.stop();
  } finally {
    execFileSync('umount', ['-l', `${merged}`]);
  }
});

test('doctor says that it is on', async () => {
  expect(await finding(world.machine(), '--write-cache=false')).toBe(
    'on, for whole cached files of versions',
  );
});

async function finding(machine: Machine, ...flags: string[]): Promise<string | undefined> {
  const { stdout } = await machine.artifactfs('doctor', '--json', '--store', machine.store, ...flags);
  const { findings } = JSON.parse(stdout) as { findings: readonly { what: string; found: string }[] };
  return findings.find(({ what }) => what === 'passthrough')?.found;
}
