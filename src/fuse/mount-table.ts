import { readFile } from 'node:fs/promises';

/** One line of /proc/self/mountinfo. */
export interface MountedPlace {
  readonly path: string;
  /** `major:minor` of its st_dev. */
  readonly device: string;
  /** `fuse.artifactfs`, `ext4`. */
  readonly type: string;
  readonly source: string;
}

/** The kernel's table of mounts, oldest first: of several on one path the last one is seen. Empty but on Linux. */
async function readMountTable(): Promise<MountedPlace[]> {
  if (process.platform !== 'linux') return [];
  return parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
}

export function parseMountTable(text: string): MountedPlace[] {
  const places: MountedPlace[] = [];
  for (const line of text.split('\n')) {
    // id parent major:minor root path options [tags...] - type source super-options
    const [before, after] = line.split(' - ', 2);
    const [, , device, , path] = before?.split(' ') ?? [];
    const [type, source] = after?.split(' ') ?? [];
    if (device === undefined || path === undefined || type === undefined) continue;
    places.push({ device, path: unescapeOctal(path), type, source: unescapeOctal(source ?? '') });
  }
  return places;
}

export async function findMount(path: string): Promise<MountedPlace | undefined> {
  return (await readMountTable()).findLast((place) => place.path === path);
}

/** Spaces and the like are written as `\040`, one for each byte. */
function unescapeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  const latin1 = Buffer.from(text).toString('latin1');
  const bytes = latin1.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
