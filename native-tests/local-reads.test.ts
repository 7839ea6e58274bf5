// Reads of what is on this machine: staged files and the disk cache, sent by the addon with every checksum verified.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Machine, World } from './support/world.js';

const MiB = 1 << 20;
// Its last piece is no multiple of anything.
const sizeBytes = 6 * MiB + 33 * 1024 + 777;
let world: World;

beforeEach(() => {
  world = new World();
});
afterEach(() => world[Symbol.asyncDispose]());

const dropPages = (): void => {
  execFileSync('sh', ['-c', 'sync; echo 1 > /proc/sys/vm/drop_caches']);
};

/** Reads pieces of every size at any place, sequentially and not, and all of it by several readers; compares with a copy. */
const compare = (path: string): string => `python3 - "${path}" <<'E'
import mmap, os, random, sys, threading
a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(os.environ['TMP'] + '/copy', os.O_RDONLY)
size = os.fstat(b).st_size
assert os.fstat(a).st_size == size
random.seed(7)
def piece(at, n):
    assert os.pread(a, n, at) == os.pread(b, n, at), (at, n)
for _ in range(300):
    piece(random.randrange(size), random.choice([1, 100, 4096, 32768, 65535, 65536, 300000, 1 << 20]))
for at in (0, size - 1, size - 777, size - 32768 - 777, 32767, 262143):
    piece(at, 2)
assert os.pread(a, 10, size) == b''
whole = os.pread(b, size, 0)
wrong = []
def read_all():
    with open(sys.argv[1], 'rb', 0) as f:
        if b''.join(iter(lambda: f.read(1 << 20), b'')) != whole: wrong.append(1)
threads = [threading.Thread(target=read_all) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert not wrong
E`;

async function counter(machine: Machine, which: string): Promise<number> {
  const text = await machine.sh('cat "$MNT/.artifactfs/stats"');
  return (JSON.parse(text) as { counters: Record<string, number> }).counters[which] ?? 0;
}

/** A committed file that is in the disk cache, of which the kernel has no page. */
async function cachedFile(...flags: string[]): Promise<Machine> {
  const machine = world.machine();
  await machine.mount(...flags);
  await machine.sh(`head -c ${sizeBytes} /dev/urandom > "$TMP/copy"; mkdir "$MNT/m"; cp "$TMP/copy" "$MNT/m/f"
    echo first > "$MNT/m/.artifact/commit"; cat "$MNT/m@v0/f" > /dev/null`);
  dropPages();
  return machine;
}

/** The file of the disk cache that has the bytes. */
function cacheFile(machine: Machine): string {
  const ready = machine.output.split('\n').find((line) => line.includes('"msg":"ready"')) ?? '{}';
  const directory = join((JSON.parse(ready) as { state: string }).state, 'cache');
  const found = readdirSync(directory).filter((file) => file.endsWith('.data'));
  if (found.length !== 1) throw new Error(`${found.length} objects are cached`);
  return join(directory, found[0] ?? '');
}

test('a staged file is read while it is written, and after, from the page cache and from the disk', async () => {
  const machine = world.machine();
  await machine.mount();
  await machine.sh(`head -c ${sizeBytes} /dev/urandom > "$TMP/copy"; mkdir "$MNT/m"
    dd if="$TMP/copy" of="$MNT/m/f" bs=1M conv=fsync status=none`);
  await machine.sh(compare(machine.path('m/f')));
  dropPages();
  await machine.sh(compare(machine.path('m/f')));
  // Over what is there, by every size of a write, through the page cache that holds it and without.
  await machine.sh(`python3 - <<'E'
import os, random
random.seed(3)
a, b = (os.open(p, os.O_RDWR) for p in (os.environ['MNT'] + '/m/f', os.environ['TMP'] + '/copy'))
size = os.fstat(b).st_size
for i in range(60):
    n = random.choice([1, 5000, 70000, 400000])
    at = random.randrange(size - n)
    data = random.randbytes(n)
    for f in (a, b): os.pwrite(f, data, at)
    if i % 10 == 0: os.fsync(a)
    if i % 3 == 0: os.posix_fadvise(a, 0, 0, os.POSIX_FADV_DONTNEED)
    at = random.randrange(size - n)
    assert os.pread(a, n, at) == os.pread(b, n, at)
E`);
  dropPages();
  await machine.sh(compare(machine.path('m/f')));
});

test('a cached file is read from the disk cache alone, whatever is asked for', async () => {
  const machine = await cachedFile();
  await machine.unmount();
  await machine.mount();
  await machine.sh(compare(machine.path('m/f')));
  dropPages();
  await machine.sh(compare(machine.path('m/f')));
  expect(await counter(machine, 'store.gets')).toBe(0);
  expect(await counter(machine, 'cache.badBlocks')).toBe(0);
  // The kernel asks for each page once or more often.
  expect(await counter(machine, 'cache.hitBytes')).toBeGreaterThanOrEqual(2 * sizeBytes);
});

test('bytes that rotted in the disk cache are fetched again and never served', async () => {
  const machine = await cachedFile('--write-cache=true');
  const path = cacheFile(machine);
  for (const at of [0, 3 * MiB + 5, sizeBytes - 1]) {
    const data = readFileSync(path);
    data[at] = (data[at] ?? 0) ^ 0x40;
    writeFileSync(path, data);
  }
  dropPages();
  await machine.sh(compare(machine.path('m/f')));
  expect(await counter(machine, 'cache.badBlocks')).toBe(3);
});

test('a file of the disk cache that was cut is fetched again', async () => {
  const machine = await cachedFile('--write-cache=true');
  truncateSync(cacheFile(machine), 2 * MiB + 100);
  dropPages();
  await machine.sh(compare(machine.path('m/f')));
  expect(await counter(machine, 'cache.badBlocks')).toBeGreaterThan(0);
});
