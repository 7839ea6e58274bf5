import { isDeepStrictEqual } from 'node:util';
import type { ReplayedVersion, ReplayState } from '../workspace/replay.js';
import type { ArtifactFacts } from './catalog-facts.js';
import type { VersionInfo } from './ports.js';

/**
 * In what a catalog differs from a replay of the log, in words. It may be behind, or ahead by what was committed since the log was
 * read: then only what both know is compared.
 */
export function differences(facts: ArtifactFacts, state: ReplayState): string[] {
  const isSame = facts.headSeq === state.headSeq;
  const found: string[] = [];
  if (isSame && facts.headHash !== state.headHash)
    found.push(`record ${state.headSeq} has the hash ${facts.headHash}, and in the store ${state.headHash}`);
  for (const info of facts.versions) {
    const version = state.versions[info.version];
    if (version === undefined) {
      if (info.seq <= state.headSeq) found.push(`v${info.version} is not in the log`);
      continue;
    }
    const fields = differentFields(info, version).filter((field) => isSame || field !== 'expired');
    if (fields.length > 0) found.push(`v${info.version} has another ${fields.join(', ')}`);
  }
  const known = new Set(facts.versions.map(({ version }) => version));
  for (const { version, seq } of state.versions)
    if (seq <= facts.headSeq && !known.has(version)) found.push(`v${version} is missing`);
  if (isSame) found.push(...otherDifferences(facts, state));
  return found;
}

function differentFields(info: VersionInfo, version: ReplayedVersion): string[] {
  const { summary, baseSeq: _, stages: __, inputs: ___, ...fields } = version;
  return Object.entries({ ...fields, ...summary })
    .filter(([name, value]) => !isDeepStrictEqual(info[name as keyof VersionInfo], value))
    .map(([name]) => name);
}

function otherDifferences({ aliases, children, manifest }: ArtifactFacts, state: ReplayState): string[] {
  const found: string[] = [];
  const names = new Map(children.map(({ name, artifactId }) => [name, artifactId]));
  if (!isDeepStrictEqual(new Map(Object.entries(aliases)), state.aliases)) found.push('other aliases');
  if (!isDeepStrictEqual(names, state.children)) found.push('other names of artifacts');
  if (!isDeepStrictEqual(manifest, state.manifest)) found.push('another manifest');
  return found;
}
