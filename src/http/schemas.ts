import { type Static, type TProperties, Type } from '@sinclair/typebox';
import { limits } from '../model/limits.js';

/**
 * Every body of the control API: JSON Schema for checking and for the OpenAPI document, and its type for server and
 * client, from one definition.
 */
const object = <T extends TProperties>(properties: T, description?: string) =>
  Type.Object(properties, {
    additionalProperties: false,
    ...(description === undefined ? {} : { description }),
  });
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);
const bytes = (description: string) => Type.Integer({ minimum: 0, description: `${description}, in bytes` });
const count = (description: string) => Type.Integer({ minimum: 0, description });
const milliseconds = (description: string) =>
  Type.Number({ description: `${description}, in ms since 1970` });

const Kind = Type.Unsafe<'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block'>(
  Type.String({ enum: ['file', 'dir', 'symlink', 'fifo', 'socket', 'char', 'block'] }),
);

const Time = object({
  s: Type.Integer({ description: 'seconds since 1970' }),
  ns: Type.Integer({ minimum: 0, maximum: 999_999_999 }),
});

export const ErrorBody = object(
  {
    code: Type.String({ description: 'one of the error codes of doc/CONFIGURATION.md' }),
    message: Type.String(),
    hint: nullable(Type.String({ description: 'what the user can do' })),
    details: Type.Record(Type.String(), Type.Unknown()),
  },
  'what failed',
);
export type ErrorBody = Static<typeof ErrorBody>;

export const Manifest = Type.Record(Type.String(), Type.Unknown(), {
  description: 'free JSON object; type, name, description and tags are known words',
});

export const Version = object({
  version: count('n of v<n>'),
  commitId: Type.String(),
  timeMs: milliseconds('when it was committed'),
  host: Type.String(),
  user: Type.String(),
  message: Type.String(),
  added: count('paths'),
  changed: count('paths'),
  removed: count('paths'),
  entries: count('names in the version'),
  bytes: bytes('sum of file sizes'),
  expired: Type.Boolean(),
});
export type Version = Static<typeof Version>;

export const ArtifactSummary = object({
  path: Type.String({ description: 'names from the root collection, joined by /' }),
  artifactId: Type.String(),
  type: Type.String(),
  isCollection: Type.Boolean(),
  isNew: Type.Boolean({ description: 'never committed: only this daemon knows it' }),
  isStaged: Type.Boolean({ description: 'has uncommitted changes' }),
  latest: nullable(Version),
});
export type ArtifactSummary = Static<typeof ArtifactSummary>;

export const ArtifactList = object({
  artifacts: Type.Array(ArtifactSummary),
  more: Type.Boolean({ description: 'there are more after the last one' }),
});
export type ArtifactList = Static<typeof ArtifactList>;

export const RemovedArtifact = object({
  artifactId: Type.String(),
  path: Type.String({ description: 'that it had' }),
  versions: count('that have not expired'),
  timeMs: milliseconds('when it was removed'),
  host: Type.String(),
  user: Type.String(),
});
export type RemovedArtifact = Static<typeof RemovedArtifact>;

export const ArtifactDetails = object({
  ...ArtifactSummary.properties,
  selected: nullable(Version),
  manifest: Manifest,
  aliases: Type.Record(Type.String(), Type.Integer()),
  versions: count('published versions'),
});
export type ArtifactDetails = Static<typeof ArtifactDetails>;

export const StagedPath = object({
  path: Type.String(),
  change: Type.Unsafe<'added' | 'changed' | 'removed' | 'renamed'>(
    Type.String({ enum: ['added', 'changed', 'removed', 'renamed'] }),
  ),
  kind: Kind,
  size: bytes('size'),
  from: Type.Optional(Type.String({ description: 'old path of what was renamed' })),
});
export type StagedPath = Static<typeof StagedPath>;

export const Summary = object({ added: count('paths'), changed: count('paths'), removed: count('paths') });
export type Summary = Static<typeof Summary>;

export const CommitProgress = object({
  phase: Type.Unsafe<'scan' | 'upload' | 'publish'>(Type.String({ enum: ['scan', 'upload', 'publish'] })),
  filesDone: count('files'),
  filesTotal: count('files'),
  bytesDone: bytes('sent'),
  bytesTotal: bytes('to send'),
});
export type CommitProgress = Static<typeof CommitProgress>;

const OtherStage = object({
  host: Type.String(),
  user: Type.String(),
  mount: nullable(Type.String()),
  base: nullable(Type.Integer()),
  bytes: bytes('staged on their disk, in all artifacts together'),
  state: Type.Unsafe<'staging' | 'committing'>(Type.String({ enum: ['staging', 'committing'] })),
  seenMs: milliseconds("when they told so last, by the store's clock"),
});

