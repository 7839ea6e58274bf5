import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { compareNames } from '../../model/entry.js';
import { isMissing } from './file-errors.js';
import { nameToSegment } from './key-path.js';

interface Segment {
  /** What it adds to the key: a file's last segment, or a directory's with its slash. */
  readonly text: string;
  readonly path: string;
  readonly isDir: boolean;
}

/**
 * Keys under `dir` and their paths in byte order of keys. A directory is read when the walk comes to it, and left
 * out when no key in it can start with `prefix` or come after `after`.
 */
export async function* listKeys(
  dir: string,
  prefix: string,
  after: string,
  base = '',
): AsyncIterable<{ key: string; path: string }> {
  const segments = await readSegments(dir, '');
  for (const { text, path, isDir } of segments.sort((a, b) => compareNames(a.text, b.text))) {
    const key = base + text;
    if (!isDir) {
      if (key.startsWith(prefix) && (after === '' || compareNames(key, after) > 0)) yield { key, path };
    } else if (mayHold(key, prefix) && mayComeAfter(key, after)) {
      yield* listKeys(path, prefix, after, key);
    }
  }
}

const mayHold = (folder: string, prefix: string): boolean =>
  folder.startsWith(prefix) || prefix.startsWith(folder);

const mayComeAfter = (folder: string, after: string): boolean =>
  after === '' || after.startsWith(folder) || compareNames(folder, after) > 0;

/** One directory as segments of keys; folders that only continue a long name are read at once. */
async function readSegments(dir: string, start: string): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const entry of await entries(dir)) {
    const name = nameToSegment(entry.name);
    if (name === null) continue;
    const path = join(dir, entry.name);
    const text = start + name.text;
    const isDir = entry.isDirectory();
    if (name.continues && isDir) segments.push(...(await readSegments(path, text)));
    else if (isDir || entry.isFile()) segments.push({ text: isDir ? `${text}/` : text, path, isDir });
  }
  return segments;
}

async function entries(dir: string): Promise<Dirent[]> {
  try {
    return await readdir(dir, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
