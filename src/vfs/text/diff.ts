import type { StagedPath } from '../../artifacts/ports.js';
import type { ChangeSummary } from '../../workspace/records.js';

const letters = { added: 'A', changed: 'M', removed: 'D', renamed: 'R' } as const;

/** What the stage changes, one path a line, as `git status --short` writes it; nothing for nothing. */
export function diffText(
  from: number | null,
  diff: { readonly changes: readonly StagedPath[]; readonly summary: ChangeSummary },
): string {
  const { added, changed, removed } = diff.summary;
  if (diff.changes.length === 0) return '';
  const lines = diff.changes.map(changeLine);
  const total = added + changed + removed;
  if (total > diff.changes.length) lines.push(`... and more, ${total} in all`);
  const base = from === null ? 'nothing' : `v${from}`;
  return `${base} -> stage: ${added} added, ${changed} changed, ${removed} removed\n${lines.join('\n')}\n`;
}

function changeLine({ change, kind, path, from }: StagedPath): string {
  const slash = kind === 'dir' ? '/' : '';
  const old = from === undefined ? '' : `${quoted(from)}${slash} -> `;
  return `${letters[change]} ${old}${quoted(path)}${slash}`;
}

/** A name with control characters or quotes is written as a JSON string, so that a line is one path. */
const quoted = (path: string): string => (/[\p{Cc}"\\]/u.test(path) ? JSON.stringify(path) : path);