export const ArtifactStatus = object({
  name: Type.String(),
  path: Type.String(),
  artifactId: Type.String(),
  type: Type.String(),
  base: nullable(Type.Integer()),
  staged: Type.Array(StagedPath),
  stagedCount: count('staged paths, also those not in the list'),
  stagedBytes: bytes('staged'),
  bytesToUpload: bytes('not in the store yet'),
  uploadError: nullable(Type.String()),
  openForWriting: Type.Array(Type.String()),
  conflicts: Type.Array(Type.String()),
  committing: nullable(CommitProgress),
  lastError: nullable(Type.String()),
  others: Type.Array(OtherStage, { description: 'who else is staging' }),
});
export type ArtifactStatus = Static<typeof ArtifactStatus>;

export const CommitRequest = object({
  message: Type.String({ default: '' }),
  onConflict: Type.Optional(
    Type.Unsafe<'fail' | 'mine' | 'theirs'>(Type.String({ enum: ['fail', 'mine', 'theirs'] })),
  ),
});

export const CommitResult = object({
  version: count('n of v<n>'),
  commitId: Type.String(),
  summary: Summary,
  bytesUploaded: bytes('sent'),
  rebased: Type.Boolean({ description: 'commits of others lay between the base and this version' }),
  openFiles: Type.Array(Type.String({ description: 'open for writing when the commit began' })),
});
export type CommitResult = Static<typeof CommitResult>;

export const AliasChange = object({
  alias: Type.String(),
  before: nullable(Type.Integer({ description: 'where it stood; null: nowhere' })),
  version: nullable(Type.Integer({ description: 'where it stands now; null: it is removed' })),
});
export type AliasChange = Static<typeof AliasChange>;

export const Diff = object({
  from: nullable(Type.Integer({ description: 'null: empty' })),
  to: Type.Union([Type.Integer(), Type.Literal('stage')]),
  changes: Type.Array(StagedPath),
  summary: Summary,
});
export type Diff = Static<typeof Diff>;

export const FileInfo = object({
  path: Type.String(),
  kind: Kind,
  size: bytes('size'),
  mode: Type.Integer({ minimum: 0, maximum: 0o7777 }),
  mtime: Time,
  sha256: Type.Optional(Type.String()),
  target: Type.Optional(Type.String({ description: 'of a symlink' })),
});
export type FileInfo = Static<typeof FileInfo>;

export const FileList = object({
  files: Type.Array(FileInfo),
  more: Type.Boolean({ description: 'there are more after the last one' }),
});
export type FileList = Static<typeof FileList>;

export const WriteProgress = object({ bytesDone: bytes('received') });
export type WriteProgress = Static<typeof WriteProgress>;

export const Resolved = object({
  artifact: Type.String({ description: 'path of the artifact; empty for the root collection' }),
  isCollection: Type.Boolean(),
  ref: Type.String({ description: "version named after '@'; empty for the working view" }),
  path: Type.String({ description: 'what is left: a path inside the artifact' }),
  near: nullable(
    Type.String({ description: "an artifact's name that is much like the first that was not found" }),
  ),
});
export type Resolved = Static<typeof Resolved>;

export const LogLevel = object({ level: Type.String() });

export const DaemonStatus = object({
  version: Type.String({ description: 'of the program' }),
  pid: Type.Integer(),
  startedMs: milliseconds('when the daemon started'),
  state: Type.Unsafe<'starting' | 'running' | 'stopping'>(
    Type.String({ enum: ['starting', 'running', 'stopping'] }),
  ),
  workspaceId: Type.String(),
  store: Type.String(),
  mountPoint: nullable(Type.String()),
  stateDirectory: Type.String(),
  readOnly: nullable(Type.String({ description: 'why nothing may be written, or null' })),
  isSingleWriter: Type.Boolean({
    description: 'the store has no create-if-absent: nobody else may write to it while this daemon runs',
  }),
  uploads: object({
    backlogBytes: bytes('staged in large files and not in the store'),
    activeParts: count('parts under way'),
    lastError: nullable(Type.String()),
  }),
  staged: Type.Array(Type.String(), { description: 'artifacts with uncommitted changes' }),
  refreshError: nullable(Type.String({ description: 'why commits of others are not seen at the moment' })),
  logLevel: Type.String(),
});
export type DaemonStatus = Static<typeof DaemonStatus>;

export const DaemonStats = object({
  uptimeSeconds: Type.Number({ minimum: 0 }),
  cpuSeconds: Type.Number({ minimum: 0 }),
  memory: object({
    residentBytes: bytes('resident'),
    heapBytes: bytes('JavaScript heap in use'),
    externalBytes: bytes('buffers'),
    budgetBytes: bytes('the option memory'),
    shares: Type.Array(object({ name: Type.String(), bytes: bytes('held'), bytesMax: bytes('allowed') }), {
      description: 'who holds how much of the budget',
    }),
  }),
  loopUtilization: Type.Number({
    minimum: 0,
    maximum: 1,
    description: 'share of time that the event loop was busy',
  }),
  loopDelay: object(
    {
      p50Ms: Type.Number({ minimum: 0 }),
      p99Ms: Type.Number({ minimum: 0 }),
      maxMs: Type.Number({ minimum: 0 }),
    },
    'how much later than planned the event loop came to its work since the start, looked at more often while it works',
  ),
  requests: object(
    {
      pending: count('requests of the kernel that wait for an answer'),
      oldestPendingMs: Type.Number({ minimum: 0, description: 'age of the oldest of these' }),
      givenUp: count('requests answered with ETIMEDOUT or EINTR whose work is not over'),
    },
    'what programs wait for',
  ),
  counters: Type.Record(Type.String(), Type.Number(), { description: 'of the layers, by name' }),
});
export type DaemonStats = Static<typeof DaemonStats>;

