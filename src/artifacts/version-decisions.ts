import type { Catalog } from '../catalog/ports.js';
import { ArtifactError } from '../model/errors.js';
import type { RecordBody, StoredRecord } from '../workspace/records.js';
import { applyToVersions, latestVersion, type VersionState } from '../workspace/replay.js';
import type { AliasChange } from './ports.js';

/** A record about versions or aliases, decided anew for each head of the log that it might follow. */
export interface VersionDecision<T> {
  /** null: the log says already what was wanted. Throws when it does not allow it. */
  decide(state: VersionState): RecordBody | null;
  /** What came of the last decision. */
  readonly result: T;
}

/** What the catalog knows of an artifact's versions, and what records say that it does not know. */
export function versionState(
  catalog: Catalog,
  artifactId: string,
  since: readonly StoredRecord[],
): VersionState {
  const state: VersionState = {
    versions: catalog
      .versions(artifactId)
      .map(({ version, timeMs, expired }) => ({ version, timeMs, expired }))
      .reverse(),
    aliases: new Map(Object.entries(catalog.aliases(artifactId))),
  };
  for (const { record } of since) applyToVersions(state, record);
  return state;
}

export class AliasMove implements VersionDecision<AliasChange> {
  readonly #path: string;
  readonly #alias: string;
  readonly #version: number | null;
  readonly #expected: number | null | undefined;
  #before: number | null = null;

  /** `expected` undefined: the alias is moved wherever it stands. */
  constructor(move: {
    path: string;
    alias: string;
    version: number | null;
    expected: number | null | undefined;
  }) {
    this.#path = move.path;
    this.#alias = move.alias;
    this.#version = move.version;
    this.#expected = move.expected;
  }

  get result(): AliasChange {
    return { alias: this.#alias, before: this.#before, version: this.#version };
  }

  decide({ versions, aliases }: VersionState): RecordBody | null {
    const [alias, version, now] = [this.#alias, this.#version, aliases.get(this.#alias) ?? null];
    this.#before = now;
    if (this.#expected !== undefined && now !== this.#expected)
      throw new ArtifactError('Conflict', this.#standsElsewhere(now, this.#expected), {
        alias,
        expected: this.#expected,
        found: now,
        hint: 'look what moved it (artifactfs log), then name what it is now with --expected',
      });
    if (version === null && now === null)
      throw new ArtifactError('NotFound', `${this.#path} has no alias ${alias}`);
    if (version !== null && versions[version]?.expired !== false)
      throw new ArtifactError(
        'NotFound',
        `v${version} of ${this.#path} has expired: no alias can point to it`,
      );
    return now === version ? null : { type: 'alias', alias, expected: now, version };
  }

  #standsElsewhere(now: number | null, expected: number | null): string {
    const of = `${this.#alias} of ${this.#path}`;
    if (now === null) return `${of} does not exist now; it was expected to be v${expected}`;
    return expected === null
      ? `${of} exists already: it is v${now}`
      : `${of} is v${now} now, not v${expected}`;
  }
}

export class Expiry implements VersionDecision<readonly number[]> {
  readonly #path: string;
  readonly #versions: readonly number[];
  #result: readonly number[] = [];

  constructor(path: string, versions: readonly number[]) {
    this.#path = path;
    this.#versions = [...new Set(versions)].sort((a, b) => a - b);
  }

  get result(): readonly number[] {
    return this.#result;
  }

  decide(state: VersionState): RecordBody | null {
    const latest = latestVersion(state)?.version;
    this.#result = this.#versions.filter((version) => {
      const known = state.versions[version];
      if (known === undefined)
        throw new ArtifactError('NotFound', `${this.#path} has no version v${version}`, {
          hint: `artifactfs log ${this.#path} lists them`,
        });
      if (known.expired) return false;
      if (version === latest)
        throw new ArtifactError('NotPermitted', `v${version} is the latest of ${this.#path}: it stays`, {
          hint: `commit what comes after it first, or remove the artifact: artifactfs rm ${this.#path}`,
        });
      this.#checkAliases(version, state.aliases);
      return true;
    });
    return this.#result.length === 0 ? null : { type: 'expire', versions: this.#result };
  }

  #checkAliases(version: number, aliases: ReadonlyMap<string, number>): void {
    const names = [...aliases].filter(([, target]) => target === version).map(([alias]) => alias);
    if (names.length === 0) return;
    throw new ArtifactError('NotPermitted', `${names.join(', ')} of ${this.#path} is v${version}: it stays`, {
      aliases: names,
      hint: `move or delete the alias first: artifactfs alias ${this.#path} ${names[0]} --delete`,
    });
  }
}
