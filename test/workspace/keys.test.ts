import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newArtifactId, newStageId } from '../../src/model/ids.js';
import {
  checkpointKey,
  dataObject,
  formatKey,
  leaseKey,
  logKey,
  objectKey,
  packObject,
  parseKey,
  readerKey,
  stageOfObject,
  treeObject,
} from '../../src/workspace/keys.js';

const artifactId = newArtifactId();
const stageId = newStageId();
const hash = 'a'.repeat(64);

describe('keys', () => {
  it.each([
    [formatKey, { type: 'format' }],
    [logKey(artifactId, 12), { type: 'log', artifactId, seq: 12 }],
    [checkpointKey(artifactId, 12, hash), { type: 'checkpoint', artifactId, seq: 12, hash }],
    [objectKey(artifactId, treeObject(stageId, 0)), { type: 'tree', artifactId, stageId, n: 0 }],
    [objectKey(artifactId, packObject(stageId, 3)), { type: 'data', artifactId, stageId, n: 3, name: null }],
    [leaseKey(artifactId, stageId), { type: 'lease', artifactId, stageId }],
    [readerKey(artifactId, 'mount-1'), { type: 'reader', artifactId, mountId: 'mount-1' }],
    ['writer.json', { type: 'writer' }],
    ['.probe/x', { type: 'probe' }],
  ])('%s is parsed back', (key, expected) => {
    expect(parseKey(key)).toEqual(expected);
  });

  it('of data carry the base name as far as a key can show it', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', minLength: 1 }).map((name) => name.replaceAll('/', '_')),
        fc.nat(),
        (name, n) => {
          const object = dataObject(stageId, n, name);
          expect(parseKey(objectKey(artifactId, object))).toMatchObject({
            type: 'data',
            artifactId,
            stageId,
            n,
          });
          expect(stageOfObject(object)).toBe(stageId);
          expect(Buffer.byteLength(object)).toBeLessThan(300);
          expect(object).toMatch(/^[^\p{Cc}\p{Surrogate}]*$/u);
        },
      ),
    );
    expect(dataObject(stageId, 7, 'weights.bin')).toBe(`d/${stageId}/7-weights.bin`);
    expect(dataObject(stageId, 7, '.pack')).toBe(`d/${stageId}/7-.pack`);
  });

  it('sort logs by number', () => {
    expect(logKey(artifactId, 9) < logKey(artifactId, 10)).toBe(true);
  });

  it.each([
    'README.md',
    `a/${artifactId}`,
    `a/${artifactId}/log/1.json`,
    `a/${artifactId}/log/${'0'.repeat(20)}.json`,
    `a/${artifactId}/log/${'0'.repeat(19)}1.json.tmp`,
    `a/not-an-id/log/${'0'.repeat(19)}1.json`,
    `a/${artifactId}/t/${stageId}/01`,
    `a/${artifactId}/t/other/1`,
    `a/${artifactId}/d/${stageId}/1`,
    `a/${artifactId}/d/${stageId}/1-a/b`,
    `a/${artifactId}/x/${stageId}/1`,
  ])('that are not of the layout are nobody’s: %s', (key) => {
    expect(parseKey(key)).toBeNull();
  });
});
