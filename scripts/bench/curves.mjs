// How the cost of things grows with the number of files in an artifact, and with the size of one file.
import { join } from 'node:path';
import { atMost } from './bars.mjs';
import { artifactfs } from './file-systems.mjs';
import { makeManyFiles } from './many-files.mjs';
import { saveLines } from './pictures.mjs';
import { curveBars, curvesTable } from './report.mjs';
import { dropCaches, forgetPeak, ops, peakBytes, run, shell, timed } from './tools.mjs';

/**
 * @typedef {{name: string, title: string, unit: string, drawn?: boolean}} Line
 * @typedef {{at: number, values: Record<string, number>}} Point
 */

/** @type {readonly Line[]} */
const fileLines = [
  { name: 'mountCold', drawn: true, title: 'mount and first ls, no local state', unit: 's' },
  { name: 'mountWarm', drawn: true, title: 'mount and first ls, known before', unit: 's' },
  { name: 'start', title: 'daemon start, known before', unit: 's' },
  { name: 'directory', drawn: true, title: 'first ls -l of one directory of 1,000', unit: 's' },
  { name: 'walk', drawn: true, title: 'ls -lR of all, cold', unit: 's' },
  { name: 'walkAgain', title: 'ls -lR of all, again', unit: 's' },
  { name: 'commitOne', drawn: true, title: 'commit of one changed file', unit: 's' },
  { name: 'rename', title: 'rename of the directory of all', unit: 'ms' },
  { name: 'commitRename', drawn: true, title: 'commit of that', unit: 's' },
  { name: 'memory', title: 'resident memory, most', unit: 'MiB' },
];

const fileBars = [
  ...[1000, 10_000, 100_000, 1_000_000].flatMap((at) => [
    { line: 'mountCold', at, bar: atMost(0.5, 's') },
    { line: 'mountWarm', at, bar: atMost(0.5, 's') },
  ]),
  { line: 'walk', at: 100_000, bar: atMost(1.5, 's') },
  { line: 'rename', at: 100_000, bar: atMost(5, 'ms') },
  { line: 'commitRename', at: 100_000, bar: atMost(3, 's') },
  { line: 'start', at: 1_000_000, bar: atMost(0.3, 's') },
];

/** @returns {Promise<Point>} */
async function filesPoint(work, server, files) {
  const prefix = `many-${files}-${process.pid}`;
  const system = artifactfs(join(work, `${server.name}-${prefix}`), server, prefix);
  const values = {};
  try {
    await makeManyFiles(`s3://${server.bucket}/${prefix}`, 'many', files, 1000, {
      s3: {
        endpoint: server.endpoint,
        pathStyle: true,
        accessKeyId: server.accessKey,
        secretAccessKey: server.secretKey,
      },
    });
    const artifact = join(system.directory, 'many');
    system.directory = artifact;
    await dropCaches(3);
    values.mountCold = await timed(() => mountAndList(system, artifact));
    forgetPeak(system.pid());
    values.directory = await timed(() => shell(`ls -l ${artifact}/files/d00000 >/dev/null`));
    values.walk = await timed(() => shell(`ls -lR ${artifact} >/dev/null`));
    values.walkAgain = await timed(() => shell(`ls -lR ${artifact} >/dev/null`));
    await shell(`echo changed >${artifact}/files/d00000/f0000000`);
    values.commitOne = await timed(() => system.publish());
    values.rename = 1000 * (await ops('rename', artifact, 1)); // of `files`
    values.commitRename = await timed(() => system.publish());
    values.memory = peakBytes(system.pid()) / 2 ** 20;
    await system.unmount();
    await dropCaches(1);
    values.mountWarm = await timed(async () => {
      values.start = await timed(() => system.mount());
      await run('ls', [artifact]);
    });
  } catch (error) {
    console.error(`warning: ${files} files: ${error.message}`);
  } finally {
    await leave(system);
  }
  return { at: files, values };
}

async function leave(system) {
  try {
    await system.unmount();
    await system.wipe();
  } catch (error) {
    console.error(`warning: ${error.message}`);
  }
}

async function mountAndList(system, artifact) {
  await system.mount();
  await run('ls', [artifact]);
}

/** @type {readonly Line[]} */
const sizeLines = [
  { name: 'write', title: 'write, fsync, commit', unit: 's' },
  { name: 'read', title: 'cold read', unit: 's' },
];

/** Sizes are powers of two, in MiB. @returns {Promise<Point[]>} */
async function sizePoints(work, server, sizes) {
  const prefix = `sizes-${process.pid}`;
  const system = artifactfs(join(work, `${server.name}-${prefix}`), server, prefix);
  const root = system.directory;
  const points = [];
  try {
    for (const size of sizes) {
      await system.mount();
      system.directory = join(root, `of-${size}`);
      await run('mkdir', [system.directory]);
      const write = await timed(async () => {
        await ops('write-sync', system.directory, size);
        await system.publish();
      });
      await system.unmount();
      await system.wipe();
      await dropCaches(3);
      await system.mount();
      await run('ls', [system.directory]);
      points.push({
        at: size,
        values: { write, read: await timed(() => ops('read', system.directory, size)) },
      });
      await system.unmount();
      await system.wipe();
    }
  } catch (error) {
    console.error(`warning: sizes: ${error.message}`);
  } finally {
    await leave(system);
  }
  return points;
}

/** `keep` takes the name of the section, its points and its text. */
export const filesCurve = {
  section: 'files',
  async run({ work, server, filesMax, write, about }, keep) {
    const points = [];
    for (let files = 1000; files <= filesMax; files *= 10) points.push(await filesPoint(work, server, files));
    const lines = fileLines.filter(({ drawn }) => drawn);
    if (write) saveLines('benchmarks-files', { lines, points, across: 'files in the artifact', up: 's' });
    const table = curvesTable(fileLines, points, 'files');
    const bars = curveBars(fileBars, fileLines, points, 'files');
    const picture = '![seconds by number of files](benchmarks-files.svg)';
    keep('files', points, [about, table, bars, picture].join('\n\n'));
  },
};

export const sizesCurve = {
  section: 'sizes',
  async run({ work, server, mebibytesMax, write, about }, keep) {
    const sizes = [1, 4, 16, 64, 256, 1024, 4096, 16_384].filter((size) => size <= mebibytesMax);
    const points = await sizePoints(work, server, sizes);
    if (write)
      saveLines('benchmarks-sizes', { lines: sizeLines, points, across: 'MiB of one file', up: 's' });
    const picture = '![seconds by size](benchmarks-sizes.svg)';
    keep('sizes', points, [about, curvesTable(sizeLines, points, 'MiB'), picture].join('\n\n'));
  },
};
