// Running programs with a time limit, and what a process uses.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export const root = new URL('../..', import.meta.url).pathname;
export const cli = new URL('../../dist/bin/main.js', import.meta.url).pathname;
const outputBytesMax = 64 << 20;
const secondsMax = 180;
const ticksPerSecond = 100;

/**
 * What the program printed. One that fails, or takes longer than `seconds`, is an error that says what it printed; one
 * that cannot even be killed, because its file system hangs, is left behind.
 *
 * @param {{seconds?: number, env?: Record<string, string>, cwd?: string}} [options]
 * @returns {Promise<string>}
 */
export function run(program, words, { seconds = secondsMax, env, cwd } = {}) {
  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${program} ${words.join(' ').slice(0, 200)}: ${why}`));
    const options = { env: { ...process.env, ...env }, cwd, maxBuffer: outputBytesMax };
    const child = execFile(program, words, options, (error, stdout, stderr) => {
      clearTimeout(timer);
      if (error === null) resolve(stdout);
      else fail(stderr.trim() || error.message);
    });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`took more than ${seconds} s`);
    }, seconds * 1000);
  });
}

export const shell = (command, options) => run('bash', ['-e', '-o', 'pipefail', '-c', command], options);

/** Runs a job of ops.c in a directory; it prints one number. */
export const ops = async (...words) => Number(await run(`${root}build/bench/ops`, words.map(String)));

/** @returns {Promise<number>} seconds */
export async function timed(job) {
  const start = performance.now();
  await job();
  return (performance.now() - start) / 1000;
}

/** Asks until it is so. */
export async function until(isSo, what, seconds = secondsMax) {
  for (const end = performance.now() + seconds * 1000; !(await isSo()); await sleep(20))
    if (performance.now() > end) throw new Error(`${what}: not after ${seconds} s`);
}

/** 1: pages, 2: names and attributes, 3: both. What is not yet on the disk goes there first: it could not be dropped. */
export async function dropCaches(which) {
  await run('sync', []);
  writeFileSync('/proc/sys/vm/drop_caches', String(which));
}

export const isMounted = (path) =>
  readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === path);

export function isRunning(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Processor time of a process, with all its threads, in seconds; in steps of 10 ms. */
export function processorSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** The same exactly, for a process whose threads neither begin nor end meanwhile. */
export async function exactProcessorSeconds(pid) {
  const tasks = await readdir(`/proc/${pid}/task`);
  const texts = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/schedstat`, 'utf8')),
  );
  return texts.reduce((sum, text) => sum + Number(text.split(' ')[0]), 0) / 1e9;
}

/** The most memory that was resident since it was forgotten, in bytes. */
export function peakBytes(pid) {
  const [, kib = '0'] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

export const forgetPeak = (pid) => writeFileSync(`/proc/${pid}/clear_refs`, '5');

export function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
