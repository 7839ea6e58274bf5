// kill -9 of the daemon at every named step and at random moments, hundreds of times: nothing that a returned call
// acknowledged is lost, and no version is published in part.
import { spawn } from 'node:child_process';
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CrashWorkload } from './support/crash-workload.js';
import { type Machine, sleep, World } from './support/world.js';

/** With the write cache, and as often without. */
const randomKills = Number(process.env['ARTIFACTFS_CRASH_ROUNDS'] ?? 100);
const killsPerPoint = 2;

/** The workload runs synchronously in this process, so the killer is another one. */
function killLater(pid: number, ms: number): void {
  spawn('/bin/sh', ['-c', `sleep ${(ms / 1000).toFixed(3)}; kill -9 ${pid}`], { stdio: 'ignore' }).unref();
}

async function remountAndVerify(machine: Machine, workload: CrashWorkload, what: string): Promise<void> {
  await machine.kill();
  delete machine.env['ARTIFACTFS_CRASH_AT'];
  await machine.mount();
  try {
    workload.verify();
  } catch (error) {
    throw new Error(`after ${what}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

async function verifyElsewhere(world: World, workload: CrashWorkload): Promise<void> {
  const elsewhere = world.machine('elsewhere');
  await elsewhere.mount();
  const there = new CrashWorkload(elsewhere.path('w'), 0);
  there.versions.push(...workload.versions);
  there.verifyAllVersions();
}

test.each(['on', 'off'])(
  'kill -9 at random moments, with the write cache %s',
  async (writeCache) => {
    await using world = new World();
    const machine = world.machine('m', { ARTIFACTFS_WRITE_CACHE: writeCache });
    const seed = Number(process.env['ARTIFACTFS_CRASH_SEED'] ?? 1);
    const workload = new CrashWorkload(machine.path('w'), seed, writeCache === 'on');
    let cut = 0;
    await machine.mount();
    // It proves something only if work was really cut off again and again: on a slow machine more of them.
    const proven = (): boolean => cut > randomKills / 2 && workload.commits > randomKills / 10;
    for (let round = 0; round < randomKills || (!proven() && round < 4 * randomKills); round++) {
      // Where that many were not enough, the next ones have longer until they are killed.
      const times = 1 + Math.floor(round / randomKills);
      killLater(machine.pid, times * (2 + ((round * 7919) % 331)));
      const before = workload.acknowledged;
      workload.runUntilKilled();
      if (workload.acknowledged > before) cut++;
      await remountAndVerify(machine, workload, `random kill ${round} (seed ${seed})`);
    }
    workload.verifyAllVersions();
    await verifyElsewhere(world, workload);
    console.log(
      `${randomKills} random kills: ${workload.acknowledged} operations acknowledged, ${workload.commits} commits`,
    );
    expect(cut).toBeGreaterThan(randomKills / 2);
    expect(workload.commits).toBeGreaterThan(randomKills / 10);
  },
  2_400_000,
);

test('kill -9 at every named step of staging, upload and commit', async () => {
  await using world = new World();
  const machine = world.machine();
  const workload = new CrashWorkload(machine.path('w'), 42);
  const log = join(world.directory, 'points');
  machine.env['ARTIFACTFS_CRASH_LOG'] = log;
  await machine.mount();
  workload.runOfEverything();
  await machine.kill('SIGTERM');
  delete machine.env['ARTIFACTFS_CRASH_LOG'];
  const points = [...new Set(readFileSync(log, 'utf8').trim().split('\n'))].sort();
  expect(points.length).toBeGreaterThanOrEqual(20);
  const killedAt = new Map<string, number>();
  for (const point of points) {
    for (let nth = 1; nth <= killsPerPoint; nth++) {
      await machine.kill();
      machine.env['ARTIFACTFS_CRASH_AT'] = `${point}:${nth}`;
      await machine.mount().catch(() => undefined); // a point of the start-up itself kills it there
      workload.runOfEverything();
      // The first time must kill; the second is left out by work that passes the step once.
      if (nth === 1) await expect.poll(() => machine.running, { message: point }).toBe(false);
      else await sleep(30);
      if (!machine.running) killedAt.set(point, (killedAt.get(point) ?? 0) + 1);
      await remountAndVerify(machine, workload, `kill at ${point}:${nth}`);
    }
  }
  workload.verifyAllVersions();
  await verifyElsewhere(world, workload);
  console.log(
    `kills at ${points.length} steps: ${[...killedAt].map(([point, n]) => `${point} ${n}`).join(', ')}`,
  );
  expect([...killedAt.keys()].sort()).toEqual(points);
}, 2_400_000);

// A thread that waits for its own process's answer does not die, and held the mount and all who used it.
test('regression: a daemon that is killed while it has the kernel send what it keeps ends, and its mount with it', async () => {
  await using world = new World();
  const machine = world.machine('m', { ARTIFACTFS_CRASH_AT: 'stage-synced:1' });
  await machine.mount();
  mkdirSync(machine.path('w'));
  const file = openSync(machine.path('w', 'kept'), 'w');
  writeSync(file, 'by the kernel');
  const outcome = await machine.try(`echo first > '${machine.path('w')}/.artifact/commit'`, {
    timeoutMs: 30_000,
  });
  expect(outcome.code).toBe(1);
  expect(() => fsyncSync(file)).toThrow();
  closeSync(file);
  await machine.kill();
  delete machine.env['ARTIFACTFS_CRASH_AT'];
  await machine.mount();
  expect(readdirSync(machine.path('w'))).toEqual(['kept']);
}, 120_000);
