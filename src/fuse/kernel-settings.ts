import { readFile, writeFile } from 'node:fs/promises';
import { limits } from '../model/limits.js';
import { findMount } from './mount-table.js';

/** What the kernel does for one mount; null where it does not tell. */
export interface KernelSettings {
  /** `major:minor`, its name under /sys. */
  readonly device: string;
  /** How far it reads ahead. */
  readonly readAheadBytes: number | null;
  /** Requests nobody waits for that it may have under way, and from how many on it slows writers down. */
  readonly backgroundMax: number | null;
  readonly congestedAt: number | null;
}

/** What a mount wants: three quarters is what the kernel itself takes for congestion. */
export const congestedAt = (backgroundMax: number): number => Math.floor((backgroundMax * 3) / 4);

/** The kernel's own figure for FUSE, which only root may raise. */
const readAheadBytesUntouched = 128 << 10;

/** The settings in force; undefined when nothing is mounted there. */
export async function readKernelSettings(mountPoint: string): Promise<KernelSettings | undefined> {
  const files = await settingFiles(mountPoint);
  if (files === undefined) return undefined;
  const [kibibytes, backgroundMax, congestion] = await Promise.all([
    readNumber(files.readAhead),
    readNumber(files.background),
    readNumber(files.congestion),
  ]);
  return {
    device: files.device,
    readAheadBytes: kibibytes === null ? null : kibibytes * 1024,
    backgroundMax,
    congestedAt: congestion,
  };
}

/**
 * Lets the kernel read ahead further and keep more requests under way than it gives to FUSE by itself, where this user
 * may (root). Answers how far it reads ahead; with 128 KiB reads come in smaller pieces, which costs speed only.
 */
export async function tuneKernel(mountPoint: string, readAheadBytes: number): Promise<number> {
  const files = await settingFiles(mountPoint);
  if (files === undefined) return readAheadBytesUntouched;
  await writeNumber(files.readAhead, readAheadBytes >> 10);
  // Agreed on at INIT already, but for the limit that it has for ordinary users and the library that asks for less.
  await writeNumber(files.background, limits.fuseBackgroundRequestsMax);
  await writeNumber(files.congestion, congestedAt(limits.fuseBackgroundRequestsMax));
  const kibibytes = await readNumber(files.readAhead);
  return kibibytes === null ? readAheadBytesUntouched : kibibytes * 1024;
}

export const readAheadFile = (device: string): string => `/sys/class/bdi/${device}/read_ahead_kb`;

async function settingFiles(mountPoint: string) {
  const device = (await findMount(mountPoint))?.device;
  if (device === undefined) return undefined;
  const connection = `/sys/fs/fuse/connections/${device.slice(device.indexOf(':') + 1)}`;
  return {
    device,
    readAhead: readAheadFile(device),
    background: `${connection}/max_background`,
    congestion: `${connection}/congestion_threshold`,
  };
}

async function readNumber(path: string): Promise<number | null> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return /^\d+\s*$/.test(text) ? Number(text) : null;
}

async function writeNumber(path: string, value: number): Promise<void> {
  await writeFile(path, String(value)).catch(() => {}); // what is in force is read and shown
}
