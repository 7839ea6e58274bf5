// Public tools that check what they read back: fio --verify, dbench, stress-ng's file-system class with --verify. Each
// runs in a local directory first: what fails there is no rule. ARTIFACTFS_STRESS=N makes sizes and times N times as
// large.
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Outcome, World } from '../support/world.js';

const more = Number(process.env['ARTIFACTFS_STRESS'] ?? 1);
const world = new World();
const here = world.machine('here');
const local = join(world.directory, 'local');
const slow = { timeout: 300_000 * more };

beforeAll(async () => {
  for (const tool of ['fio', 'dbench', 'stress-ng']) {
    if (!existsSync(`/usr/bin/${tool}`)) throw new Error(`${tool} is missing: scripts/test installs it`);
  }
  mkdirSync(local);
  await here.mount();
});
afterAll(() => world[Symbol.asyncDispose]());

function shell(script: string): Promise<Outcome> {
  return here.try(script, { timeoutMs: slow.timeout });
}

describe('fio --verify', () => {
  const directory = here.path('fio');
  beforeAll(() => {
    mkdirSync(directory);
  });

  async function fio(name: string, flags: string): Promise<void> {
    const job = `fio --name=${name} --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 --group_reporting --minimal ${flags}`;
    const outcome = await shell(`${job} --directory='${directory}'; rm -f '${directory}/'*`);
    expect(outcome.stderr).toBe('');
    expect(outcome.code, outcome.stdout).toBe(0);
  }

  for (const [engine, direct] of [
    ['psync', 0],
    ['psync', 1],
    ['mmap', 0],
    ['libaio', 1],
  ] as const) {
    for (const order of ['write', 'randwrite']) {
      for (const block of ['4k', '64k', '1m']) {
        const kind = `${engine}${direct === 1 ? ', direct' : ''}, ${order}, ${block}`;
        test(kind, slow, async () => {
          const size = { '4k': 8, '64k': 32, '1m': 64 }[block] ?? 8;
          const depth = engine === 'libaio' ? '--iodepth=16' : '';
          await fio(
            'job',
            `--ioengine=${engine} --direct=${direct} --rw=${order} --bs=${block} --size=${size * more}m ${depth}`,
          );
        });
      }
    }
  }

  test('256 MiB at random places', slow, () =>
    fio('large', `--ioengine=psync --rw=randwrite --bs=256k --size=${256 * more}m`),
  );

  test('four jobs that read and write at random, verified as they go', slow, () =>
    fio(
      'mixed',
      `--ioengine=psync --rw=randrw --bs=4k-128k --size=${16 * more}m --numjobs=4 --verify_backlog=64`,
    ),
  );

  test('blocks written before a commit are verified after it, and after a remount', slow, async () => {
    const job = `fio --name=kept --ioengine=psync --rw=randwrite --bs=64k --size=64m --verify=crc32c --randseed=9 --minimal --directory='${directory}'`;
    expect((await shell(`${job} --do_verify=0`)).code).toBe(0);
    await here.sh(`echo kept > '${directory}/.artifact/commit'`);
    expect((await shell(`${job} --verify_only`)).stderr).toBe('');
    await here.unmount();
    await here.mount();
    const outcome = await shell(`${job} --verify_only`);
    expect(outcome.stderr).toBe('');
    expect(outcome.code).toBe(0);
  });
});

describe('dbench', () => {
  for (const clients of [2, 4]) {
    test(`${clients} clients`, slow, async () => {
      const directory = here.path(`dbench-${clients}`);
      mkdirSync(directory);
      const outcome = await shell(`dbench -t ${8 * more} -D '${directory}' ${clients}`);
      expect(outcome.code, outcome.stdout + outcome.stderr).toBe(0);
      expect(outcome.stdout).not.toMatch(/^\[\d+\].*failed|ERROR/m);
      expect(Number(/Throughput ([\d.]+) MB/.exec(outcome.stdout)?.[1])).toBeGreaterThan(0);
    });
  }
});

describe('stress-ng --verify', () => {
  // The file-system class, without those that mount something or do not use a directory (binderfs, bind-mount, eventfd).
  const stressors =
    'access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fanotify fcntl fiemap file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io iomix ioprio lease link locka lockf lockofd mknod open procfs rename symlink sync-file touch utime verity xattr';
  const artifact = here.path('stress-ng');
  beforeAll(() => {
    mkdirSync(artifact);
  });

  // `io` syncs every mount of the machine, also those of others, with what went wrong there: it gets a view of its own.
  // Here an error may wait for who syncs next, from a program that an earlier stressor killed (doc/SEMANTICS.md, K17).
  const alone = `grep ' fuse' /proc/mounts | cut -d ' ' -f 2 | grep -vFx "$MNT" | xargs -r umount -l`;

  /** What it complained of. */
  async function complaints(stressor: string, directory: string): Promise<string[]> {
    mkdirSync(directory);
    const work = `stress-ng --${stressor} 1 --timeout ${more}s --verify --temp-path '${directory}' 2>&1`;
    const script =
      stressor === 'io'
        ? `unshare --mount bash <<'END'\n${alone}\nsync -f '${artifact}' || true\n${work}\nEND`
        : work;
    const outcome = await shell(script);
    rmSync(directory, { recursive: true, force: true });
    const lines = outcome.stdout.split('\n').filter((line) => /fail:|error:/.test(line));
    return outcome.code === 0 ? lines : [...lines, `exit ${outcome.code}`];
  }

  for (const stressor of stressors.split(' ')) {
    test(stressor, slow, async () => {
      expect(await complaints(stressor, join(local, stressor))).toEqual([]);
      expect(await complaints(stressor, join(artifact, stressor))).toEqual([]);
    });
  }
});
