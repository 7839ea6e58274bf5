import { writeFile } from 'node:fs/promises';
import { findMount } from './mount-table.js';

/**
 * Lets the kernel read ahead further than the 128 KiB it gives to FUSE, where this user may (root). Answers what is in
 * force; with 128 KiB reads come in pieces of 128 KiB, which costs speed and nothing else.
 */
export async function raiseReadAhead(path: string, bytes: number): Promise<number> {
  const untouched = 128 << 10;
  const device = (await findMount(path))?.device;
  if (device === undefined) return untouched;
  try {
    await writeFile(`/sys/class/bdi/${device}/read_ahead_kb`, String(bytes >> 10));
    return bytes;
  } catch {
    return untouched;
  }
}
