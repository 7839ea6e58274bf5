import { ArtifactError } from '../model/errors.js';
import type { FeatureSet } from './features.js';
import type { CommitBody, Input, LogRecord, Manifest, RecordBody, StoredRecord, TreeRef } from './records.js';

/**
 * What the records of one artifact's log mean, as one small reducer: the rules of doc/FORMAT.md "Replay" and nothing
 * else. The catalog applies the same rules to rows; garbage collection and fsck use this.
 */
export interface ReplayState {
  headSeq: number;
  /** SHA-256 of the head record's bytes; '' before the first. */
  headHash: string;
  headTimeMs: number;
  /** In order: the index is the version's number. */
  readonly versions: ReplayedVersion[];
  readonly aliases: Map<string, number>;
  manifest: Manifest;
  /** For a collection: name -> artifact id. */
  readonly children: Map<string, string>;
  readonly abandonedStages: Set<string>;
  features: FeatureSet;
}

/** Versions and aliases alone: what a writer decides by that neither commits nor changes names. */
export interface VersionState {
  /** In order: the index is the version's number. */
  readonly versions: LoggedVersion[];
  readonly aliases: Map<string, number>;
}

export interface LoggedVersion {
  readonly version: number;
  readonly timeMs: number;
  expired: boolean;
}

export interface ReplayedVersion {
  readonly version: number;
  readonly seq: number;
  readonly commitId: string;
  readonly timeMs: number;
  readonly host: string;
  readonly user: string;
  readonly message: string;
  readonly baseSeq: number;
  readonly stages: readonly string[];
  readonly tree: TreeRef;
  readonly summary: CommitBody['summary'];
  readonly inputs: readonly Input[];
  expired: boolean;
}

export function emptyArtifactState(): ReplayState {
  return {
    headSeq: 0,
    headHash: '',
    headTimeMs: 0,
    versions: [],
    aliases: new Map(),
    manifest: {},
    children: new Map(),
    abandonedStages: new Set(),
    features: noFeatures,
  };
}

/**
 * Applies the next record in place. Answers false when the record is in the log but has no effect, because what it
 * expects is not so (two racing writers of which the later broke the rules): the first one keeps what it got.
 * A gap or a broken chain is `Corrupt`.
 */
export function applyRecord(state: ReplayState, stored: StoredRecord): boolean {
  const { record, hash } = stored;
  if (record.seq !== state.headSeq + 1 || record.prev !== state.headHash)
    throw new ArtifactError('Corrupt', `log record ${record.seq} does not follow record ${state.headSeq}`);
  const effective = apply(state, record);
  state.headSeq = record.seq;
  state.headHash = hash;
  state.headTimeMs = record.time;
  return effective;
}

/** Applies what the next record means for versions and aliases, in place. */
export function applyToVersions(state: VersionState, record: LogRecord): void {
  if (record.type === 'commit')
    state.versions.push({ version: record.version, timeMs: record.time, expired: false });
  else if (record.type === 'alias') applyAlias(state, record);
  else if (record.type === 'expire') expireVersions(state, record.versions);
}

/** The newest version that is not expired. */
export const latestVersion = <V extends LoggedVersion>(state: {
  readonly versions: readonly V[];
}): V | undefined => state.versions.findLast((version) => !version.expired);

function apply(state: ReplayState, record: LogRecord): boolean {
  switch (record.type) {
    case 'commit':
      return applyCommit(state, record);
    case 'link':
      if (state.children.has(record.name)) return false;
      state.children.set(record.name, record.artifactId);
      return true;
    case 'unlink':
      if (state.children.get(record.name) !== record.artifactId) return false;
      return state.children.delete(record.name);
    case 'rename':
      if (state.children.get(record.from) !== record.artifactId || state.children.has(record.to))
        return false;
      state.children.delete(record.from);
      state.children.set(record.to, record.artifactId);
      return true;
    case 'alias':
      return applyAlias(state, record);
    case 'meta':
      state.manifest = record.manifest;
      return true;
    case 'expire':
      return expireVersions(state, record.versions);
    case 'abandon':
      for (const stageId of record.stages) state.abandonedStages.add(stageId);
      return true;
    case 'feature':
      state.features = unionOfFeatures(state.features, record);
      return true;
    case 'noop':
      return true;
  }
}

function applyCommit(state: ReplayState, record: LogRecord<CommitBody>): boolean {
  if (record.version !== state.versions.length)
    throw new ArtifactError(
      'Corrupt',
      `log record ${record.seq} commits version ${record.version} after ${state.versions.length} versions`,
    );
  state.versions.push({
    version: record.version,
    seq: record.seq,
    commitId: record.commitId,
    timeMs: record.time,
    host: record.host,
    user: record.user,
    message: record.message,
    baseSeq: record.baseSeq,
    stages: record.stages,
    tree: record.tree,
    summary: record.summary,
    inputs: record.inputs,
    expired: false,
  });
  state.manifest = record.manifest;
  return true;
}

/** What records that move aliases or expire versions change. */
type Targets = Pick<VersionState, 'aliases'> & { readonly versions: readonly LoggedVersion[] };

function applyAlias(state: Targets, record: Extract<RecordBody, { type: 'alias' }>): boolean {
  if ((state.aliases.get(record.alias) ?? null) !== record.expected) return false;
  if (record.version === null) return state.aliases.delete(record.alias);
  const version = state.versions[record.version];
  if (version === undefined || version.expired) return false;
  state.aliases.set(record.alias, record.version);
  return true;
}

function expireVersions(state: Targets, versions: readonly number[]): boolean {
  let effective = false;
  for (const number of versions) {
    const version = state.versions[number];
    if (version === undefined || version.expired) continue;
    version.expired = true;
    effective = true;
  }
  return effective;
}

const noFeatures: FeatureSet = { reader: [], writer: [], gc: [] };

/** Features that records name. */
export function featuresAfter(records: readonly StoredRecord[]): FeatureSet {
  let features = noFeatures;
  for (const { record } of records)
    if (record.type === 'feature') features = unionOfFeatures(features, record);
  return features;
}

export function unionOfFeatures(features: FeatureSet, added: Partial<FeatureSet>): FeatureSet {
  const union = (known: readonly string[], more: readonly string[] = []) => [...new Set([...known, ...more])];
  return {
    reader: union(features.reader, added.reader),
    writer: union(features.writer, added.writer),
    gc: union(features.gc, added.gc),
  };
}
