import { join } from 'node:path';
import { dataHome, type Environment, stateHome } from './directories.js';
import { defaultMemoryBytes, memoryBytesMin } from './memory.js';

/**
 * Every option of artifactfs. Its name is the flag (`--cache-size`) and the key in the configuration file; the
 * environment variable is derived from it (`ARTIFACTFS_CACHE_SIZE`). Help and doc/CONFIGURATION.md are made from
 * this table.
 */
export const optionTable = {
  store: {
    type: 'store',
    group: 'Store',
    unit: 'URL',
    help: 'where the workspace lives: s3://BUCKET/PREFIX, file:///DIRECTORY (or just a path), or memory: (gone when the daemon ends)',
    default: (env: Environment) => `file://${join(dataHome(env), 'artifactfs')}`,
    defaultText: 'file://$XDG_DATA_HOME/artifactfs',
  },
  endpoint: {
    type: 'url',
    group: 'Store',
    unit: 'URL',
    help: 'S3 endpoint, for stores that are not AWS',
    s3: true,
  },
  region: { type: 'text', group: 'Store', unit: 'NAME', help: 'S3 region', s3: true },
  profile: {
    type: 'text',
    group: 'Store',
    unit: 'NAME',
    help: 'profile of the AWS configuration files to take credentials and region from',
    s3: true,
  },
  'path-style': {
    type: 'flag',
    group: 'Store',
    help: 'put the bucket into the path of S3 requests, not the host name; on by default with an endpoint',
    s3: true,
  },
  checksums: {
    type: 'choice',
    choices: ['auto', 'required', 'crc32'],
    group: 'Store',
    help: 'how the store checks what is sent to it: required is a signed SHA-256 of each body, crc32 adds a CRC32, auto takes the cheaper one that the store is found to verify',
    default: () => 'auto',
    defaultText: 'auto',
    s3: true,
  },
  'access-key-id': {
    type: 'text',
    group: 'Store',
    unit: 'ID',
    help: 'S3 access key; without it the usual AWS sources are asked (environment, profile, machine role)',
    s3: true,
    secret: true,
  },
  'secret-access-key': {
    type: 'text',
    group: 'Store',
    unit: 'KEY',
    help: 'secret that belongs to the access key',
    s3: true,
    secret: true,
  },
  'single-writer': {
    type: 'flag',
    group: 'Store',
    help: 'where the store cannot refuse to overwrite (no create-if-absent), let this mount write as the only one: it holds a lease, and others that want it are refused; without it such a store is only read',
    default: () => false,
    defaultText: 'off',
  },

  'state-dir': {
    type: 'path',
    group: 'Local files',
    unit: 'DIRECTORY',
    help: 'where staged changes, the catalog and the cache are kept, one sub-directory for each workspace; uncommitted changes live only here',
    default: (env: Environment) => join(stateHome(env), 'artifactfs'),
    defaultText: '$XDG_STATE_HOME/artifactfs',
  },
  'cache-size': {
    type: 'bytes',
    group: 'Local files',
    unit: 'SIZE',
    help: 'disk space for cached blocks of the store; staged changes take what they need besides, and push cached blocks out when the disk is full',
    min: 64 * 2 ** 20,
    default: () => 10 * 2 ** 30,
    defaultText: '10GiB',
  },
  memory: {
    type: 'bytes',
    group: 'Local files',
    unit: 'SIZE',
    help: 'memory for everything that the daemon caches, reads ahead, sends and takes in; the program (about 100MiB) and what it knows of the files in use come besides',
    min: memoryBytesMin,
    default: () => defaultMemoryBytes(),
    defaultText: "a quarter of the control group's limit, from 32MiB to 192MiB",
  },

  'read-only': {
    type: 'flag',
    group: 'Mount',
    help: 'refuse every change',
    default: () => false,
    defaultText: 'off',
  },
  'allow-other': {
    type: 'flag',
    group: 'Mount',
    help: 'let other users into the mount, where the modes of the files decide, as on a local disk; needs user_allow_other in /etc/fuse.conf unless root mounts',
    // What root mounts is for the machine: services that run as users of their own have to find their files.
    default: () => process.geteuid?.() === 0,
    defaultText: 'on for root, else off',
  },
  'write-cache': {
    type: 'flag',
    group: 'Mount',
    help: 'let the kernel keep what programs write until they close or sync the file, or for some seconds; without it every write is safe from the end of the daemon when it returns, and small ones are slower',
    default: () => true,
    defaultText: 'on',
  },
  driver: {
    type: 'choice',
    choices: ['kernel', 'fuse-native'],
    group: 'Mount',
    help: 'what speaks to the kernel: artifactfs itself, or the package fuse-native (libfuse 2.9), which is slower and can do less; kernel falls back to it where the compiled addon does not load',
    default: () => 'kernel',
    defaultText: 'kernel',
  },
  'refresh-interval': {
    type: 'seconds',
    group: 'Mount',
    unit: 'SECONDS',
    help: 'how often the store is asked for commits of others; 0 for only when told (artifactfs refresh)',
    max: 86_400,
    default: () => 10,
    defaultText: '10',
  },
  'request-timeout': {
    type: 'seconds',
    group: 'Mount',
    unit: 'SECONDS',
    help: 'how long a program waits for the store at most, before its call fails with ETIMEDOUT; commits take as long as they need',
    min: 1,
    max: 86_400,
    default: () => 120,
    defaultText: '120',
  },
  'stop-timeout': {
    type: 'seconds',
    group: 'Mount',
    unit: 'SECONDS',
    help: 'how long a daemon that is told to stop waits for running requests, first of the kernel, then of the control API; then they are cut off, and uploads go on at the next start',
    max: 3600,
    default: () => 30,
    defaultText: '30',
  },

  'log-level': {
    type: 'choice',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
    group: 'Log',
    help: 'the least severe message that is logged',
    default: () => 'info',
    defaultText: 'info',
  },
  'log-format': {
    type: 'choice',
    choices: ['json', 'text'],
    group: 'Log',
    help: 'one JSON object a line, or lines for people',
    default: () => 'json',
    defaultText: 'json',
  },
  'log-file': {
    type: 'path',
    group: 'Log',
    unit: 'FILE',
    help: 'where the log goes; a background daemon without it logs to daemon.log in its state directory, one in the foreground to standard error',
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

type OptionType = 'text' | 'store' | 'url' | 'path' | 'flag' | 'bytes' | 'seconds' | 'choice';
export type OptionGroup = 'Store' | 'Local files' | 'Mount' | 'Log';

export interface OptionSpec {
  readonly type: OptionType;
  readonly group: OptionGroup;
  /** What stands for the value in help. */
  readonly unit?: string;
  readonly help: string;
  readonly choices?: readonly string[];
  /** Smallest and largest number, both allowed. */
  readonly min?: number;
  readonly max?: number;
  /** Without it the option may stay unset. */
  readonly default?: (env: Environment) => string | number | boolean;
  readonly defaultText?: string;
  /** Has a meaning only for s3:// stores. */
  readonly s3?: boolean;
  /** Never a flag (other users see command lines), masked wherever it is shown, and its file must be private. */
  readonly secret?: boolean;
}

type Table = typeof optionTable;
export type OptionName = keyof Table;

type CamelCase<S extends string> = S extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;
type ValueOf<S extends OptionSpec> = S['type'] extends 'flag'
  ? boolean
  : S['type'] extends 'bytes' | 'seconds'
    ? number
    : S extends { readonly choices: readonly (infer C)[] }
      ? C
      : string;

/** All options with their values: bytes, seconds, absolute paths. Frozen. */
export type Config = {
  readonly [K in OptionName as CamelCase<K>]:
    | ValueOf<Table[K]>
    | (Table[K] extends { readonly default: unknown } ? never : undefined);
};

export const optionNames = Object.keys(optionTable) as OptionName[];
export const optionSpec = (name: OptionName): OptionSpec => optionTable[name];

/** `cache-size` -> ARTIFACTFS_CACHE_SIZE. */
export const environmentName = (name: string) => `ARTIFACTFS_${name.toUpperCase().replaceAll('-', '_')}`;
/** `cache-size` -> cacheSize. */
export const propertyName = (name: string) =>
  name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
