import { randomUUID } from 'node:crypto';
import { ArtifactError, isCode } from '../model/errors.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { type FeatureSet, requireReadable } from './features.js';
import { Fields, parseJson } from './fields.js';
import { formatKey, parseKey } from './keys.js';
import { storedJsonIfThere } from './stored-json.js';

/** The content of format.json: written once, when a workspace is created. */
export interface WorkspaceFormat extends FeatureSet {
  readonly formatVersion: 1;
  readonly workspaceId: string;
}

/**
 * How to treat a store without format.json. 'if-empty': create the workspace when nothing is there. true: also beside
 * objects that are not ours. false: never.
 */
export type CreateMode = 'if-empty' | boolean;

export interface OpenedFormat {
  readonly format: WorkspaceFormat;
  /** There was none a moment ago. */
  readonly isNew: boolean;
}

/** Reads format.json, or creates it. Another writer that creates at the same time is fine: the first one counts. */
export async function openFormat(
  store: ObjectStore,
  create: CreateMode,
  options: CallOptions = {},
): Promise<OpenedFormat> {
  const existing = await readFormat(store, options);
  if (existing !== null) return { format: existing, isNew: false };
  try {
    await checkMayCreate(store, create, options);
  } catch (error) {
    // What is in the way may be the workspace that somebody else has made since.
    const made = isCode(error, 'NotPermitted', 'Corrupt') ? await readFormat(store, options) : null;
    if (made === null) throw error;
    return { format: made, isNew: false };
  }
  return { format: await createFormat(store, options), isNew: true };
}

/** Throws `NotFound` when `store` no longer has the workspace that it had. */
export async function requireFormat(store: ObjectStore, { workspaceId }: WorkspaceFormat): Promise<void> {
  const found = await readFormat(store, {});
  if (found?.workspaceId !== workspaceId)
    throw new ArtifactError(
      'NotFound',
      `${store.url} has ${found === null ? 'no' : 'another'} workspace now than when it was last used here`,
      { hint: 'nothing is written to it; unmount, and mount again when it is what it should be' },
    );
}

/** The text of format.json. */
export function encodeFormat(format: WorkspaceFormat): Buffer {
  const { formatVersion, workspaceId, reader, writer, gc } = format;
  const json = {
    kind: formatKind,
    formatVersion,
    workspaceId,
    readerFeatures: reader,
    writerFeatures: writer,
    gcFeatures: gc,
  };
  return Buffer.from(`${JSON.stringify(json, null, 2)}\n`);
}

/** Throws `Corrupt` or `UnsupportedFormat`. */
export function decodeFormat(where: string, bytes: Buffer): WorkspaceFormat {
  const fields = new Fields(where, parseJson(where, bytes.toString()));
  fields.literal('kind', formatKind);
  fields.formatVersion(1);
  const format: WorkspaceFormat = {
    formatVersion: 1,
    workspaceId: fields.matching('workspaceId', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a UUID'),
    reader: fields.strings('readerFeatures'),
    writer: fields.strings('writerFeatures'),
    gc: fields.strings('gcFeatures'),
  };
  requireReadable(where, format);
  return format;
}

const formatKind = 'artifactfs.workspace';
const createAttemptsMax = 5;

async function readFormat(store: ObjectStore, options: CallOptions): Promise<WorkspaceFormat | null> {
  const bytes = await storedJsonIfThere(store, formatKey, options);
  return bytes === null ? null : decodeFormat(`${store.url}: ${formatKey}`, bytes);
}

/** Never makes a second identity for a workspace that lost its format.json, nor one in somebody's folder by accident. */
async function checkMayCreate(store: ObjectStore, create: CreateMode, options: CallOptions): Promise<void> {
  if (create === false)
    throw new ArtifactError('NotFound', `there is no workspace at ${store.url}`, {
      hint: 'check the URL; mount, create and put make a workspace where nothing is',
    });
  for await (const { key } of store.list('', options)) {
    const parsed = parseKey(key);
    if (parsed?.type === 'probe' || parsed?.type === 'writer') continue;
    if (parsed !== null && parsed.type !== 'format')
      throw new ArtifactError('Corrupt', `${store.url} has artifacts (${key}), but no ${formatKey}`, {
        hint: `restore ${formatKey} from a backup or an older version of the object`,
      });
    if (create === 'if-empty')
      throw new ArtifactError(
        'NotPermitted',
        `${store.url} is not a workspace and not empty: ${key} is there`,
        {
          hint: 'use an empty prefix, or --create to make a workspace beside these objects',
        },
      );
  }
}

async function createFormat(store: ObjectStore, options: CallOptions): Promise<WorkspaceFormat> {
  const bytes = encodeFormat({
    formatVersion: 1,
    workspaceId: randomUUID(),
    reader: [],
    writer: [],
    gc: [],
  });
  let cause: unknown;
  for (let attempt = 0; attempt < createAttemptsMax; attempt++) {
    try {
      await store.putIfAbsent(formatKey, bytes, options);
    } catch (error) {
      if (!isCode(error, 'Exists', 'Busy', 'StoreUnavailable')) throw error;
      cause = error;
    }
    // Whatever the PUT answered: what is there now is the workspace.
    const format = await readFormat(store, options);
    if (format !== null) return format;
  }
  throw new ArtifactError('StoreUnavailable', `${store.url}: ${formatKey} cannot be written`, {}, cause);
}
