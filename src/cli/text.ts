import type { FileInfo, StagedPath, Summary, Version } from '../http/schemas.js';
import type { Kind } from '../model/entry.js';

/** Words and numbers as all verbs write them. */
export const plural = (n: number, one: string, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

export function summaryText({ added, changed, removed }: Summary): string {
  const parts = [
    added > 0 ? `${added} added` : '',
    changed > 0 ? `${changed} changed` : '',
    removed > 0 ? `${removed} removed` : '',
  ].filter((part) => part !== '');
  return parts.length === 0 ? 'no files changed' : parts.join(', ');
}

/** Local time to the minute: 2026-11-21 10:38. */
export function timeText(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return '?';
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

export const versionText = (version: Version | null) => (version === null ? '-' : `v${version.version}`);
export const fileTime = ({ mtime }: FileInfo) => timeText(mtime.s * 1000 + mtime.ns / 1e6);

const kindLetters: Readonly<Record<Kind, string>> = {
  file: '-',
  dir: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  char: 'c',
  block: 'b',
};

/** -rwxr-xr-x, with s and t as ls writes them. */
export function modeText(kind: Kind, mode: number): string {
  const triple = (bits: number, special: boolean, letter: string) => {
    const execute = bits & 1 ? (special ? letter : 'x') : special ? letter.toUpperCase() : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${execute}`;
  };
  return [
    kindLetters[kind],
    triple((mode >> 6) & 7, (mode & 0o4000) !== 0, 's'),
    triple((mode >> 3) & 7, (mode & 0o2000) !== 0, 's'),
    triple(mode & 7, (mode & 0o1000) !== 0, 't'),
  ].join('');
}

export function stagedText(staged: StagedPath): string {
  const name = staged.kind === 'dir' ? `${staged.path}/` : staged.path;
  return staged.from === undefined ? name : `${staged.from} -> ${name}`;
}

export const singleWriterText =
  'this store has no create-if-absent: nobody else may write to it while it is mounted here';
