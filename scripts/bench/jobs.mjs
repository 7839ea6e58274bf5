import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url).pathname;
const outputBytesMax = 256 << 20;

/**
 * One thing that is timed. A job may rely on what the jobs before it in the list have left. `better: 'higher'` is a
 * rate, `'lower'` are seconds.
 *
 * @typedef {object} Job
 * @property {string} name
 * @property {string} title
 * @property {string} unit
 * @property {'higher' | 'lower'} better
 * @property {(c: Context) => Promise<number>} run
 *
 * @typedef {object} Context
 * @property {import('./file-systems.mjs').FileSystem} system
 * @property {{files: number, megabytes: number, many: number, work: string}} sizes
 */

const rate = (name, title, unit, job, count, before) => ({
  name,
  title,
  unit,
  better: 'higher',
  async run(context) {
    await before?.(context);
    return ops(job, context, count(context));
  },
});

const seconds = (name, title, job, before) => ({
  name,
  title,
  unit: 's',
  better: 'lower',
  async run(context) {
    await before?.(context);
    const start = performance.now();
    await job(context);
    return (performance.now() - start) / 1000;
  },
});

const small = ({ system, sizes }) => Math.ceil(sizes.files * system.share);
const pieces = ({ sizes }) => sizes.megabytes;

/** @type {Job[]} */
export const jobs = [
  rate('create', 'create, write 4 KiB, close', 'files/s', 'create', small),
  rate('stat', 'stat again', '/s', 'stat', small, (c) => ops('stat', c, small(c))),
  rate('stat-uncached', 'stat, names forgotten by the kernel', '/s', 'stat', small, forgetNames),
  rate('missing', 'stat of missing names, first', '/s', 'missing', small),
  rate('missing-again', 'stat of missing names, again', '/s', 'missing', small),
  rate('read-small', 'open, read 4 KiB, close', 'files/s', 'read-small', small),
  rate('unlink', 'unlink', 'files/s', 'unlink', small),
  rate('write', 'write, close', 'MiB/s', 'write', pieces, settle),
  rate('write-sync', 'write, fsync, close', 'MiB/s', 'write-sync', pieces, settle),
  rate('read', 'read, page cache kept', 'MiB/s', 'read', pieces, (c) => ops('read', c, pieces(c))),
  rate('read-dropped', 'read, page cache dropped', 'MiB/s', 'read', pieces, forgetPages),
  rate('append', 'append lines of 100 bytes', 'lines/s', 'append', (c) => 10 * small(c), settle),
  seconds('tar', 'tar x of a source tree', unpack, prepareTar),
  seconds('rm', 'rm -rf of it', ({ system }) => run('rm', ['-rf', join(system.directory, 'tar')])),
];

/** Only where `share` is 1: elsewhere they take many minutes. */
export const longJobs = [
  seconds('git', 'git clone', clone, prepareRepository),
  seconds('npm', 'npm ci of this project', npmCi, prepareProject),
];

/** Once, with many files, and only where `share` is 1: a listing right after mounting, and the same again. */
export const listings = [
  seconds('ls-first', 'ls -lR of many, first', list, async (c) => {
    const many = { ...c, system: { ...c.system, directory: join(c.system.directory, 'many') } };
    mkdirSync(many.system.directory);
    await ops('create', many, c.sizes.many);
    await c.system.publish?.();
    await c.system.unmount();
    await run('sync');
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    await c.system.mount();
  }),
  seconds('ls-again', 'ls -lR of many, again', list),
];

async function ops(job, { system }, count) {
  const { stdout } = await run(join(root, 'build/bench/ops'), [job, system.directory, String(count)]);
  return Number(stdout);
}

/** What was written before must not be on its way to the disk while the next job is timed. */
function settle() {
  return run('sync');
}

async function forgetNames() {
  await run('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '2');
}

async function forgetPages() {
  await run('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '1');
}

function list({ system }) {
  return run('ls', ['-lR', system.directory], { maxBuffer: outputBytesMax });
}

/** The source tree: this repository's packages as they are unpacked, cut down by the file system's share. */
async function prepareTar({ system, sizes }) {
  const archive = archiveOf(sizes.work, system.share);
  if (!existsSync(archive)) {
    const { stdout } = await run('find', ['node_modules', '-type', 'f'], {
      cwd: root,
      maxBuffer: outputBytesMax,
    });
    const names = stdout.split('\n').filter(Boolean).sort();
    const chosen = names.slice(0, Math.ceil(sizes.files * system.share));
    const listFile = `${archive}.names`;
    writeFileSync(listFile, chosen.join('\n'));
    await run('tar', ['cf', archive, '-C', root, '-T', listFile]);
  }
  mkdirSync(join(system.directory, 'tar'));
  await settle();
}

function archiveOf(work, share) {
  return join(work, `source-${share}.tar`);
}

function unpack({ system, sizes }) {
  return run('tar', ['xf', archiveOf(sizes.work, system.share), '-C', join(system.directory, 'tar')]);
}

const repositoryOf = (work, share) => join(work, `repository-${share}`);

async function prepareRepository({ system, sizes }) {
  const repository = repositoryOf(sizes.work, system.share);
  if (!existsSync(repository)) {
    mkdirSync(repository);
    await run('tar', ['xf', archiveOf(sizes.work, system.share), '-C', repository]);
    const git = (...words) => run('git', words, { cwd: repository, maxBuffer: outputBytesMax });
    await git('init', '-q');
    await git('add', '-A', '-f');
    await git('-c', 'user.name=bench', '-c', 'user.email=bench@example.org', 'commit', '-qm', 'all');
  }
  await settle();
}

function clone({ system, sizes }) {
  return run('git', [
    'clone',
    '-q',
    '--no-local',
    repositoryOf(sizes.work, system.share),
    join(system.directory, 'git'),
  ]);
}

const npm = (directory, cache) =>
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--cache', cache], {
    cwd: directory,
    maxBuffer: outputBytesMax,
  });

async function prepareProject({ system, sizes }) {
  const cache = join(sizes.work, 'npm-cache');
  const files = (directory) => {
    mkdirSync(directory, { recursive: true });
    for (const name of ['package.json', 'package-lock.json']) cpSync(join(root, name), join(directory, name));
  };
  if (!existsSync(cache)) {
    const first = join(sizes.work, 'npm-first');
    files(first);
    await npm(first, cache);
    rmSync(first, { recursive: true });
  }
  files(join(system.directory, 'npm'));
  await settle();
}

function npmCi({ system, sizes }) {
  return npm(join(system.directory, 'npm'), join(sizes.work, 'npm-cache'));
}
