import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { defaultMemoryBytes, memoryAllowedBytes } from '../../src/config/memory.js';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'artifactfs-cgroup-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function file(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

test('without control groups the machine is the limit', () => {
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(16 * GiB);
});

test('version 2: the smallest limit from the group up to the root', () => {
  file('proc/self/cgroup', '0::/a/b\n');
  file('sys/fs/cgroup/a/b/memory.max', 'max\n');
  file('sys/fs/cgroup/a/memory.max', `${2 * GiB}\n`);
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(2 * GiB);
  file('sys/fs/cgroup/a/b/memory.high', `${GiB}\n`);
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(GiB);
});

test('version 2 in a container, whose own path is not visible', () => {
  file('proc/self/cgroup', '0::/docker/0123\n');
  file('sys/fs/cgroup/memory.max', `${GiB}\n`);
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(GiB);
});

test('version 1, where no limit is a huge number', () => {
  file('proc/self/cgroup', '12:cpu,cpuacct:/x\n7:memory:/x\n');
  file('sys/fs/cgroup/memory/x/memory.limit_in_bytes', '9223372036854771712\n');
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(16 * GiB);
  file('sys/fs/cgroup/memory/memory.limit_in_bytes', `${4 * GiB}\n`);
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(4 * GiB);
});

test('limits of the process itself count, too', () => {
  const line = (name: string, soft: string) =>
    `${name.padEnd(26)}${soft.padEnd(21)}unlimited            bytes     \n`;
  file('proc/self/limits', line('Max data size', 'unlimited') + line('Max address space', String(2 * GiB)));
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(2 * GiB);
  file('proc/self/limits', line('Max data size', String(GiB)) + line('Max address space', 'unlimited'));
  expect(memoryAllowedBytes(root, 16 * GiB)).toBe(GiB);
});

test('the default is a quarter, from 32 to 192 MiB', () => {
  expect(defaultMemoryBytes(root, 512 * MiB)).toBe(128 * MiB);
  expect(defaultMemoryBytes(root, 64 * MiB)).toBe(32 * MiB);
  expect(defaultMemoryBytes(root, 64 * GiB)).toBe(192 * MiB);
});
