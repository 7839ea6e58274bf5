import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentMap, type Source } from '../../src/content/extent-map.js';
import { runs } from '../support/seed.js';

const spaceBytes = 64;

/** One text per byte: 'object@7' says that the byte is byte 7 of that object. */
class ByteModel {
  bytes: (string | null)[] = Array.from({ length: spaceBytes }, () => null);

  set(start: number, length: number, source: Source): void {
    for (let i = 0; i < length && start + i < spaceBytes; i++) this.bytes[start + i] = name(source, i);
  }

  punch(start: number, length: number): void {
    this.bytes.fill(null, start, Math.min(spaceBytes, start + length));
  }
}

const name = (source: Source, i: number) =>
  `${source.type === 'object' ? source.object : source.file}@${source.offset + i}`;

function bytesOf(map: ExtentMap, offset = 0, length = spaceBytes): (string | null)[] {
  const bytes: (string | null)[] = Array.from({ length }, () => null);
  for (const { start, length: count, source } of map.pieces(offset, length)) {
    for (let i = 0; i < count; i++) bytes[start - offset + i] = name(source, i);
  }
  return bytes;
}

const source: fc.Arbitrary<Source> = fc.oneof(
  fc.record({
    type: fc.constant('local' as const),
    file: fc.integer({ min: 1, max: 2 }),
    offset: fc.nat(8),
  }),
  fc.record({
    type: fc.constant('object' as const),
    object: fc.constantFrom('d/s/1-a', 'd/s/2.pack'),
    offset: fc.nat(8),
  }),
);
const place = fc.record({ start: fc.nat(47), length: fc.nat(16) });
const step = fc.oneof(
  fc.record({ do: fc.constant('set' as const), place, source }),
  // At the same offset as the file itself: what most writes are, and what merges.
  fc.record({ do: fc.constant('write' as const), place, file: fc.integer({ min: 1, max: 2 }) }),
  fc.record({ do: fc.constant('punch' as const), place }),
  fc.record({ do: fc.constant('truncate' as const), size: fc.nat(spaceBytes) }),
);

function play(steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) {
  const map = new ExtentMap();
  const model = new ByteModel();
  for (const action of steps) {
    if (action.do === 'set') {
      map.set(action.place.start, action.place.length, action.source);
      model.set(action.place.start, action.place.length, action.source);
    } else if (action.do === 'write') {
      const from: Source = { type: 'local', file: action.file, offset: action.place.start };
      map.set(action.place.start, action.place.length, from);
      model.set(action.place.start, action.place.length, from);
    } else if (action.do === 'punch') {
      map.punch(action.place.start, action.place.length);
      model.punch(action.place.start, action.place.length);
    } else {
      map.truncate(action.size);
      model.punch(action.size, spaceBytes);
    }
    map.checkInvariants();
  }
  return { map, model };
}

describe('ExtentMap', () => {
  test('says of every byte what a naive model says, after any changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.nat(63), fc.nat(63), (steps, offset, length) => {
        const { map, model } = play(steps);
        expect(bytesOf(map)).toEqual(model.bytes);
        const count = Math.min(length, spaceBytes - offset);
        expect(bytesOf(map, offset, count)).toEqual(model.bytes.slice(offset, offset + count));
        expect(map.bytes()).toBe(model.bytes.filter((byte) => byte !== null).length);
        const local = model.bytes.filter((byte) => byte !== null && /^\d/.test(byte));
        expect(map.localBytes()).toBe(local.length);
        expect(map.hasLocal()).toBe(local.length > 0);
        const files = new Set(local.map((byte) => Number.parseInt(byte ?? '', 10)));
        expect(new Set(map.localFiles())).toEqual(files);
      }),
      { numRuns: runs(500) },
    );
  });

  test('survives JSON, and a clone does not follow its original', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { map } = play(steps);
        const before = bytesOf(map);
        const copy = map.clone();
        const read = ExtentMap.fromJSON(JSON.parse(JSON.stringify(map)));
        map.punch(0, spaceBytes);
        expect(bytesOf(copy)).toEqual(before);
        expect(bytesOf(read)).toEqual(before);
        read.checkInvariants();
      }),
    );
  });

  test('becomes the extents of an entry and comes back from them', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.nat(spaceBytes), (steps, size) => {
        const { map, model } = play(steps);
        const extents = map.toEntryExtents(size, (file, offset, length) => [
          { object: `sent-${file}`, offset, length },
        ]);
        expect(extents.reduce((sum, extent) => sum + extent.length, 0)).toBe(size);
        const sent = model.bytes.slice(0, size).map((byte) => byte?.replace(/^(\d)/, 'sent-$1') ?? null);
        expect(bytesOf(ExtentMap.fromEntryExtents(extents), 0, size)).toEqual(sent);
      }),
    );
  });

  test('keeps a file written from front to back as one extent', () => {
    const map = new ExtentMap();
    for (let i = 0; i < 1000; i++) map.set(i * 4096, 4096, { type: 'local', file: 7, offset: i * 4096 });
    expect(JSON.stringify(map)).toBe('[[0,4096000,7]]');
  });

  test('refuses JSON that is not its own', () => {
    const bad = [
      '{}',
      '[[0]]',
      '[[0,0,1]]',
      '[[5,5,1],[0,5,1]]',
      '[[0,-1,1]]',
      '[[0,1,null]]',
      '[[0,1.5,1]]',
    ];
    for (const text of bad) {
      expect(() => ExtentMap.fromJSON(JSON.parse(text)), text).toThrow(
        expect.objectContaining({ code: 'Corrupt' }),
      );
    }
  });
});
