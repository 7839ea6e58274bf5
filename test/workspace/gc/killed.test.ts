import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ObjectStore } from '../../../src/store/object-store.js';
import { openStore } from '../../../src/store/open-store.js';
import type { Finding } from '../../../src/workspace/fsck/findings.js';
import { fsck } from '../../../src/workspace/fsck/fsck.js';
import { collectGarbage } from '../../../src/workspace/gc/collect-garbage.js';
import { Workspace } from '../../../src/workspace/workspace.js';
import { openMachine, removeTemporaryDirectories, Shell, shellOf } from '../../artifacts/support/daemon.js';

const loader = new URL('../../support/typescript-loader.mjs', import.meta.url).href;
const child = fileURLToPath(new URL('gc-child.ts', import.meta.url));

let directory: string;
let store: ObjectStore;

/** Artifacts `m` and `n` of two versions each, of which the retention keeps one. */
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'artifactfs-gc-killed-'));
  store = await openStore(pathToFileURL(directory).href, { create: true });
  const machine = await openMachine({ store });
  for (const name of ['m', 'n']) {
    const shell = new Shell(machine.artifacts.create(machine.artifacts.root, name));
    shell.artifact.setManifest({ retention: { keepLast: 1 } });
    for (const text of ['old', `new in ${name}`]) {
      await shell.put('f', text);
      await shell.commit();
    }
  }
  await machine.close();
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
  removeTemporaryDirectories();
});

async function collectAndDie(crashAt: string): Promise<void> {
  const args = ['--import', loader, child, pathToFileURL(directory).href];
  const env = { ...process.env, ARTIFACTFS_CRASH_AT: crashAt };
  const [, signal] = await once(spawn(process.execPath, args, { stdio: 'inherit', env }), 'exit');
  expect(signal).toBe('SIGKILL');
}

async function collect() {
  const options = { paths: [], graceMs: 0, deadAfterMs: 1e12, dryRun: false };
  const { artifacts, failures } = await collectGarbage(await Workspace.open(store), options);
  expect(failures).toEqual([]);
  return artifacts.map(({ path, freed }) => [path, freed.objects]);
}

/** What is unreachable is no damage. */
async function damage(): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const one of fsck(store)) if (one.severity !== 'info') found.push(one);
  return found;
}

/** What is left to do for the next: the pack and the tree of a version in each artifact. */
test.each([
  ['before anything is deleted', 'gc-appended:2', { m: 2, n: 2 }],
  ['before the first objects are deleted', 'gc-batch:1', { m: 2, n: 2 }],
  ['when one artifact is done', 'gc-batch:2', { m: 0, n: 2 }],
])('who is killed %s leaves a sound store, and the next one finishes', async (_, crashAt, left) => {
  await collectAndDie(crashAt);
  expect(await damage()).toEqual([]);
  expect(await collect()).toEqual([
    ['', 0],
    ['m', left.m],
    ['n', left.n],
  ]);
  expect(await damage()).toEqual([]);
  expect((await collect()).map(([, objects]) => objects)).toEqual([0, 0, 0]);
  const machine = await openMachine({ store });
  for (const name of ['m', 'n']) {
    const shell = await shellOf(machine, name);
    expect(await shell.read('f')).toBe(`new in ${name}`);
    expect(shell.artifact.versions().filter(({ expired }) => !expired)).toHaveLength(1);
  }
  await machine.close();
});
