// What is timed. A job may rely on what the jobs before it in the list have left.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { atLeast, atMost, ofLimit, ofLocal, timesPeers, withinLimit, withinLocal } from './bars.mjs';
import { dropCaches, exactProcessorSeconds, ops, root, run, shell, timed } from './tools.mjs';

/**
 * A job gives the figure of its own row, or those of several rows by their names.
 *
 * @typedef {object} Row
 * @property {string} name
 * @property {string} title
 * @property {string} unit
 * @property {'higher' | 'lower'} better
 * @property {(counts: import('./servers.mjs').Counters, sizes: Sizes) => number | undefined} [from]  what the server, or
 *   else the file system, has counted
 * @property {readonly import('./bars.mjs').Bar[]} [bars]  on every server
 * @property {readonly import('./bars.mjs').Bar[]} [onLoopback]  on one without latency
 * @property {readonly import('./bars.mjs').Bar[]} [onNetwork]  on one with the latency of a network
 *
 * @typedef {object} Work
 * @property {readonly import('./file-systems.mjs').FileSystem['kind'][]} on
 * @property {boolean} [once]  in the first round only
 * @property {(c: Context) => boolean} [runs]
 * @property {readonly Row[]} [more]  rows besides its own
 * @property {(c: Context) => Promise<void>} [prepare]
 * @property {(c: Context) => Promise<number | Record<string, number>>} run
 * @property {string} [limitIs]
 * @property {(limits: import('./limits.mjs').Limits, sizes: Sizes) => Promise<number>} [limit]
 * @typedef {Row & Work} Job
 *
 * @typedef {object} Context
 * @property {import('./file-systems.mjs').FileSystem} system
 * @property {import('./servers.mjs').Server} server
 * @property {import('./limits.mjs').Limits} limits
 * @property {Sizes} sizes
 *
 * @typedef {object} Sizes
 * @property {string} work  directory
 * @property {number} files  small ones
 * @property {number} megabytes  of a large one; a power of two
 * @property {number} hugeGigabytes
 * @property {number} localFiles  of the jobs against the local file system
 */

const everyone = ['local', 'ours', 'peer'];
const mounted = ['ours', 'peer'];
const ours = ['ours'];
const hugeReads = 9;
const idleSeconds = 20;

/** Forgets everything: state, caches, names, pages. The first listing of the directory is part of mounting. */
async function cold(c) {
  await c.system.unmount();
  await c.system.wipe();
  await dropCaches(3);
  await c.system.mount();
  await run('ls', [c.system.directory]);
}

const mountAndList = ({ system }) =>
  timed(async () => {
    await system.mount();
    await run('ls', [system.directory]);
  });

/** Directories of the small tree that a job uses on this file system, of twenty. */
const directories = ({ system }) => Math.max(1, Math.round(20 * system.share));
const small = ({ system }) => join(system.directory, 'small');
/** What a part took, for the whole. */
const ofAll = async (c, job) => ((await timed(job)) * 20) / directories(c);
const filesRate = async (c, job) => c.sizes.files / (await ofAll(c, job));

const read = ({ system, sizes }) => ops('read', system.directory, sizes.megabytes);

