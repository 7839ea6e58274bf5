// Several processes that change one tree at random (native-tests/c/fsstress.c); afterwards the tree is sound, the same
// after a remount, and its commit shows the same. ARTIFACTFS_STRESS=N runs N times as many seeds.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { differences, fingerprint } from '../support/fingerprint.js';
import { program } from '../support/programs.js';
import { World } from '../support/world.js';

const fsstress = program('fsstress');
const rounds = Number(process.env['ARTIFACTFS_STRESS'] ?? 1);
const world = new World();
const here = world.machine('here');
const local = join(world.directory, 'local');
const slow = { timeout: 600_000 };

beforeAll(async () => {
  mkdirSync(local);
  await here.mount();
});
afterAll(() => world[Symbol.asyncDispose]());

async function work(directory: string, seed: number, operations = 3000): Promise<void> {
  const args = ['run', String(seed), '4', String(operations), directory];
  const outcome = await here.exec(fsstress, args, { timeoutMs: 500_000 });
  expect(outcome.code, outcome.stderr).toBe(0);
}

/** A line for each name; fails where the tree contradicts itself. */
async function check(directory: string): Promise<string[]> {
  const outcome = await here.exec(fsstress, ['check', directory], { timeoutMs: 200_000 });
  expect(outcome.stderr).toBe('');
  expect(outcome.code).toBe(0);
  return outcome.stdout.split('\n');
}

async function newestVersion(tree: string): Promise<string> {
  const versions = join(tree, '.artifact/versions');
  return join(versions, (await here.sh(`ls -v '${versions}' | tail -n 1`)).trim());
}

async function commitWhatIsLeft(tree: string): Promise<void> {
  const outcome = await here.try(`echo last > '${tree}/.artifact/commit'`);
  const why = outcome.code === 0 ? '' : await here.sh(`cat '${tree}/.artifact/last-error'`);
  if (outcome.code !== 0) expect(why).toContain('NothingStaged');
}

test('the local disk holds what the test demands', slow, async () => {
  await work(local, 1);
  await check(local);
});

for (let seed = 1; seed <= 2 * rounds; seed++) {
  describe(`seed ${seed}`, () => {
    const name = `tree-${seed}`;
    const tree = here.path(name);
    let shown: string[] = [];

    test('no operation fails without a reason', slow, async () => {
      mkdirSync(tree);
      await work(tree, seed);
    });

    test('links, inode numbers and listings agree', slow, async () => {
      shown = await check(tree);
      expect(shown.length).toBeGreaterThan(20);
    });

    test('a remount shows the same, inode numbers included', slow, async () => {
      const before = fingerprint(tree);
      await here.unmount();
      await here.mount();
      expect(differences(before, fingerprint(tree))).toEqual([]);
      expect(differences(shown, await check(tree))).toEqual([]);
    });

    test('a commit shows the same, in the working view and in the version', slow, async () => {
      const before = fingerprint(tree);
      await here.sh(`echo one > "$MNT/${name}/.artifact/commit"`);
      expect(differences(before, fingerprint(tree))).toEqual([]);
      expect(differences(shown, await check(tree))).toEqual([]);
      const version = await newestVersion(tree);
      expect(differences(before, fingerprint(version))).toEqual([]);
      await check(version);
    });

    test('work on the committed tree is sound, and another machine sees its commit', slow, async () => {
      await work(tree, seed + 1000, 1500);
      shown = await check(tree);
      await here.sh(`echo two > "$MNT/${name}/.artifact/commit"`);
      const before = fingerprint(tree);
      expect(differences(shown, await check(tree))).toEqual([]);
      const there = world.machine(`there-${seed}`);
      await there.mount();
      expect(differences(before, fingerprint(there.path(name)))).toEqual([]);
      await check(there.path(name));
      await there.unmount();
    });

    test('work while commits go on is sound', slow, async () => {
      let over = false;
      let commits = 0;
      const committing = (async () => {
        while (!over) {
          const outcome = await here.try(`echo during > "$MNT/${name}/.artifact/commit"`);
          if (outcome.code === 0) commits++;
        }
      })();
      try {
        // On a slow machine there is more work, until some commits were during it.
        for (let part = 0; part === 0 || commits < 3; part++) await work(tree, seed + 2000 + 100 * part);
      } finally {
        over = true;
        await committing;
      }
      shown = await check(tree);
      const before = fingerprint(tree);
      await commitWhatIsLeft(tree);
      expect(differences(before, fingerprint(tree))).toEqual([]);
      expect(differences(before, fingerprint(await newestVersion(tree)))).toEqual([]);
      expect(differences(shown, await check(tree))).toEqual([]);
      await here.unmount();
      await here.mount();
      expect(differences(before, fingerprint(tree))).toEqual([]);
    });
  });
}
