import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { driver } from './world.js';

/** One line a file below `root`, sorted: kind, mode, owner, mtime to the nanosecond (to the millisecond with fuse-native), size, link target, content hash. */
export function fingerprint(root: string): string[] {
  const lines: string[] = [];
  const walk = (relative: string): void => {
    for (const name of readdirSync(join(root, relative)).sort()) {
      const path = relative === '' ? name : `${relative}/${name}`;
      const full = join(root, path);
      const stat = lstatSync(full, { bigint: true });
      const owner = `${stat.uid}:${stat.gid}`;
      const mode = (stat.mode & 0o7777n).toString(8);
      const mtime = driver === 'kernel' ? stat.mtimeNs : stat.mtimeNs - (stat.mtimeNs % 1_000_000n);
      const head = `${path} ${mode} ${owner} ${mtime}`;
      if (stat.isDirectory()) {
        lines.push(`${head} dir`);
        walk(path);
      } else if (stat.isSymbolicLink()) lines.push(`${head} -> ${readlinkSync(full)}`);
      else if (stat.isFile()) {
        lines.push(`${head} ${stat.size} ${createHash('sha256').update(readFileSync(full)).digest('hex')}`);
      } else lines.push(`${head} special ${stat.rdev}`);
    }
  };
  walk('');
  return lines;
}

/** The lines in which two fingerprints differ, a few at most: readable in a failed expectation. */
export function differences(a: readonly string[], b: readonly string[]): string[] {
  const inA = new Set(a);
  const inB = new Set(b);
  const only = [
    ...a.filter((l) => !inB.has(l)).map((l) => `- ${l}`),
    ...b.filter((l) => !inA.has(l)).map((l) => `+ ${l}`),
  ];
  return only.sort((x, y) => (x.slice(2) < y.slice(2) ? -1 : 1)).slice(0, 20);
}