/** @type {Job[]} */
export const storeJobs = [
  {
    ...{
      name: 'write',
      title: 'write a large file, fsync, commit',
      unit: 'MiB/s',
      better: 'higher',
      on: everyone,
    },
    bars: [ofLimit(0.9)],
    limitIs: 'a multipart upload from memory by the SDK, 8 parts of 16 MiB at a time',
    limit: (limits, { megabytes }) => limits.upload(megabytes),
    run: async ({ system, sizes }) =>
      sizes.megabytes /
      (await timed(async () => {
        await ops('write-sync', system.directory, sizes.megabytes);
        await system.publish();
      })),
  },
  {
    ...{
      name: 'copy',
      title: 'cp -r of small files, commit',
      unit: 'files/s',
      better: 'higher',
      on: everyone,
    },
    bars: [timesPeers(5)],
    onLoopback: [atLeast(2000, 'files/s')],
    onNetwork: [atLeast(1000, 'files/s')],
    limitIs: 'single PUTs of the same size by the SDK, 32 at a time',
    limit: (limits, { files }) => limits.puts(files / 4),
    prepare: async (c) => void (await shell(`mkdir ${small(c)}`)),
    run: (c) =>
      filesRate(c, async () => {
        const sources = Array.from({ length: directories(c) }, (_, i) => join(c.sizes.work, `small/d${i}`));
        await run('cp', ['-r', ...sources, small(c)]);
        await c.system.publish();
      }),
  },
  {
    ...{
      name: 'mount-cold',
      title: 'mount and first ls, no local state',
      unit: 's',
      better: 'lower',
      on: mounted,
    },
    bars: [atMost(0.5, 's')],
    prepare: async ({ system }) => {
      await system.unmount();
      await system.wipe();
      await dropCaches(3);
    },
    run: mountAndList,
  },
  {
    ...{
      name: 'mount-warm',
      title: 'mount and first ls, known before',
      unit: 's',
      better: 'lower',
      on: mounted,
    },
    bars: [atMost(0.5, 's')],
    prepare: async ({ system }) => {
      await system.unmount();
      await dropCaches(1);
    },
    run: mountAndList,
  },
  {
    ...{ name: 'ls', title: 'cold ls -lR of small files', unit: 's', better: 'lower', on: everyone },
    bars: [atMost(0.15, 's')],
    prepare: cold,
    run: (c) => ofAll(c, () => shell(`ls -lR ${small(c)} >/dev/null`)),
  },
  {
    ...{ name: 'ls-again', title: 'ls -lR of small files, again', unit: 's', better: 'lower', on: everyone },
    bars: [withinLocal(2)],
    run: (c) => ofAll(c, () => shell(`ls -lR ${small(c)} >/dev/null`)),
  },
  {
    ...{ name: 'read-cold', title: 'cold sequential read', unit: 'MiB/s', better: 'higher', on: everyone },
    bars: [ofLimit(0.9), timesPeers(1)],
    onNetwork: [atLeast(668, 'MiB/s (700 MB/s)')],
    limitIs: 'eight ranges at a time into memory by the SDK',
    limit: (limits, { megabytes }) => limits.download(megabytes),
    prepare: cold,
    run: read,
  },
  {
    ...{
      name: 'reread',
      title: 'read again, page cache dropped',
      unit: 'MiB/s',
      better: 'higher',
      on: everyone,
    },
    bars: [ofLocal(0.8)],
    prepare: () => dropCaches(1),
    run: read,
  },
  {
    ...{
      name: 'reread-kept',
      title: 'read again, page cache kept',
      unit: 'MiB/s',
      better: 'higher',
      on: everyone,
    },
    bars: [ofLocal(0.8)],
    prepare: read, // the job before dropped the pages of all
    run: read,
  },
  {
    ...{ name: 'tar', title: 'cold tar of small files', unit: 'files/s', better: 'higher', on: everyone },
    onLoopback: [atLeast(4000, 'files/s')],
    onNetwork: [atLeast(1333, 'files/s (2,000 in 1.5 s)')],
    prepare: cold,
    run: (c) => filesRate(c, () => shell(`tar cf - -C ${c.system.directory} small | cat >/dev/null`)),
  },
  ...[1, 16].map((threads) => ({
    ...{ name: `random-${threads}`, title: `cold random reads of 256 KiB, ${threads} at a time` },
    ...{ unit: 'MiB/s', better: 'higher', on: everyone },
    more: [
      {
        ...{ name: `random-${threads}-gets`, title: `GETs for each, ${threads} at a time` },
        ...{ unit: '', better: 'lower' },
        from: ({ gets }, { megabytes }) => gets / randomReads(megabytes, threads),
        bars: [atMost(1.1, '')],
      },
      ...(threads === 1
        ? []
        : [
            {
              ...{ name: `random-${threads}-flight`, title: `requests under way, ${threads} at a time` },
              ...{ unit: '', better: 'higher' },
              from: ({ inFlightMax }) => inFlightMax,
              bars: [atLeast(threads, '')],
            },
          ]),
    ],
    limitIs: 'the same ranges by the SDK',
    limit: (limits, { megabytes }) => limits.blocks(megabytes, randomReads(megabytes, threads), threads),
    prepare: cold,
    run: ({ system, sizes }) =>
      ops('random', system.directory, randomReads(sizes.megabytes, threads), threads),
  })),
  {
    ...{ name: 'rm', title: 'rm -rf of small files, commit', unit: 's', better: 'lower', on: everyone },
    bars: [atMost(0.5, 's')],
    run: (c) =>
      ofAll(c, async () => {
        await run('rm', ['-rf', small(c)]);
        await c.system.publish();
      }),
  },
  {
    ...{
      name: 'first-byte',
      title: 'first byte of a huge file, cold',
      unit: 'ms',
      better: 'lower',
      on: mounted,
      once: true,
    },
    bars: [withinLimit(1.3)],
    // A real server would copy every byte of a peer's file.
    runs: ({ system, server }) => system.kind === 'ours' || server.realistic,
    limitIs: 'the first byte of one GET of 256 KiB by the SDK',
    limit: async (limits, { megabytes }) => 1000 * (await limits.firstByte(megabytes, hugeReads)),
    async prepare(c) {
      await makeHuge(c);
      await cold(c);
    },
    run: async ({ system }) => 1000 * (await ops('first', system.directory, hugeReads)),
  },
  {
    ...{
      name: 'edit',
      title: 'change 1 MiB in a huge file: commit',
      unit: 's',
      better: 'lower',
      on: ours,
      once: true,
    },
    onLoopback: [atMost(1.5, 's')],
    more: [
      {
        ...{ name: 'edit-bytes', title: 'the same: uploaded', unit: 'MiB', better: 'lower' },
        bars: [atMost(24, 'MiB')],
      },
    ],
    async run({ system }) {
      await ops('edit', system.directory, 1);
      let bytes = 0;
      const seconds = await timed(async () => {
        bytes = (await system.publish()).bytesUploaded;
      });
      return { edit: seconds, 'edit-bytes': bytes / 2 ** 20 };
    },
  },
  {
    ...{ name: 'idle', title: 'idle: share of a core', unit: '%', better: 'lower', on: ours, once: true },
    bars: [atMost(0.1, '%')],
    more: [
      {
        ...{ name: 'idle-requests', title: `requests in those ${idleSeconds} s`, unit: '', better: 'lower' },
        from: ({ requests }) => requests,
      },
    ],
    prepare: () => sleep(5000), // what the job before it left to be done
    async run({ system }) {
      const before = await exactProcessorSeconds(system.pid());
      await sleep(idleSeconds * 1000);
      return (100 * ((await exactProcessorSeconds(system.pid())) - before)) / idleSeconds;
    },
  },
];

