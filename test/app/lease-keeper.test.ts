import { afterEach, describe, expect, test } from 'vitest';
import { LeaseKeeper, type LiveStage } from '../../src/app/lease-keeper.js';
import { ArtifactError } from '../../src/model/errors.js';
import { newStageId } from '../../src/model/ids.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { readLeases } from '../../src/workspace/lease.js';

const artifactId = '01890000-0000-7000-8000-000000000001';
const stage = (base: number | null = 3): LiveStage => ({
  artifactId,
  stageId: newStageId(),
  base,
  versions: [],
  stages: [],
  state: 'staging',
});

class CountingStore extends MemoryStore {
  calls = 0;
  isAway = false;

  override put(...args: Parameters<MemoryStore['put']>) {
    return this.#counted(() => super.put(...args));
  }
  override deleteMany(...args: Parameters<MemoryStore['deleteMany']>) {
    return this.#counted(() => super.deleteMany(...args));
  }
  async #counted<T>(run: () => Promise<T>): Promise<T> {
    this.calls++;
    if (this.isAway) throw new ArtifactError('StoreUnavailable', 'no answer');
    return run();
  }
}

let keeper: LeaseKeeper;
afterEach(() => keeper[Symbol.asyncDispose]());

function bench() {
  const store = new CountingStore();
  const world = { stages: [] as LiveStage[], nowMs: 0, refuses: false };
  keeper = new LeaseKeeper({
    store,
    admitWrite: async () => {
      if (world.refuses) throw new ArtifactError('ReadOnly', 'nothing can be written');
    },
    stages: () => world.stages,
    host: 'ada',
    user: 'ada',
    mount: '/mnt/af',
    stagedBytes: () => 7,
    checkMs: 1e9,
    renewMs: 1000,
    nowMs: () => world.nowMs,
  });
  return { store, world };
}

describe('leases', () => {
  test('are written when a stage is seen the second time, again when they are old, and go with it', async () => {
    const { store, world } = bench();
    await keeper.look();
    const one = stage();
    world.stages = [one];
    await keeper.look();
    expect(store.calls).toBe(0);
    await keeper.look();
    const [lease] = await readLeases(store, artifactId);
    const { artifactId: _, ...facts } = one;
    expect(lease).toMatchObject({ ...facts, host: 'ada', user: 'ada', mount: '/mnt/af', bytes: 7 });
    world.nowMs = 999;
    await keeper.look();
    expect(store.calls).toBe(1);
    world.nowMs = 1000;
    await keeper.look();
    expect(store.calls).toBe(2);
    world.stages = [];
    await keeper.look();
    expect(await readLeases(store, artifactId)).toEqual([]);
    await keeper.look();
    expect(store.calls).toBe(3);
  });

  test('tell of a new base at once', async () => {
    const { store, world } = bench();
    const one = stage(null);
    world.stages = [one];
    await keeper.look();
    await keeper.look();
    world.stages = [{ ...one, base: 0 }];
    await keeper.look();
    expect(await readLeases(store, artifactId)).toMatchObject([{ base: 0 }]);
  });

  test('are written after all when the store is back', async () => {
    const { store, world } = bench();
    world.stages = [stage()];
    store.isAway = true;
    for (let n = 0; n < 3; n++) await keeper.look();
    store.isAway = false;
    await keeper.look();
    expect(await readLeases(store, artifactId)).toHaveLength(1);
  });

  test('are not written where nothing may be written', async () => {
    const { store, world } = bench();
    world.refuses = true;
    world.stages = [stage()];
    for (let n = 0; n < 3; n++) await keeper.look();
    expect(store.calls).toBe(0);
  });

  test('stay for what stays staged when the daemon ends, and no other', async () => {
    const { store, world } = bench();
    const [stays, over] = [stage(), stage()];
    world.stages = [stays, over];
    await keeper.look();
    await keeper.look();
    world.stages = [stays];
    await keeper[Symbol.asyncDispose]();
    expect((await readLeases(store, artifactId)).map(({ stageId }) => stageId)).toEqual([stays.stageId]);
  });
});
