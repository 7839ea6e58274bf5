import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import {
  type RetainedState,
  type Retention,
  retentionOf,
  versionsToExpire,
} from '../../src/workspace/retention.js';

const dayMs = 86_400_000;
const nowMs = 1_763_712_000_000;

/** Versions committed so many days ago, v0 first; one that is below 0 has expired. */
const state = (daysAgo: readonly number[], aliases: Record<string, number> = {}): RetainedState => ({
  versions: daysAgo.map((days, version) => ({
    version,
    timeMs: nowMs - Math.abs(days) * dayMs,
    expired: days < 0,
  })),
  aliases: new Map(Object.entries(aliases)),
});
const rules = (retention: Partial<Retention>): Retention => ({
  keepLast: null,
  keepTagged: true,
  keepNewerThanMs: null,
  ...retention,
});

describe('what a retention keeps', () => {
  it('the last so many, of those that have not expired', () => {
    expect(versionsToExpire(state([9, 8, 7, 6, 5]), rules({ keepLast: 2 }), nowMs)).toEqual([0, 1, 2]);
    expect(versionsToExpire(state([9, -8, -7, 6, 5]), rules({ keepLast: 2 }), nowMs)).toEqual([0]);
    expect(versionsToExpire(state([9, 8]), rules({ keepLast: 5 }), nowMs)).toEqual([]);
    expect(versionsToExpire(state([]), rules({ keepLast: 1 }), nowMs)).toEqual([]);
  });

  it('what is newer than an age, to the millisecond', () => {
    const days = rules({ keepNewerThanMs: 7 * dayMs });
    expect(versionsToExpire(state([9, 7, 6.9, 1]), days, nowMs)).toEqual([0, 1]);
  });

  it('the latest, however old it is, also when the newest number has expired', () => {
    expect(versionsToExpire(state([900, 800]), rules({ keepNewerThanMs: 0 }), nowMs)).toEqual([0]);
    expect(versionsToExpire(state([900, 800, -700]), rules({ keepNewerThanMs: 0 }), nowMs)).toEqual([0]);
  });

  it('what an alias points to, unless it says otherwise', () => {
    const tagged = state([9, 8, 7, 6], { best: 1, gone: 17 });
    expect(versionsToExpire(tagged, rules({ keepLast: 1 }), nowMs)).toEqual([0, 2]);
    expect(versionsToExpire(tagged, rules({ keepLast: 1, keepTagged: false }), nowMs)).toEqual([0, 1, 2]);
  });

  it('what any of the rules keeps', () => {
    const both = rules({ keepLast: 2, keepNewerThanMs: 30 * dayMs });
    expect(versionsToExpire(state([40, 20, 10, 5]), both, nowMs)).toEqual([0]);
    expect(versionsToExpire(state([400, 200, 100]), both, nowMs)).toEqual([0]);
  });

  it('versions from a clock that runs ahead', () => {
    const ahead: RetainedState = {
      versions: [0, 1].map((version) => ({ version, timeMs: nowMs + dayMs, expired: false })),
      aliases: new Map(),
    };
    expect(versionsToExpire(ahead, rules({ keepNewerThanMs: dayMs }), nowMs)).toEqual([]);
  });

  it('never lets go of the latest, of what a rule keeps, or of what has expired; and is done when it was followed', () => {
    const versions = fc.array(fc.record({ days: fc.nat(60), expired: fc.boolean() }), { maxLength: 20 });
    const retention = fc.record({
      keepLast: fc.option(fc.integer({ min: 1, max: 8 })),
      keepTagged: fc.boolean(),
      keepNewerThanMs: fc.option(fc.nat(60).map((days) => days * dayMs)),
    });
    const aliases = fc.array(fc.nat(25), { maxLength: 5 });
    fc.assert(
      fc.property(versions, retention, aliases, (list, kept, targets) => {
        const before: RetainedState = {
          versions: list.map(({ days, expired }, version) => ({
            version,
            timeMs: nowMs - days * dayMs,
            expired,
          })),
          aliases: new Map(targets.map((version, i) => [`a${i}`, version])),
        };
        const expired = new Set(versionsToExpire(before, kept, nowMs));
        const alive = before.versions.filter((version) => !version.expired);
        for (const version of expired) expect(alive.map((one) => one.version)).toContain(version);
        const latest = alive.at(-1);
        if (latest !== undefined) expect(expired).not.toContain(latest.version);
        if (kept.keepTagged) for (const version of targets) expect(expired).not.toContain(version);
        const newest = alive.slice(-(kept.keepLast ?? 1)).map((one) => one.version);
        for (const version of newest) expect(expired).not.toContain(version);
        for (const { version, timeMs } of alive)
          if (nowMs - timeMs < (kept.keepNewerThanMs ?? 0)) expect(expired).not.toContain(version);
        const after = {
          ...before,
          versions: before.versions.map((one) => ({
            ...one,
            expired: one.expired || expired.has(one.version),
          })),
        };
        expect(versionsToExpire(after, kept, nowMs)).toEqual([]);
      }),
    );
  });
});

describe('the retention of a manifest', () => {
  it('is the nearest that says something, as a whole', () => {
    const collection = { retention: { keepLast: 3, keepNewerThan: '30d' } };
    expect(retentionOf([{}, collection])).toEqual({
      keepLast: 3,
      keepTagged: true,
      keepNewerThanMs: 30 * dayMs,
    });
    expect(retentionOf([{ retention: { keepNewerThan: '12h', keepTagged: false } }, collection])).toEqual({
      keepLast: null,
      keepTagged: false,
      keepNewerThanMs: dayMs / 2,
    });
    expect(retentionOf([{ retention: null }, collection])).toBeNull();
    expect(retentionOf([{ type: 'model' }, {}])).toBeNull();
  });

  it.each([
    ['no JSON object', 'all'],
    ['no JSON object', [1]],
    ['neither keepLast nor keepNewerThan', {}],
    ['neither keepLast nor keepNewerThan', { keepTagged: true }],
    ['unknown field "keepLst"', { keepLst: 3 }],
    ['no whole number from 1', { keepLast: 0 }],
    ['no whole number from 1', { keepLast: '3' }],
    ['neither true nor false', { keepLast: 1, keepTagged: 'yes' }],
    ['no age: "30"', { keepNewerThan: '30' }],
    ['no age: 30', { keepNewerThan: 30 }],
    ['no age: "1.5d"', { keepNewerThan: '1.5d' }],
  ])('is refused: %s', (problem, retention) => {
    let thrown: unknown;
    try {
      retentionOf([{ retention }]);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ArtifactError);
    expect(thrown).toMatchObject({ code: 'Invalid', message: expect.stringContaining(problem) });
  });
});