/** Blocks of the large file, each read once. */
const randomReads = (megabytes, threads) => Math.min(megabytes * 4, threads === 1 ? 192 : 384);

/** Ours is made of shared content, a peer's on the server; neither sends a byte. */
async function makeHuge({ system, sizes, limits }) {
  const times = (sizes.hugeGigabytes * 1024) / sizes.megabytes;
  if (system.kind === 'ours') {
    await ops('grow', system.directory, times);
    await system.publish();
    return;
  }
  const directory = system.directory.split('/').pop();
  await limits.grow(`${directory}/large000000`, `${directory}/huge`, times, sizes.megabytes * 2 ** 20);
}

const rate = (name, title, unit, job, count, prepare) => ({
  ...{ name, title, unit, better: 'higher', on: ['local', 'plain', 'ours'], prepare },
  run: (c) => ops(job, c.system.directory, count(c.sizes)),
});
const localFiles = ({ localFiles: files }) => files;
const settle = async () => void (await run('sync', []));

/** One operation after the other, and programs: against the local file system. */
export const localJobs = [
  rate('create', 'create, write 4 KiB, close', 'files/s', 'create', localFiles),
  rate('stat', 'stat again', '/s', 'stat', localFiles, (c) =>
    ops('stat', c.system.directory, c.sizes.localFiles),
  ),
  rate('stat-uncached', 'stat, names forgotten by the kernel', '/s', 'stat', localFiles, () => dropCaches(2)),
  rate('missing', 'stat of missing names, first', '/s', 'missing', localFiles),
  rate('missing-again', 'stat of missing names, again', '/s', 'missing', localFiles),
  rate('read-small', 'open, read 4 KiB, close', 'files/s', 'read-small', localFiles),
  rate('unlink', 'unlink', 'files/s', 'unlink', localFiles),
  rate('write-close', 'write, close', 'MiB/s', 'write', () => 256, settle),
  rate('append', 'append lines of 100 bytes', 'lines/s', 'append', (sizes) => 10 * sizes.localFiles, settle),
  {
    ...{
      name: 'untar',
      title: 'tar x of a source tree',
      unit: 's',
      better: 'lower',
      on: ['local', 'plain', 'ours'],
    },
    async prepare({ system, sizes }) {
      await makeArchive(sizes);
      await run('mkdir', [join(system.directory, 'tree')]);
      await settle();
    },
    run: ({ system, sizes }) =>
      timed(() => run('tar', ['xf', archive(sizes), '-C', join(system.directory, 'tree')])),
  },
  {
    ...{ name: 'remove', title: 'rm -rf of it', unit: 's', better: 'lower', on: ['local', 'plain', 'ours'] },
    run: ({ system }) => timed(() => run('rm', ['-rf', join(system.directory, 'tree')])),
  },
  {
    ...{ name: 'git', title: 'git clone', unit: 's', better: 'lower', on: ['local', 'plain', 'ours'] },
    bars: [withinLocal(4)],
    async prepare({ sizes }) {
      await makeRepository(sizes);
      await settle();
    },
    run: ({ system, sizes }) =>
      timed(() =>
        run('git', ['clone', '-q', '--no-local', repository(sizes), join(system.directory, 'git')]),
      ),
  },
];

