import { expect, test } from 'vitest';
import {
  drawInoPrefix,
  inoPrefixMax,
  inosPerPrefix,
  isArtifactId,
  isStageId,
  newArtifactId,
  newCommitId,
  newStageId,
  rootCollectionId,
} from '../../src/model/ids.js';

test('ids have their form and do not repeat', () => {
  const many = <T>(draw: () => T) => Array.from({ length: 1000 }, draw);
  for (const draw of [newArtifactId, newCommitId, newStageId]) expect(new Set(many(draw)).size).toBe(1000);
  expect(many(newArtifactId).every(isArtifactId)).toBe(true);
  expect(many(newStageId).every(isStageId)).toBe(true);
  expect(isArtifactId(rootCollectionId)).toBe(true);
  expect(newArtifactId()[14]).toBe('7');
});

test('artifact ids sort by the time they were made', async () => {
  const early = newArtifactId();
  await new Promise((resolve) => setTimeout(resolve, 3));
  expect(early < newArtifactId()).toBe(true);
});

test.each(['', 'x', `${newArtifactId()}/..`, newArtifactId().toUpperCase(), newStageId()])(
  '%s is no artifact id',
  (text) => {
    expect(isArtifactId(text)).toBe(false);
  },
);

test.each(['', 'x', `${newStageId()}0`, newStageId().toLowerCase(), `ab/${newStageId().slice(3)}`])(
  '%s is no stage id',
  (text) => {
    expect(isStageId(text)).toBe(false);
  },
);

test('inode prefixes are not drawn twice, and their numbers stay exact', () => {
  const used: number[] = [];
  for (let i = 0; i < 500; i++) used.push(drawInoPrefix(used));
  expect(new Set(used).size).toBe(500);
  expect(used.every((prefix) => prefix >= 1 && prefix <= inoPrefixMax)).toBe(true);
  expect(Number.isSafeInteger(inoPrefixMax * inosPerPrefix + inosPerPrefix - 1)).toBe(true);
});
