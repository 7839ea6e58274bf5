import { randomBytes, randomInt } from 'node:crypto';
import { ulid } from 'ulid';
import { v4, v7 } from 'uuid';
import { ArtifactError } from './errors.js';

/** The workspace's root collection has the same id in every workspace. */
export const rootCollectionId = '00000000-0000-7000-8000-000000000000';

/** UUIDv7: ids sort by their time of creation. */
export const newArtifactId = (): string => v7();

/** Random UUID: what proves that a log slot holds our record. */
export const newCommitId = (): string => v4();

/** 4 random hex digits + ULID. The digits come first so that the keys of many stages spread over a store's partitions. */
export const newStageId = (): string => randomBytes(2).toString('hex') + ulid();

/** A prefix owns the file numbers `prefix * 2^20` up to, not including, `(prefix + 1) * 2^20`. */
export const inosPerPrefix = 2 ** 20;
/** All inos stay below 2^53, so that a number holds them exactly. */
export const inoPrefixMax = 2 ** 33 - 1;

/** Draws a prefix that no version of the artifact has used; 0 is left to the root and to what is never stored. */
export function drawInoPrefix(used: readonly number[]): number {
  const taken = new Set(used);
  for (let tries = 0; tries < 100; tries++) {
    const prefix = randomInt(1, inoPrefixMax + 1);
    if (!taken.has(prefix)) return prefix;
  }
  throw new ArtifactError('Internal', `no free inode prefix among ${used.length} used ones`);
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const stageIdPattern = /^[0-9a-f]{4}[0-9A-HJKMNP-TV-Z]{26}$/;

export const isArtifactId = (text: string): boolean => uuidPattern.test(text);
export const isStageId = (text: string): boolean => stageIdPattern.test(text);
