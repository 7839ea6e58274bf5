import { describe, expect, it } from 'vitest';
import { WriteBehind } from '../../src/content/cache/write-behind.js';
import { limits } from '../../src/model/limits.js';
import { type Deferred, deferred } from '../../src/util/deferred.js';

/** Writes that end when they are told to. */
class Writes {
  /** As they began: where to, and what. */
  readonly begun: [string, readonly string[]][] = [];
  readonly #gates: Deferred<void>[] = [];
  readonly behind = new WriteBehind<string, string>(Number.POSITIVE_INFINITY, (place, items) => {
    this.begun.push([place, items]);
    const gate = deferred();
    this.#gates.push(gate);
    return gate.promise;
  });

  add(place: string, item: string, bytes = 1): Promise<void> {
    this.behind.reserve(bytes);
    return this.behind.run(place, item, bytes);
  }

  async end(n: number, error?: Error): Promise<void> {
    if (error === undefined) this.#gates[n]?.resolve();
    else this.#gates[n]?.reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('writes that nobody waits for', () => {
  it('have their turns in the order they came, as far as there is room', async () => {
    const writes = new WriteBehind(10, async () => {});
    expect(writes.reserve(8)).toBe(true);
    const turns: string[] = [];
    const first = Promise.resolve(writes.reserveLater(6)).then((taken) => turns.push(`first ${taken}`));
    const second = Promise.resolve(writes.reserveLater(3)).then((taken) => turns.push(`second ${taken}`));
    const third = Promise.resolve(writes.reserveLater(9)).then((taken) => turns.push(`third ${taken}`));
    writes.release(8);
    await Promise.all([first, second]);
    expect(turns).toEqual(['first true', 'second true']);
    expect(writes.bytes).toBe(9);
    writes.close();
    await third;
    expect(turns[2]).toBe('third false');
    expect(writes.reserveLater(1)).toBe(false);
  });

  it('go together when they wait for the same place, and each place has its turn', async () => {
    const writes = new Writes();
    for (const item of ['1', '2', '3', '4']) void writes.add('a', item);
    void writes.add('b', '5');
    void writes.add('a', '6');
    expect(writes.begun).toEqual([
      ['a', ['1']],
      ['a', ['2']],
    ]);
    await writes.end(0);
    expect(writes.begun[2]).toEqual(['a', ['3', '4', '6']]);
    await writes.end(1);
    expect(writes.begun[3]).toEqual(['b', ['5']]);
    expect(writes.behind.bytes).toBe(4);
    await writes.end(2);
    await writes.end(3);
    expect(writes.behind.bytes).toBe(0);
  });

  it('are no longer than a run may be, and what is left of one place comes after the others', async () => {
    const writes = new Writes();
    const half = limits.cacheWriteRunBytesMax / 2;
    for (const item of ['1', '2']) void writes.add('a', item);
    for (const item of ['3', '4', '5']) void writes.add('a', item, half);
    void writes.add('b', '6', 3 * half);
    for (const n of [0, 1, 2]) await writes.end(n);
    expect(writes.begun.slice(2)).toEqual([
      ['a', ['3', '4']],
      ['b', ['6']],
      ['a', ['5']],
    ]);
  });

  it('fail together, and those after them go on', async () => {
    const writes = new Writes();
    const all = ['1', '2', '3', '4'].map((item) =>
      writes.add('a', item).catch((error: Error) => error.message),
    );
    const last = writes.add('b', '5');
    await writes.end(0);
    await writes.end(1);
    await writes.end(2, new Error('no room'));
    await writes.end(3);
    expect(await Promise.all(all)).toEqual([undefined, undefined, 'no room', 'no room']);
    await last;
  });
});
