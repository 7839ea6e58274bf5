import { createHash } from 'node:crypto';
import { ArtifactError } from '../model/errors.js';
import { isArtifactId, isStageId } from '../model/ids.js';
import { limits } from '../model/limits.js';
import { corrupt, Fields, isObject, newerFormat, parseJson, shown } from './fields.js';
import type { LogRecord, RecordBody, RecordHeader, StoredRecord } from './records.js';

export const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The bytes of a record. `TooLarge` past 64 KiB, naming what to shorten; a body that breaks the format is `Internal`. */
export function encodeRecord(header: Omit<RecordHeader, 'kind' | 'formatVersion'>, body: RecordBody): Buffer {
  const record: LogRecord = { kind: 'artifactfs.record', formatVersion: 1, ...header, ...body };
  const bytes = Buffer.from(`${JSON.stringify(record)}\n`);
  if (bytes.length > limits.recordBytesMax)
    throw new ArtifactError(
      'TooLarge',
      `the ${body.type} record has ${bytes.length} bytes; ${limits.recordBytesMax} are allowed`,
      { hint: 'shorten the manifest, the message or the list of inputs' },
    );
  try {
    decodeRecord('the new record', bytes, header.seq, header.prev);
  } catch (error) {
    throw new ArtifactError('Internal', `a ${body.type} record of ours breaks the format`, {}, error);
  }
  return bytes;
}

/**
 * Reads the record that must be number `seq` and follow the record with hash `prev`. Anything else is `Corrupt`,
 * naming `where` (the key) and what was found; a record of a later format or an unknown type is `UnsupportedFormat`.
 */
export function decodeRecord(where: string, bytes: Buffer, seq: number, prev: string): StoredRecord {
  const fields = recordFields(where, bytes);
  if (fields.integer('seq', 1) !== seq) throw fields.wrong('seq', String(seq));
  if (fields.string('prev') !== prev)
    throw fields.wrong('prev', prev === '' ? 'empty' : `the hash of record ${seq - 1}, ${prev}`);
  return storedRecord(fields, bytes);
}

/** The same without knowing what comes before it: for the one record a reader starts from. */
export function decodeFirstRecord(where: string, bytes: Buffer, seq: number): StoredRecord {
  const fields = recordFields(where, bytes);
  if (fields.integer('seq', 1) !== seq) throw fields.wrong('seq', String(seq));
  return storedRecord(fields, bytes);
}

/** Whose record is in a slot. Reads as little as it can: a record of a newer build has an owner too. */
export function slotOwner(bytes: Buffer, commitId: string): 'mine' | 'other' | 'unreadable' {
  try {
    const value = JSON.parse(bytes.toString()) as unknown;
    return isObject(value) && value['commitId'] === commitId ? 'mine' : 'other';
  } catch {
    // Torn bytes may be ours or another's.
    return 'unreadable';
  }
}

function recordFields(where: string, bytes: Buffer): Fields {
  if (bytes.length > limits.recordBytesMax)
    throw corrupt(where, `has ${bytes.length} bytes, more than a record may have`);
  const fields = new Fields(where, parseJson(where, bytes.toString()));
  fields.literal('kind', 'artifactfs.record');
  fields.formatVersion(1);
  return fields;
}

function storedRecord(fields: Fields, bytes: Buffer): StoredRecord {
  fields.matching('prev', /^([0-9a-f]{64})?$/, 'a SHA-256 in hex');
  fields.matching('commitId', /^[0-9a-f-]{36}$/, 'a UUID');
  fields.string('host');
  fields.string('user');
  fields.integer('time');
  const type = fields.string('type');
  if (!Object.hasOwn(bodyChecks, type)) throw newerFormat(fields.where, `record type ${shown(type)}`);
  bodyChecks[type as RecordBody['type']](fields);
  // The checks above are what makes this cast true. Unknown fields stay in the object.
  return { record: JSON.parse(bytes.toString()) as LogRecord, hash: sha256Hex(bytes) };
}

const bodyChecks: Record<RecordBody['type'], (fields: Fields) => void> = {
  commit: (fields) => {
    fields.integer('version');
    fields.integer('baseSeq');
    stageIds(fields, 'stages');
    checkTreeRef(fields.object('tree'));
    const summary = fields.object('summary');
    for (const count of ['added', 'changed', 'removed']) summary.integer(count);
    fields.string('message');
    fields.object('manifest');
    for (const input of fields.array('inputs')) {
      const one = new Fields(`${fields.where}: inputs`, input);
      artifactId(one);
      one.integer('version');
    }
  },
  link: (fields) => {
    nonEmpty(fields, 'name');
    artifactId(fields);
  },
  unlink: (fields) => {
    nonEmpty(fields, 'name');
    artifactId(fields);
  },
  rename: (fields) => {
    nonEmpty(fields, 'from');
    nonEmpty(fields, 'to');
    artifactId(fields);
  },
  alias: (fields) => {
    nonEmpty(fields, 'alias');
    fields.integerOrNull('expected');
    fields.integerOrNull('version');
  },
  meta: (fields) => {
    fields.object('manifest');
  },
  expire: (fields) => {
    fields.integers('versions');
  },
  abandon: (fields) => stageIds(fields, 'stages'),
  feature: (fields) => {
    for (const use of ['reader', 'writer', 'gc']) if (fields.has(use)) fields.strings(use);
  },
  noop: () => undefined,
};

function checkTreeRef(fields: Fields): void {
  fields.matching('object', /^t\/[^/]+\/\d+$/, 'a tree object');
  fields.integer('offset');
  fields.integer('length', 1);
  fields.matching('sha256', /^[0-9a-f]{64}$/, 'a SHA-256 in hex');
  fields.integer('entries');
  fields.integer('bytes');
}

function artifactId(fields: Fields): void {
  if (!isArtifactId(fields.string('artifactId'))) throw fields.wrong('artifactId', 'an artifact id');
}

function stageIds(fields: Fields, name: string): void {
  fields.array(name, (id) => typeof id === 'string' && isStageId(id), 'a list of stage ids');
}

function nonEmpty(fields: Fields, name: string): void {
  if (fields.string(name) === '') throw fields.wrong(name, 'a name');
}
