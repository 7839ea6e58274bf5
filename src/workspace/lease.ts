import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { Fields, parseJson } from './fields.js';
import { leaseKey, leasePrefix, parseKey, readerPrefix } from './keys.js';
import { storedJsonIfThere } from './stored-json.js';

/**
 * What the owner of a stage tells others, in a file that it alone overwrites: that the stage is alive, and what of
 * the store it needs.
 */
export interface Lease {
  readonly stageId: string;
  /** The version it is built on; null for none. */
  readonly base: number | null;
  /** Earlier versions of which staged files may still use objects. */
  readonly versions: readonly number[];
  /** Published stages of the same owner of which staged files may still use objects. */
  readonly stages: readonly string[];
  readonly host: string;
  readonly user: string;
  /** Where it is mounted; null where it is not. */
  readonly mount: string | null;
  /** Staged on the owner's disk, in all artifacts together. */
  readonly bytes: number;
  readonly state: 'staging' | 'committing';
}

export interface StoredLease extends Lease {
  /** When its owner wrote it last, by the store's clock. */
  readonly modifiedMs: number;
}

export function encodeLease(lease: Lease): Buffer {
  return Buffer.from(`${JSON.stringify({ kind: leaseKind, formatVersion: 1, ...lease }, null, 2)}\n`);
}

/** Throws `Corrupt` or `UnsupportedFormat`. */
function decodeLease(where: string, bytes: Buffer): Lease {
  const fields = new Fields(where, parseJson(where, bytes.toString()));
  fields.literal('kind', leaseKind);
  fields.formatVersion(1);
  return {
    stageId: fields.string('stageId'),
    base: fields.integerOrNull('base'),
    versions: fields.has('versions') ? fields.integers('versions') : [],
    stages: fields.has('stages') ? fields.strings('stages') : [],
    host: fields.string('host'),
    user: fields.string('user'),
    mount: fields.get('mount') === null ? null : fields.string('mount'),
    bytes: fields.integer('bytes'),
    state: fields.get('state') === 'committing' ? 'committing' : 'staging',
  };
}

/** All leases of an artifact, oldest first, whether or not their stages still live. One that cannot be read is thrown. */
export async function readLeases(
  store: ObjectStore,
  artifactId: string,
  options: CallOptions = {},
): Promise<StoredLease[]> {
  const leases: StoredLease[] = [];
  for await (const { key, modifiedMs } of store.list(leasePrefix(artifactId), options)) {
    const parsed = parseKey(key);
    if (parsed?.type !== 'lease') continue;
    const bytes = await storedJsonIfThere(store, leaseKey(artifactId, parsed.stageId), options);
    if (bytes === null) continue; // its owner has removed it since it was listed
    leases.push({ ...decodeLease(`lease ${key}`, bytes), stageId: parsed.stageId, modifiedMs });
  }
  return leases.sort((a, b) => a.modifiedMs - b.modifiedMs);
}

export interface Pin {
  readonly versions: readonly number[];
  /** By the store's clock. */
  readonly modifiedMs: number;
}

/** Versions that readers pin: `{kind: 'artifactfs.reader', formatVersion: 1, versions: [...]}`. */
export async function readPins(
  store: ObjectStore,
  artifactId: string,
  options: CallOptions = {},
): Promise<Pin[]> {
  const pins: Pin[] = [];
  for await (const { key, modifiedMs } of store.list(readerPrefix(artifactId), options)) {
    if (parseKey(key)?.type !== 'reader') continue;
    const bytes = await storedJsonIfThere(store, key, options);
    if (bytes === null) continue; // its owner has removed it since it was listed
    const fields = new Fields(`pin ${key}`, parseJson(`pin ${key}`, bytes.toString()));
    fields.literal('kind', 'artifactfs.reader');
    fields.formatVersion(1);
    pins.push({ versions: fields.integers('versions'), modifiedMs });
  }
  return pins;
}

const leaseKind = 'artifactfs.lease';
