import { toArtifactError } from '../../model/errors.js';

const pathsShownMax = 20;

/** A failure in words: what happened, which paths, what to do. Ends with a newline. */
export function errorText(thrown: unknown): string {
  const error = toArtifactError(thrown);
  const lines = [`${error.code}: ${error.message}`];
  const paths = error.details['paths'];
  if (Array.isArray(paths)) {
    for (const path of paths.slice(0, pathsShownMax)) lines.push(`  ${String(path)}`);
    if (paths.length > pathsShownMax) lines.push(`  and ${paths.length - pathsShownMax} more`);
  }
  if (error.details.hint !== undefined) lines.push(error.details.hint);
  return `${lines.join('\n')}\n`;
}
