import { describe, expect, it } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { FaultStore } from '../../src/store/wrap/fault.js';
import { SingleWriterStore } from '../../src/store/wrap/single-writer.js';
import { anySignal } from '../../src/util/shared-signal.js';
import { expectCode } from './contract.js';

/** As services that ignore If-None-Match. */
class PoorStore extends MemoryStore {
  override putIfAbsent(...[key, body, options]: Parameters<MemoryStore['putIfAbsent']>) {
    return this.put(key, body, options);
  }
}

function over<S extends MemoryStore>(inner: S, lost = 0) {
  const turn = { claims: 0, isOver: false };
  const faults = new FaultStore(inner, {
    faults: [{ on: 'put', key: /^slot/, times: lost, effect: { kind: 'fail' } }],
  });
  const store = new SingleWriterStore(faults, {
    claim: async () => {
      turn.claims++;
      if (turn.isOver) throw new ArtifactError('ReadOnly', 'not the one writer');
      return anySignal();
    },
    [Symbol.asyncDispose]: async () => undefined,
  });
  return { inner, turn, store };
}

const [x, y] = [Buffer.from('x'), Buffer.from('y')];

describe('SingleWriterStore', () => {
  it('creates what is not there, also at the same time, in its turn', async () => {
    const { inner, turn, store } = over(new PoorStore());
    const outcomes = await Promise.allSettled([x, y, x].map((body) => store.putIfAbsent('slot', body)));
    const made = outcomes.findIndex(({ status }) => status === 'fulfilled');
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(2);
    await expectCode('Exists', store.putIfAbsent('slot', y));
    expect(await inner.get('slot')).toEqual([x, y, x][made]);
    expect(turn.claims).toBe(4);
  });

  it('creates nothing out of its turn', async () => {
    const { inner, turn, store } = over(new PoorStore());
    turn.isOver = true;
    await expectCode('ReadOnly', store.putIfAbsent('slot', x));
    await expectCode('NotFound', inner.get('slot'));
  });

  it('leaves a store alone that can refuse', async () => {
    const { turn, store } = over(new MemoryStore());
    await store.putIfAbsent('slot', x);
    await expectCode('Exists', store.putIfAbsent('slot', y));
    expect(turn.claims).toBe(0);
  });

  it('puts nothing else where something may still arrive that was sent before', async () => {
    const { inner, store } = over(new PoorStore(), 1);
    await expectCode('StoreUnavailable', store.putIfAbsent('slot', x));
    await expectCode('NotFound', inner.get('slot'));
    await expectCode('Exists', store.putIfAbsent('slot', y));
    expect(await inner.get('slot')).toEqual(x);
    await expectCode('Exists', store.putIfAbsent('slot', x));
  });

  it('says of the store what it is', async () => {
    expect(await over(new PoorStore()).store.probe()).toMatchObject({ createIfAbsent: false });
  });
});
