// The memory budget holds however many read and write at the same time: with a budget that is given, and in a control
// group that would kill the daemon for taking more.
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MemoryGroup } from './support/memory-group.js';
import { type Machine, World } from './support/world.js';

const MiB = 1 << 20;
const files = 32;
const fileMiB = 4;
/** The program at rest, and what V8 has not collected yet. */
const programBytesMax = 160 * MiB;
let world: World;

beforeEach(() => {
  world = new World();
});
afterEach(() => world[Symbol.asyncDispose]());

/** An artifact with many large files in the store. Machines that come later know none of their bytes. */
async function fillStore(): Promise<void> {
  const first = world.machine();
  await first.mount();
  await first.sh(
    `mkdir "$MNT/a"; head -c ${fileMiB * MiB} /dev/urandom > "${world.directory}/bytes"
     for i in $(seq ${files}); do cp "${world.directory}/bytes" "$MNT/a/f$i"; done
     echo first > "$MNT/a/.artifact/commit"`,
    { timeoutMs: 300_000 },
  );
  expect((await first.unmount()).code).toBe(0);
}

/** Many times the budget, by as many readers and as many writers at the same time; then what was written is read. */
async function readAndWriteAll(machine: Machine): Promise<void> {
  await machine.sh(
    `bytes="${world.directory}/bytes"; jobs=()
     for i in $(seq ${files}); do
       cmp "$bytes" "$MNT/a/f$i" & jobs+=($!)
       dd if="$bytes" of="$MNT/a/g$i" bs=1M status=none & jobs+=($!)
     done
     for job in "\${jobs[@]}"; do wait "$job"; done
     sync; echo 1 > /proc/sys/vm/drop_caches || true
     for i in $(seq ${files}); do cmp "$bytes" "$MNT/a/g$i"; done
     echo second > "$MNT/a/.artifact/commit"`,
    { timeoutMs: 300_000 },
  );
}

interface Shares {
  readonly memory: {
    readonly budgetBytes: number;
    readonly shares: readonly { name: string; bytes: number; bytesMax: number }[];
  };
}

async function statsOf(machine: Machine): Promise<Shares> {
  return JSON.parse(await machine.sh('cat "$MNT/.artifactfs/stats"'));
}

function peakBytes(pid: number): number {
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kibibytes) * 1024;
}

test('64 readers and writers of 256 MiB leave a budget of 64 MiB standing', async () => {
  await fillStore();
  const machine = world.machine();
  await machine.mount('--memory=64MiB');
  await readAndWriteAll(machine);
  expect(peakBytes(machine.pid)).toBeLessThan(programBytesMax + 64 * MiB);
  const { budgetBytes, shares } = (await statsOf(machine)).memory;
  expect(budgetBytes).toBe(64 * MiB);
  expect(shares.map(({ name }) => name).sort()).toEqual([
    'blocks',
    'cacheWrites',
    'fetches',
    'requests',
    'uploads',
  ]);
  expect(shares.reduce((sum, { bytesMax }) => sum + bytesMax, 0)).toBeLessThanOrEqual(64 * MiB);
});

test('in a control group of 256 MiB the same work ends with equal bytes, and nobody is killed', async () => {
  using group = MemoryGroup.create(256 * MiB);
  const machine = world.machine('limited');
  // Without rights over control groups the budget is given as it would be found.
  if (group !== null) machine.startedBy = group.command;
  await fillStore();
  await machine.mount(...(group === null ? ['--memory=64MiB'] : []));
  await readAndWriteAll(machine);
  expect((await statsOf(machine)).memory.budgetBytes).toBe(64 * MiB);
  expect(group?.kills ?? 0).toBe(0);
  expect(machine.running).toBe(true);
  expect(peakBytes(machine.pid)).toBeLessThan(programBytesMax + 64 * MiB);
});

test('a budget that is too small to work with is refused with words', async () => {
  const { code, stderr } = await world.machine().artifactfs('mount', '--memory=8MiB', '/nowhere');
  expect(code).toBe(2);
  expect(stderr).toContain('--memory: 8MiB is less than 32MiB');
});
