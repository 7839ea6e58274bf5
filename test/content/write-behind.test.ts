import { describe, expect, it } from 'vitest';
import { WriteBehind } from '../../src/content/write-behind.js';

describe('writes that nobody waits for', () => {
  it('have their turns in the order they came, as far as there is room', async () => {
    const writes = new WriteBehind(10);
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
});
