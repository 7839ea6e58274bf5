import { ArtifactError } from '../model/errors.js';
import { isArtifactId, isStageId } from '../model/ids.js';

/**
 * Every key of the layout (doc/FORMAT.md "Layout"), made and parsed here only. Keys are relative to the store's
 * prefix. What extents and tree references call `object` is relative to the artifact's prefix `a/<artifactId>/`.
 */
export type StoreKey =
  | { readonly type: 'format' }
  | { readonly type: 'writer' }
  | { readonly type: 'log'; readonly artifactId: string; readonly seq: number }
  | { readonly type: 'checkpoint'; readonly artifactId: string; readonly seq: number; readonly hash: string }
  | { readonly type: 'tree'; readonly artifactId: string; readonly stageId: string; readonly n: number }
  | {
      readonly type: 'data';
      readonly artifactId: string;
      readonly stageId: string;
      readonly n: number;
      /** Base name of the one file it holds, as far as a key can show it; null for a pack. */
      readonly name: string | null;
    }
  | { readonly type: 'lease'; readonly artifactId: string; readonly stageId: string }
  | { readonly type: 'reader'; readonly artifactId: string; readonly mountId: string }
  | { readonly type: 'probe' };

export const formatKey = 'format.json';
/** Who is the one writer, where the store cannot do with several. */
export const writerKey = 'writer.json';
/** What the store's own probe leaves behind when it is killed; never part of a workspace. */
const probePrefix = '.probe/';

const artifactsPrefix = 'a/';
export const artifactPrefix = (artifactId: string): string => `${artifactsPrefix}${artifactId}/`;
export const logPrefix = (artifactId: string): string => `${artifactPrefix(artifactId)}log/`;

/** True when keys of a workspace, probes aside, may begin so. */
export const mayBeginKey = (prefix: string): boolean =>
  [artifactsPrefix, formatKey, writerKey].some((own) => own.startsWith(prefix) || prefix.startsWith(own));

export const logKey = (artifactId: string, seq: number): string =>
  `${logPrefix(artifactId)}${String(seq).padStart(seqDigits, '0')}.json`;

export const checkpointKey = (artifactId: string, seq: number, hash: string): string =>
  `${artifactPrefix(artifactId)}ckpt/${seq}-${hash}.json.gz`;

/** The full key of an `object` named by an extent or a tree. */
export const objectKey = (artifactId: string, object: string): string =>
  `${artifactPrefix(artifactId)}${object}`;

export const leasePrefix = (artifactId: string): string => `${artifactPrefix(artifactId)}lease/`;
export const readerPrefix = (artifactId: string): string => `${artifactPrefix(artifactId)}read/`;
export const dataPrefix = (artifactId: string): string => `${artifactPrefix(artifactId)}d/`;

export const leaseKey = (artifactId: string, stageId: string): string =>
  `${leasePrefix(artifactId)}${stageId}.json`;

export const readerKey = (artifactId: string, mountId: string): string =>
  `${readerPrefix(artifactId)}${mountId}.json`;

/** Relative to the artifact. `n` must never have been used in this stage, not even by an attempt that failed. */
export const treeObject = (stageId: string, n: number): string => `t/${stageId}/${n}`;
export const packObject = (stageId: string, n: number): string => `d/${stageId}/${n}.pack`;

/** Relative to the artifact. The base name is for people and other tools: what a key cannot hold becomes `_`. */
export const dataObject = (stageId: string, n: number, baseName: string): string =>
  `d/${stageId}/${n}-${shownName(baseName)}`;

/** The stage that wrote an `object`; null when the name is not of the layout. */
export function stageOfObject(object: string): string | null {
  const [folder, stageId] = object.split('/', 2);
  if ((folder !== 'd' && folder !== 't') || stageId === undefined || !isStageId(stageId)) return null;
  return stageId;
}

/** null: not a key of this layout version (foreign, or of a newer build), so nobody may delete it. */
export function parseKey(key: string): StoreKey | null {
  if (key === formatKey) return { type: 'format' };
  if (key === writerKey) return { type: 'writer' };
  if (key.startsWith(probePrefix)) return { type: 'probe' };
  const match = /^a\/([^/]+)\/(log|ckpt|t|d|lease|read)\/(.+)$/su.exec(key);
  const [, artifactId = '', folder, rest = ''] = match ?? [];
  if (!isArtifactId(artifactId)) return null;
  switch (folder) {
    case 'log':
      return parseLog(artifactId, rest);
    case 'ckpt':
      return parseCheckpoint(artifactId, rest);
    case 't':
      return parseTree(artifactId, rest);
    case 'd':
      return parseData(artifactId, rest);
    case 'lease':
      return parseLease(artifactId, rest);
    case 'read':
      return parseReader(artifactId, rest);
    default:
      return null;
  }
}

const seqDigits = 20;

function parseLog(artifactId: string, rest: string): StoreKey | null {
  const match = /^(\d{20})\.json$/.exec(rest);
  const seq = wholeNumber(match?.[1]);
  return seq === null || seq === 0 ? null : { type: 'log', artifactId, seq };
}

function parseCheckpoint(artifactId: string, rest: string): StoreKey | null {
  const match = /^([1-9]\d*)-([0-9a-f]{64})\.json\.gz$/.exec(rest);
  const seq = wholeNumber(match?.[1]);
  const hash = match?.[2];
  return seq === null || hash === undefined ? null : { type: 'checkpoint', artifactId, seq, hash };
}

function parseTree(artifactId: string, rest: string): StoreKey | null {
  const match = /^([^/]+)\/(0|[1-9]\d*)$/.exec(rest);
  const stageId = match?.[1] ?? '';
  const n = wholeNumber(match?.[2]);
  return n === null || !isStageId(stageId) ? null : { type: 'tree', artifactId, stageId, n };
}

function parseData(artifactId: string, rest: string): StoreKey | null {
  const match = /^([^/]+)\/(0|[1-9]\d*)(?:-([^/]+)|\.pack)$/su.exec(rest);
  const stageId = match?.[1] ?? '';
  const n = wholeNumber(match?.[2]);
  if (n === null || !isStageId(stageId)) return null;
  return { type: 'data', artifactId, stageId, n, name: match?.[3] ?? null };
}

function parseLease(artifactId: string, rest: string): StoreKey | null {
  const stageId = rest.endsWith('.json') ? rest.slice(0, -'.json'.length) : '';
  return isStageId(stageId) ? { type: 'lease', artifactId, stageId } : null;
}

function parseReader(artifactId: string, rest: string): StoreKey | null {
  const mountId = /^([\w-]+)\.json$/.exec(rest)?.[1];
  return mountId === undefined ? null : { type: 'reader', artifactId, mountId };
}

function wholeNumber(digits: string | undefined): number | null {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : null;
}

/** S3 lists keys as XML, which cannot carry control characters; a file store's names have at most 255 bytes. */
function shownName(baseName: string): string {
  if (baseName.includes('/') || baseName === '')
    throw new ArtifactError('Internal', `not a base name: ${JSON.stringify(baseName)}`);
  const bytesMax = 200;
  let shown = '';
  let bytes = 0;
  for (const character of baseName) {
    const kept = /[\p{Cc}\p{Surrogate}\ufffe\uffff]/u.test(character) ? '_' : character;
    bytes += Buffer.byteLength(kept);
    if (bytes > bytesMax) break;
    shown += kept;
  }
  return shown;
}
