import { beforeEach, expect, test } from 'vitest';
import { OtherStages } from '../../src/artifacts/others.js';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import { deferred } from '../../src/util/deferred.js';
import { leaseKey } from '../../src/workspace/keys.js';
import { encodeLease } from '../../src/workspace/lease.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { type Machine, Shell, shellOf } from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { machinesOf } from './support/machines.js';

class SlowStore extends GatedStore {
  listing: Promise<void> = Promise.resolve();
  lists = 0;

  override async *list(...args: Parameters<GatedStore['list']>): ReturnType<GatedStore['list']> {
    this.lists++;
    await this.listing;
    yield* super.list(...args);
  }
}

const machines = machinesOf(() => new SlowStore());
let store: SlowStore;
let first: Machine;
let second: Machine;
let one: Shell;
let two: Shell;

/** Two machines with something staged in one artifact at v0, and their leases. */
beforeEach(async () => {
  store = machines.store;
  first = await machines.open();
  one = new Shell(first.artifacts.create(first.artifacts.root, 'm'));
  await one.write('x', 'x of v0');
  await one.commit();
  second = await machines.open();
  two = await shellOf(second, 'm');
  await one.write('x', 'by one');
  await two.write('y', 'by two');
  await lease(stageOf(first), 'one');
  await lease(stageOf(second), 'two');
});

function stageOf(machine: Machine | undefined): string {
  const [stageId = ''] = (machine?.artifacts.staged() ?? []).map(({ tree }) => tree.core.stage.stageId);
  return stageId;
}

async function lease(stageId: string, host: string): Promise<void> {
  const facts = { base: 0, versions: [], stages: [], user: 'ada', mount: '/mnt/af', bytes: 6 };
  const key = leaseKey(one.artifact.id, stageId);
  await store.put(key, encodeLease({ stageId, host, state: 'staging', ...facts }));
}

/** What machine one sees, with a clock of the test. */
async function lookout(machine = first) {
  const workspace = await Workspace.open(store);
  const world = { nowMs: 0 };
  const others = new OtherStages({
    artifactId: one.artifact.id,
    store,
    publisher: workspace,
    ownStageId: () => stageOf(machine),
    closing: new AbortController().signal,
    nowMs: () => world.nowMs,
  });
  const hosts = async () => {
    world.nowMs += 5_000;
    await others.ask();
    return others.known.map(({ host }) => host);
  };
  return { others, world, workspace, hosts };
}

test('status names who else is staging, and not oneself', async () => {
  expect((await one.artifact.status()).others).toEqual([]);
  await one.artifact.askOthers();
  const { modifiedMs } = await store.head(leaseKey(one.artifact.id, stageOf(second)));
  expect((await one.artifact.status()).others).toEqual([
    {
      ...{ host: 'two', user: 'ada', mount: '/mnt/af', base: 0, bytes: 6, state: 'staging' },
      seenMs: Math.round(modifiedMs),
    },
  ]);
});

test('a stage that was published or abandoned is not shown, nor a lease of an own one that is over', async () => {
  const { hosts, workspace } = await lookout();
  await lease(newStageId(), 'three');
  const dead = newStageId();
  await lease(dead, 'dead');
  expect((await hosts()).sort()).toEqual(['dead', 'three', 'two']);
  await two.commit();
  expect((await hosts()).sort()).toEqual(['dead', 'three']);
  const request = { artifactId: one.artifact.id, commitId: newCommitId(), stageId: newStageId() };
  const journal = { save: () => {}, pending: () => [], remove: () => {} };
  const log = { sinceSeq: 0, sincePrev: '' };
  await workspace.append({ ...request, ...log }, () => ({ type: 'abandon', stages: [dead] }), journal);
  expect(await hosts()).toEqual(['three']);
  await one.artifact.discard();
  expect(await hosts()).toEqual(['three']);
});

test('what was read is kept for some seconds, and a failure keeps what was known', async () => {
  const { others, world, hosts } = await lookout();
  expect(await hosts()).toEqual(['two']);
  const { lists } = store;
  world.nowMs += 4_999;
  await others.ask();
  expect(store.lists).toBe(lists);
  await store.put(leaseKey(one.artifact.id, newStageId()), Buffer.from('no lease'));
  expect(await hosts()).toEqual(['two']);
  expect(store.lists).toBe(lists + 1);
});

test('a store that does not answer holds nobody up, and what it says at last is shown', async () => {
  const answer = deferred<void>();
  store.listing = answer.promise;
  const { others, hosts } = await lookout();
  const { lists } = store;
  expect(await hosts()).toEqual([]);
  // Who asks meanwhile does not wait at all.
  expect(await hosts()).toEqual([]);
  expect(store.lists).toBe(lists + 1);
  answer.resolve();
  await expect.poll(() => others.known.map(({ host }) => host)).toEqual(['two']);
});
