import type { Time } from '../../model/entry.js';

/** Extended attributes as stored: name -> value in base64. */
export type Xattrs = Readonly<Record<string, string>>;

/** What few inodes have. */
export interface Rare {
  target: string;
  xattrs: Xattrs | null;
  extra: Readonly<Record<string, unknown>> | null;
  rdev: number;
  atimeSet: boolean;
}

/** Of staged inodes. */
export interface Changed {
  gen: number;
  contentGen: number;
  file: number;
  fileGen: number;
  logged: number;
}

/** Of inodes that are, or were, open. */
export interface Use {
  isLinkable: boolean;
  isDiscarded: boolean;
  opens: number;
  openForWriting: number;
  readers: number;
  writesRunning: number;
  growing: Promise<void> | null;
  timesTold: boolean;
  timesOwed: Time | null;
}

// Shared by all that have none of their own.
export const nothingRare: Rare = Object.freeze({
  target: '',
  xattrs: null,
  extra: null,
  rdev: 0,
  atimeSet: false,
});
export const unchanged: Changed = Object.freeze({ gen: 0, contentGen: 0, file: 0, fileGen: 0, logged: 0 });
export const unused: Use = Object.freeze({
  isLinkable: false,
  isDiscarded: false,
  opens: 0,
  openForWriting: 0,
  readers: 0,
  writesRunning: 0,
  growing: null,
  timesTold: false,
  timesOwed: null,
});

export function sameXattrs(a: Xattrs | null, b: Xattrs | null): boolean {
  if (a === null || b === null) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}