const archive = ({ work }) => join(work, 'source.tar');
const repository = ({ work }) => join(work, 'repository');

/** Packages of this project as they are unpacked. */
async function makeArchive(sizes) {
  if (existsSync(archive(sizes))) return;
  const list = `${archive(sizes)}.names`;
  await shell(`find node_modules/ -type f | LC_ALL=C sort | sed -n 1,${sizes.localFiles}p >${list}`, {
    cwd: root,
  });
  await run('tar', ['cf', archive(sizes), '-C', root, '-T', list]);
}

async function makeRepository(sizes) {
  if (existsSync(repository(sizes))) return;
  await makeArchive(sizes);
  await run('mkdir', [repository(sizes)]);
  await run('tar', ['xf', archive(sizes), '-C', repository(sizes)]);
  const git = (...words) => run('git', words, { cwd: repository(sizes) });
  await git('init', '-q');
  await git('add', '-A', '-f');
  await git('-c', 'user.name=bench', '-c', 'user.email=bench@example.org', 'commit', '-qm', 'all');
}

/** What the jobs copy: `files` of 4 KiB in twenty directories. */
export function makeSources({ work, files }) {
  for (let i = 0; i < files; i++) {
    const directory = join(work, `small/d${i % 20}`);
    if (i < 20) mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `f${i}`), randomBytes(4096));
  }
}
