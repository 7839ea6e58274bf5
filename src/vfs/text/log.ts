import type { VersionInfo } from '../../catalog/ports.js';

/** The versions of an artifact, newest first, as `git log` writes commits. */
export function logText(versions: readonly VersionInfo[], aliases: Readonly<Record<string, number>>): string {
  const names = new Map<number, string[]>();
  const latest = versions.find((version) => !version.expired);
  if (latest !== undefined) names.set(latest.version, ['latest']);
  for (const [alias, version] of Object.entries(aliases)) {
    names.set(version, [...(names.get(version) ?? []), alias]);
  }
  return versions.map((version) => versionText(version, names.get(version.version) ?? [])).join('\n');
}

function versionText(version: VersionInfo, names: readonly string[]): string {
  const also = version.expired ? [...names, 'expired'] : names;
  const lines = [
    `version v${version.version}${also.length > 0 ? ` (${also.join(', ')})` : ''}`,
    `Commit:  ${version.commitId}`,
    `Author:  ${version.user}@${version.host}`,
    `Date:    ${new Date(version.timeMs).toISOString()}`,
    `Changes: ${version.added} added, ${version.changed} changed, ${version.removed} removed`,
  ];
  if (version.message !== '') {
    lines.push('', ...version.message.split('\n').map((line) => (line === '' ? '' : `    ${line}`)));
  }
  return `${lines.join('\n')}\n`;
}
