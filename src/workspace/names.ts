import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';

/** Throws `InvalidName` or `NameTooLong` unless `name` may name a file inside an artifact. */
export function checkFileName(name: string): void {
  const problem = nameProblem(name);
  if (problem !== null) throw invalid('file', name, problem);
  checkLength(name);
}

/** The same for an artifact in a collection. */
export function checkArtifactName(name: string): void {
  const problem =
    name.startsWith('.') || name.startsWith('@') ? `starts with '${name[0]}'` : nameProblem(name);
  if (problem !== null) throw invalid('artifact', name, problem);
  checkLength(name);
}

/** The same for an alias: it must not look like a version, nor like what is computed. */
export function checkAliasName(alias: string): void {
  const reserved = alias === 'latest' || alias === 'stage' || /^v?\d+(~\d+)?$/.test(alias);
  const problem = reserved
    ? 'is reserved for versions'
    : alias.startsWith('.') || alias.startsWith('@')
      ? `starts with '${alias[0]}'`
      : nameProblem(alias);
  if (problem !== null) throw invalid('alias', alias, problem);
  checkLength(alias);
}

function nameProblem(name: string): string | null {
  if (name === '') return 'is empty';
  if (name === '.' || name === '..') return 'is reserved';
  if (name.includes('/')) return "holds a '/'";
  if (name.includes('\0')) return 'holds a NUL';
  if (/\p{Surrogate}/u.test(name)) return 'is not valid Unicode';
  return null;
}

function checkLength(name: string): void {
  // A UTF-16 code unit is at most three bytes, so most names need no counting.
  if (name.length * 3 <= limits.nameBytesMax) return;
  const bytes = Buffer.byteLength(name);
  if (bytes > limits.nameBytesMax)
    throw new ArtifactError(
      'NameTooLong',
      `the name ${JSON.stringify(`${name.slice(0, 40)}...`)} has ${bytes} bytes; ${limits.nameBytesMax} are allowed`,
    );
}

const invalid = (thing: string, name: string, problem: string) =>
  new ArtifactError('InvalidName', `the ${thing} name ${JSON.stringify(name.slice(0, 100))} ${problem}`);
