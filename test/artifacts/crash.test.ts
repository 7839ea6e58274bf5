import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { StageDatabase } from '../../src/artifacts/stage-db/stage-database.js';
import {
  openMachine,
  removeTemporaryDirectories,
  Shell,
  shellOf,
  temporaryDirectory,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { crashPoints } from './support/model-steps.js';
import { describeTree, describeVersion } from './support/observe.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

const steps = [...crashPoints, 'linked'];

test('a commit passes through all the named steps, once each', async () => {
  const seen: string[] = [];
  const store = new GatedStore();
  store.atRecord = async (when) => {
    seen.push(when);
  };
  const machine = await openMachine({ store, onStep: (step) => seen.push(step) });
  seen.length = 0;
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', '1');
  await shell.commit();
  // The last two records are the link in the root collection.
  expect(seen.filter((step, i) => seen.indexOf(step) === i).sort()).toEqual([...steps].sort());
  await machine.close();
});

test.each(steps)(
  'killed at "%s": after the restart nothing is lost and nothing is published twice',
  async (at) => {
    const store = new GatedStore();
    let copied: string | null = null;
    let stateDir = '';
    const die = (step: string): boolean => {
      if (step !== at || copied !== null || stateDir === '') return false;
      copied = temporaryDirectory();
      cpSync(stateDir, copied, { recursive: true });
      return true;
    };
    const machine = await openMachine({
      store,
      onStep: (step) => {
        if (die(step)) throw new Error('killed');
      },
    });
    store.atRecord = (when) => (die(when) ? new Promise(() => {}) : Promise.resolve());
    const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
    await shell.mkdir('d');
    await shell.write('d/f', 'first');
    await shell.write('g', 'second');
    await shell.link('g', 'd/h');
    const before = await describeTree(shell.artifact);
    stateDir = machine.stateDir;
    await Promise.race([
      shell.commit().catch(() => {}),
      new Promise<void>((resolve) => {
        const look = () => (copied === null ? setTimeout(look, 5) : resolve());
        look();
      }),
    ]);
    expect(copied).not.toBe(null);
    store.atRecord = () => Promise.resolve();

    const again = await openMachine({ store, stateDir: copied ?? '' });
    await again.artifacts.idle();
    const after = await shellOf(again, 'it');
    expect(await describeTree(after.artifact)).toEqual(before);
    const published = after.artifact.versions().length;
    if (after.artifact.isNew || published === 0) await after.commit('after the restart');
    expect(after.artifact.versions().length).toBe(1);
    expect(after.artifact.isNew).toBe(false);
    expect((await after.artifact.status()).stagedCount).toBe(0);
    const tree = await after.artifact.versionTree(after.artifact.resolveVersion('v0'));
    expect(await describeVersion(after.artifact, tree)).toEqual(before);
    expect(again.artifacts.staged()).toEqual([]);
    expect(readdirSync(join(copied ?? '', 'staging'))).toEqual([]);

    await after.write('later', 'more');
    expect(await after.commit('v1')).toMatchObject({ version: 1, summary: { added: 1 } });
    await again.close();

    const fresh = await openMachine({ store });
    expect(fresh.artifacts.children(fresh.artifacts.root, null, 10)).toEqual(['it']);
    expect(await (await shellOf(fresh, 'it')).read('d/h')).toBe('second');
    await fresh.close();
  },
);

test('regression: who looks right after a restart sees whether the commit that was cut off has happened', async () => {
  const store = new GatedStore();
  let dies = false;
  const machine = await openMachine({
    store,
    onStep: (step) => {
      if (step === 'published' && dies) throw new Error('killed');
    },
  });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', '1');
  await shell.commit();
  await shell.write('f', '2');
  dies = true;
  await expect(shell.commit()).rejects.toThrow('killed');
  await machine.close();

  store.atLog = () => sleep(30);
  const again = await openMachine({ store, stateDir: machine.stateDir });
  const { artifact } = await shellOf(again, 'it');
  expect(artifact.versions().map(({ version }) => version)).toEqual([1, 0]);
  expect(again.artifacts.staged()).toEqual([]);
  await again.close();
});

test('regression: what a restart finishes is the version that was published, also where its base is known', async () => {
  const store = new GatedStore();
  const failing = { next: false };
  const machine = await openMachine({
    store,
    onStep: (step) => {
      if (step === 'published' && failing.next) throw new Error('killed');
    },
  });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'CCC');
  await shell.commit();
  await shell.write('f', 'DCC');
  await shell.commit();
  await shell.write('f', 'ECC');
  failing.next = true;
  await expect(shell.commit()).rejects.toThrow('killed');
  failing.next = false;
  await machine.close();

  const { stateDir } = machine;
  for (const when of ['finished', 'read again']) {
    const again = await openMachine({ store, stateDir });
    await again.artifacts.idle();
    expect(await (await shellOf(again, 'it')).read('f'), when).toBe('ECC');
    await again.close();
  }
});