const coverage = {
  version: count('n of v<n>'),
  files: count('files'),
  bytes: bytes('all of them; what files share counts once'),
  cachedBytes: bytes('of these, in the disk cache'),
};

export const CacheCoverage = object({ ...coverage, pinned: Type.Boolean() });
export type CacheCoverage = Static<typeof CacheCoverage>;

export const WarmProgress = object({ bytesDone: bytes('in the cache'), bytesTotal: bytes('of all files') });
export type WarmProgress = Static<typeof WarmProgress>;

export const WarmResult = object({
  ...coverage,
  cachedBytes: bytes('of these, in the disk cache before'),
  fetchedBytes: bytes('from the store, in whole blocks'),
});
export type WarmResult = Static<typeof WarmResult>;

export const CacheStatus = object({
  objects: count('objects of which something is cached'),
  bytes: bytes('on the disk'),
  bytesMax: bytes('allowed now: the option cache-size, or what staged files and the disk leave'),
  pinnedBytes: bytes('pinned, or being warmed'),
  memoryHitBytes: bytes('read since the start from memory'),
  diskHitBytes: bytes('read since the start from the disk cache'),
  fetchedBytes: bytes('fetched since the start from the store'),
  gets: count('requests for these'),
  pins: Type.Array(object({ artifact: Type.String(), version: count('n of v<n>'), path: Type.String() })),
});
export type CacheStatus = Static<typeof CacheStatus>;

const Amount = (what: string) => object({ objects: count('objects'), bytes: bytes('all of them') }, what);

export const GcRequest = object({
  paths: Type.Array(Type.String(), {
    default: [],
    description: 'artifacts, each with all below it; none: all',
  }),
  dryRun: Type.Boolean({ default: false, description: 'only tell what would be done' }),
  graceSeconds: Type.Integer({ minimum: 0, default: limits.gcGraceSeconds }),
  deadAfterSeconds: Type.Integer({ minimum: 0, default: limits.gcDeadAfterSeconds }),
});

export const GcProgress = object({
  artifactsDone: count('artifacts'),
  artifactsTotal: count('artifacts'),
  objectsFreed: count('objects'),
  bytesFreed: bytes('freed'),
});
export type GcProgress = Static<typeof GcProgress>;

export const GcResult = object({
  dryRun: Type.Boolean(),
  artifacts: Type.Array(
    object({
      artifactId: Type.String(),
      path: nullable(Type.String({ description: 'null: no name leads to it' })),
      expired: Type.Array(Type.Integer(), { description: 'versions that this run expired, or would' }),
      abandoned: Type.Array(Type.String(), { description: 'stages that this run declared dead, or would' }),
      condemned: Amount('needed by nobody, and past the grace'),
      freed: Amount('really deleted'),
      waiting: Amount('needed by nobody, but not yet past the grace'),
      live: Amount('used by versions, live stages or readers'),
      staged: Amount('of stages that may still be committed'),
      uploadsAborted: count('uploads that nobody would have completed'),
      unknownKeys: count('keys that no build known here has made: they are never deleted'),
      objects: Type.Array(object({ key: Type.String(), size: bytes('size'), why: Type.String() }), {
        description: `condemned ones, at most ${limits.gcObjectsListed}`,
      }),
    }),
  ),
  failures: Type.Array(
    object({ artifactId: Type.String(), path: nullable(Type.String()), error: ErrorBody }),
    { description: 'artifacts in which something is wrong, so that nothing more was done there' },
  ),
});
export type GcResult = Static<typeof GcResult>;

/** The lines of an application/x-ndjson answer: one `started`, any number of `progress`, one `result` or `error`. */
export const Event = Type.Union([
  object({
    event: Type.Literal('started'),
    operation: Type.String({ description: 'for DELETE /v1/operations/{operation}' }),
  }),
  object({
    event: Type.Literal('progress'),
    progress: Type.Union([CommitProgress, WriteProgress, WarmProgress, GcProgress]),
  }),
  object({
    event: Type.Literal('result'),
    result: Type.Union([CommitResult, FileInfo, WarmResult, GcResult]),
  }),
  object({ event: Type.Literal('error'), error: ErrorBody }),
]);
export type Event = Static<typeof Event>;
