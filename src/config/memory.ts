import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';

/** With the program itself this is below 350 MB; more is no faster, for the kernel caches files beside it. */
const memoryDefaultBytesMax = 192 * 2 ** 20;
export const memoryBytesMin = 32 * 2 ** 20;

/** A quarter of what this process may use, from 32 to 192 MiB. */
export function defaultMemoryBytes(root = '/', machineBytes = totalmem()): number {
  const quarter = Math.floor(memoryAllowedBytes(root, machineBytes) / 4);
  return Math.max(memoryBytesMin, Math.min(memoryDefaultBytesMax, quarter));
}

/**
 * The machine's memory, or the smallest limit of this process (`ulimit -d`, `-v`) and of the control groups around it,
 * version 2 or 1. `root` stands in for '/' in tests.
 */
export function memoryAllowedBytes(root = '/', machineBytes = totalmem()): number {
  let smallest = Math.min(machineBytes, processLimitBytes(root));
  const groups = readText(join(root, 'proc/self/cgroup')) ?? '';
  for (const file of limitFiles(root, groups)) {
    const text = readText(file)?.trim();
    // 'max' in version 2; version 1 says "none" as a number near 2^63, which the machine's memory is below.
    if (text !== undefined && /^\d+$/.test(text)) smallest = Math.min(smallest, Number(text));
  }
  return smallest;
}

function processLimitBytes(root: string): number {
  const limits = readText(join(root, 'proc/self/limits')) ?? '';
  const soft = [...limits.matchAll(/^Max (?:data size|address space) +(\d+) /gm)].map(([, bytes]) =>
    Number(bytes),
  );
  return Math.min(Number.POSITIVE_INFINITY, ...soft);
}

function limitFiles(root: string, groups: string): string[] {
  const files: string[] = [];
  for (const line of groups.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined || controllers === undefined) continue;
    if (controllers === '')
      files.push(...upward(join(root, 'sys/fs/cgroup'), path, ['memory.max', 'memory.high']));
    if (controllers.split(',').includes('memory')) {
      files.push(...upward(join(root, 'sys/fs/cgroup/memory'), path, ['memory.limit_in_bytes']));
    }
  }
  return files;
}

/** A limit of an outer group binds as well. Inside a container the path may not exist below the mount; its root does. */
function upward(base: string, path: string, names: readonly string[]): string[] {
  const files: string[] = [];
  for (let group = join('/', path); ; group = dirname(group)) {
    files.push(...names.map((name) => join(base, group, name)));
    if (group === '/') return files;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Absent on this system: no limit is known from it.
    return undefined;
  }
}