test('rows that a killed commit left behind are deleted at the next start', async () => {
  const store = new GatedStore();
  let copied = '';
  const machine = await openMachine({
    store,
    onStep: (step) => {
      if (step !== 'retired' || copied !== '') return;
      copied = temporaryDirectory();
      cpSync(machine.stateDir, copied, { recursive: true });
    },
  });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', '1');
  await shell.commit();
  await machine.close();
  const rows = (stateDir: string) => {
    using db = new StageDatabase(join(stateDir, 'stage.db'));
    return db.leftBehind().length;
  };
  expect(rows(machine.stateDir)).toBe(0);
  expect(rows(copied)).toBe(1);

  const again = await openMachine({ store, stateDir: copied });
  await again.artifacts.idle();
  await again.close();
  expect(rows(copied)).toBe(0);
});

test('what was changed while a killed commit ran is on top of its version after the restart', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.mkdir('d');
  await shell.write('d/f', 'sealed');
  await shell.write('gone', 'sealed');
  await shell.commit();
  await shell.write('d/f', 'SEALED');
  await shell.rename('d', 'e');
  let copied = '';
  store.atRecord = (when) => {
    if (when === 'before the record') return Promise.resolve();
    copied = temporaryDirectory();
    cpSync(machine.stateDir, copied, { recursive: true });
    return new Promise(() => {});
  };
  const release = store.hold();
  shell.commit().catch(() => {});
  await store.waiting();
  await shell.write('e/f', ' later', 6);
  await shell.rename('e', 'x');
  await shell.unlink('gone');
  const expected = await describeTree(shell.artifact);
  release();
  while (copied === '') await new Promise((resolve) => setTimeout(resolve, 5));
  store.atRecord = () => Promise.resolve();

  const again = await openMachine({ store, stateDir: copied });
  await again.artifacts.idle();
  const after = await shellOf(again, 'it');
  expect(after.artifact.versions().length).toBe(2);
  expect(await describeTree(after.artifact)).toEqual(expected);
  expect((await after.artifact.status()).staged).toMatchObject([
    { path: 'gone', change: 'removed' },
    { path: 'x', change: 'renamed', from: 'e' },
    { path: 'x/f', change: 'changed', size: 12 },
  ]);
  expect(await after.commit()).toMatchObject({ version: 2 });
  expect(await describeTree(after.artifact)).toEqual(expected);
  await again.close();
});

test('when the store is away at the restart, the stage can be used and its commit is settled later', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'one');
  await shell.commit();
  await shell.write('f', 'two');
  let copied = '';
  store.atRecord = (when) => {
    if (when === 'before the record') return Promise.resolve();
    copied = temporaryDirectory();
    cpSync(machine.stateDir, copied, { recursive: true });
    return new Promise(() => {});
  };
  shell.commit().catch(() => {});
  while (copied === '') await new Promise((resolve) => setTimeout(resolve, 5));
  store.atRecord = () => Promise.resolve();

  store.isGone = true;
  const errors: unknown[] = [];
  const again = await openMachine({ store, stateDir: copied, onError: (error) => errors.push(error) });
  const after = await shellOf(again, 'it');
  expect(await after.read('f')).toBe('two');
  await after.write('g', 'three');
  await again.artifacts.idle();
  expect(errors.length).toBeGreaterThan(0);
  store.isGone = false;
  expect(await after.commit()).toMatchObject({ version: 2, summary: { added: 1, changed: 0 } });
  expect(after.artifact.versions().length).toBe(3);
  await again.close();
});
