import { keyToPath, pathToKey } from '../store/file/key-path.js';
import { Fields, parseJson } from '../workspace/fields.js';

/**
 * A tar with an artifact and its history is a workspace that has this artifact alone, file by file as a file:// store has it:
 * who unpacks it can mount it. Its first entry says what it is, and its last has the SHA-256 of every other one, in the form
 * that sha256sum(1) checks.
 */
export interface HistoryHead {
  readonly name: string;
  readonly artifactId: string;
}

export const headPath = 'artifactfs-export.json';
export const sumsPath = 'artifactfs-export.sha256';
const kind = 'artifactfs.export';

export function encodeHead(head: HistoryHead): Buffer {
  return Buffer.from(`${JSON.stringify({ kind, formatVersion: 1, ...head }, null, 2)}\n`);
}

/** Throws `Corrupt` or `UnsupportedFormat`. */
export function decodeHead(where: string, bytes: Buffer): HistoryHead {
  const fields = new Fields(where, parseJson(where, bytes.toString()));
  fields.literal('kind', kind);
  fields.formatVersion(1);
  return { name: fields.string('name'), artifactId: fields.string('artifactId') };
}

export const encodeSums = (sums: ReadonlyMap<string, string>): Buffer =>
  Buffer.from([...sums].map(([path, sha256]) => `${sha256}  ${path}\n`).join(''));

/** By path; null when it is none. */
export function decodeSums(bytes: Buffer): Map<string, string> | null {
  const lines = bytes.toString().split('\n');
  if (lines.pop() !== '') return null;
  const sums = new Map<string, string>();
  for (const line of lines) {
    const [, sha256, path] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? [];
    if (sha256 === undefined || path === undefined) return null;
    sums.set(path, sha256);
  }
  return sums;
}

export { keyToPath as pathOfKey, pathToKey as keyOfPath };
