// The local disk fills up, on purpose and for real: a small ext4 holds the state of the daemon. As root only, as nobody
// else can make one.
import { execFileSync } from 'node:child_process';
import { mkdirSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Machine, World } from './support/world.js';

const MiB = 1 << 20;
const diskMiB = 192;
const committedMiB = 64;
let world: World;
let disk = '';

beforeEach(() => {
  world = new World();
  disk = join(world.directory, 'disk');
});
afterEach(async () => {
  await world.stop();
  execFileSync('umount', [disk]);
  await world[Symbol.asyncDispose]();
});

/** A machine with its state on a small disk; `mkfs` are more arguments of mkfs.ext4. */
async function smallMachine(...mkfs: string[]): Promise<Machine> {
  const image = join(world.directory, 'disk.img');
  mkdirSync(disk);
  writeFileSync(image, '');
  truncateSync(image, diskMiB * MiB);
  execFileSync('mkfs.ext4', ['-q', '-F', '-m', '0', ...mkfs, image]);
  execFileSync('mount', ['-o', 'loop', image, disk]);
  const machine = world.machine('small', { XDG_STATE_HOME: join(disk, 'state') });
  await machine.mount('--memory=64MiB');
  await machine.sh(
    `mkdir "$MNT/a"; head -c ${committedMiB * MiB} /dev/urandom > "$TMP/bytes"
     cp "$TMP/bytes" "$MNT/a/committed"; echo first > "$MNT/a/.artifact/commit"`,
  );
  return machine;
}

/**
 * Files of 1 MiB, each safe when it is counted, until one is refused; their content is known from their name. Answers how
 * many are safe.
 */
async function fill(machine: Machine, name: string): Promise<number> {
  const output = await machine.sh(
    `i=0
     while head -c ${MiB} "$TMP/bytes" | dd of="$MNT/a/${name}$i" bs=1M iflag=fullblock conv=fsync status=none 2> "$TMP/error"; do
       i=$((i + 1)); [ $i -lt 5000 ]
     done
     grep -q 'No space left on device' "$TMP/error"
     rm -f "$MNT/a/${name}$i"; echo $i`,
    { timeoutMs: 170_000 },
  );
  return Number(output);
}

const freeBytes = (): number => {
  const { bavail, bsize } = statfsSync(disk);
  return bavail * bsize;
};

async function expectSafe(machine: Machine, name: string, first: number, end: number): Promise<void> {
  await machine.sh(
    `for i in $(seq ${first} ${end - 1}); do cmp -n ${MiB} "$TMP/bytes" "$MNT/a/${name}$i"; [ "$(stat -c %s "$MNT/a/${name}$i")" = ${MiB} ]; done
     cmp "$TMP/bytes" "$MNT/a/committed"`,
  );
}

test('the cache gives way, then writes are refused with the reason, and nothing acknowledged is lost', async () => {
  const machine = await smallMachine();
  await machine.sh('cmp "$TMP/bytes" "$MNT/a/committed"');
  const count = await fill(machine, 'large');
  // More than was free besides the cache.
  expect(count).toBeGreaterThan(diskMiB - committedMiB);
  expect(freeBytes()).toBeGreaterThan(MiB);
  expect(await machine.sh('cat "$MNT/a/.artifact/last-error"')).toMatch(
    /local disk is full(.|\n)*commit and discard/,
  );
  // Reads go on, only nothing more is cached.
  await expectSafe(machine, 'large', 0, count);

  // All the room of the databases cannot be taken by names either: it is there for removals.
  const names = await machine.try(
    `target=$(head -c 3000 /dev/zero | tr '\\0' x)
     for i in $(seq 100000); do ln -s "$target" "$MNT/a/link$i"; done`,
    { timeoutMs: 170_000 },
  );
  expect(names.stderr).toContain('No space left on device');
  await machine.sh('rm "$MNT/a/large"[0-9] "$MNT/a/link"*');
  await machine.sh('cp "$MNT/a/large10" "$MNT/a/large8"; cp "$MNT/a/large10" "$MNT/a/large9"');

  // What is committed is in the store: the disk has room again.
  await machine.sh('echo second > "$MNT/a/.artifact/commit"', { timeoutMs: 170_000 });
  await machine.kill();
  await machine.mount('--memory=64MiB');
  await expectSafe(machine, 'large', 8, count);
  await machine.sh(
    `head -c ${32 * MiB} "$TMP/bytes" | dd of="$MNT/a/again" bs=1M iflag=fullblock conv=fsync status=none`,
  );
});

test('regression: no change is refused while cached blocks hold the room, whoever took the rest', async () => {
  const machine = await smallMachine();
  await machine.sh(
    'cmp "$TMP/bytes" "$MNT/a/committed"; for i in 1 2 3 4 5; do echo $i > "$MNT/a/file$i"; done',
  );
  expect(freeBytes()).toBeLessThan((diskMiB - committedMiB) * MiB);
  execFileSync('fallocate', ['-l', String(freeBytes() - MiB), join(disk, 'filler')]);
  await machine.sh(
    `cd "$MNT/a"
     fallocate -l ${committedMiB / 2}MiB reserved
     changes=("mkdir dir" "ln file1 link" "mv file2 moved" "chmod 600 file3" "truncate -s 1000000 file4"
              "dd if=$TMP/bytes of=file5 bs=100000 count=1 status=none" "touch new")
     for change in "\${changes[@]}"; do $change & running+=($!); done
     for each in "\${running[@]}"; do wait $each; done
     [ -d dir ]; grep 1 link; grep 2 moved; [ $(stat -c %a file3) = 600 ]; [ $(stat -c %s file4) = 1000000 ]
     cmp -n 100000 "$TMP/bytes" file5; [ -e new ]; cmp "$TMP/bytes" committed`,
  );
});

test('a disk without inodes, but with room, is a full disk: the cache gives its files up, and the rest is refused', async () => {
  const machine = await smallMachine('-N', '128');
  const filler = join(disk, 'filler');
  mkdirSync(filler);
  // All inodes but those that the cached object has.
  for (let i = 0; statfsSync(disk).ffree > 0; i++) writeFileSync(join(filler, String(i)), '');
  await machine.sh('cmp "$TMP/bytes" "$MNT/a/committed"');
  // A large file has a staging file of its own.
  const count = await fill(machine, 'large');
  expect(freeBytes()).toBeGreaterThan(32 * MiB);
  expect(await machine.sh('cat "$MNT/a/.artifact/last-error"')).toMatch(/No space|disk is full/i);
  await machine.sh('cmp "$TMP/bytes" "$MNT/a/committed"');
  execFileSync('rm', ['-r', filler]);
  await machine.sh('head -c 3000000 "$TMP/bytes" > "$MNT/a/more"; cmp -n 3000000 "$TMP/bytes" "$MNT/a/more"');
  if (count > 0) await expectSafe(machine, 'large', 0, count);
});
