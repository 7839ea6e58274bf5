import { ArtifactError } from '../model/errors.js';
import { isObject } from './fields.js';
import type { Manifest } from './records.js';

/**
 * Which versions a manifest's `retention` keeps. A version is kept when any of the rules keeps it; the latest always is.
 * Nothing expires by itself: garbage collection proposes what this leaves, as `expire` records.
 */
export interface Retention {
  /** The newest so many that have not expired; null: no rule. */
  readonly keepLast: number | null;
  /** Those that an alias points to. */
  readonly keepTagged: boolean;
  /** Those committed less than this before now, in milliseconds; null: no rule. */
  readonly keepNewerThanMs: number | null;
}

/** What is asked of a log. `ReplayState` is one. */
export interface RetainedState {
  /** In any order. */
  readonly versions: readonly {
    readonly version: number;
    readonly timeMs: number;
    readonly expired: boolean;
  }[];
  readonly aliases: ReadonlyMap<string, number>;
}

/**
 * The retention of an artifact, from its own manifest and those of the collections above it, nearest first: the first that
 * says something decides alone. null: everything is kept. Throws `Invalid` for one that is ill-formed.
 */
export function retentionOf(manifests: Iterable<Manifest>): Retention | null {
  for (const manifest of manifests) {
    const value = manifest['retention'];
    if (value !== undefined) return value === null ? null : parseRetention(value);
  }
  return null;
}

/** Throws `Invalid` when the manifest has a `retention` that cannot be followed. */
export function checkRetention(manifest: Manifest): void {
  retentionOf([manifest]);
}

/** In order. The state is that of the log's head: who appends the record decides again when the slot is lost. */
export function versionsToExpire(state: RetainedState, retention: Retention, nowMs: number): number[] {
  const alive = state.versions.filter((version) => !version.expired);
  const newestFirst = alive.toSorted((a, b) => b.version - a.version);
  const tagged = new Set(retention.keepTagged ? state.aliases.values() : []);
  const { keepLast, keepNewerThanMs } = retention;
  const isKept = (version: { version: number; timeMs: number }, place: number): boolean =>
    place === 0 ||
    (keepLast !== null && place < keepLast) ||
    (keepNewerThanMs !== null && nowMs - version.timeMs < keepNewerThanMs) ||
    tagged.has(version.version);
  return newestFirst
    .filter((version, place) => !isKept(version, place))
    .map(({ version }) => version)
    .reverse();
}

function parseRetention(value: unknown): Retention {
  if (!isObject(value)) throw invalid('is no JSON object');
  const unknown = Object.keys(value).find((name) => !known.has(name));
  if (unknown !== undefined) throw invalid(`has the unknown field ${JSON.stringify(unknown)}`);
  const { keepLast = null, keepTagged = true, keepNewerThan = null } = value;
  if (keepLast !== null && !(Number.isSafeInteger(keepLast) && Number(keepLast) >= 1))
    throw invalid('has a keepLast that is no whole number from 1');
  if (typeof keepTagged !== 'boolean') throw invalid('has a keepTagged that is neither true nor false');
  if (keepLast === null && keepNewerThan === null)
    throw invalid('has neither keepLast nor keepNewerThan: it says of no version that it may go');
  return {
    keepLast: keepLast as number | null,
    keepTagged,
    keepNewerThanMs: keepNewerThan === null ? null : parseAge(keepNewerThan),
  };
}

const known: ReadonlySet<string> = new Set(['keepLast', 'keepTagged', 'keepNewerThan']);

const hourMs = 3_600_000;
const unitsMs: Readonly<Record<string, number>> = {
  h: hourMs,
  d: 24 * hourMs,
  w: 7 * 24 * hourMs,
  y: 365 * 24 * hourMs,
};

function parseAge(value: unknown): number {
  const match = typeof value === 'string' ? /^(\d{1,6})([hdwy])$/.exec(value) : null;
  const unitMs = unitsMs[match?.[2] ?? ''];
  if (match === null || unitMs === undefined)
    throw invalid(`has a keepNewerThan that is no age: ${JSON.stringify(value)}`);
  return Number(match[1]) * unitMs;
}

const invalid = (problem: string) =>
  new ArtifactError('Invalid', `the manifest's retention ${problem}`, {
    hint: 'write it like {"keepLast": 10, "keepTagged": true, "keepNewerThan": "30d"}; ages end in h, d, w or y; null keeps all',
  });
