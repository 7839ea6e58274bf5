// Called by scripts/bench/run, which sets up what this needs and takes away what it leaves.
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { filesCurve, sizesCurve } from './curves.mjs';
import { fileSystems } from './file-systems.mjs';
import { localJobs, makeSources, storeJobs } from './jobs.mjs';
import { Limits } from './limits.mjs';
import { Measurement } from './measure.mjs';
import { saveBars } from './pictures.mjs';
import { costTable, jobsTable, limitsText, writeSection } from './report.mjs';
import { servers } from './servers.mjs';
import { root, run } from './tools.mjs';

const { values: options } = parseArgs({
  options: {
    work: { type: 'string' },
    peers: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    servers: { type: 'string', default: 'network,ceph' },
    sections: { type: 'string', default: 'store,local,files,sizes' },
    jobs: { type: 'string' },
    on: { type: 'string' },
    rounds: { type: 'string' },
    files: { type: 'string' },
    'files-max': { type: 'string' },
    'gib-max': { type: 'string' },
  },
});
const { work } = options;
if (work === undefined) throw new Error('run scripts/bench/run');
const sections = options.sections.split(',');
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3));
const sizes = {
  work,
  files: Number(options.files ?? (options.quick ? 400 : 2000)),
  megabytes: options.quick ? 128 : 512,
  hugeGigabytes: 10,
  localFiles: options.quick ? 1000 : 5000,
};
const filesMax = Number(options['files-max'] ?? (options.quick ? 10_000 : 1_000_000));
const mebibytesMax = Number(options['gib-max'] ?? (options.quick ? 0.125 : 1)) * 1024;
const chosen = (jobs) =>
  options.jobs === undefined ? jobs : jobs.filter(({ name }) => options.jobs.split(',').includes(name));
const machine = `${cpus().length} cores, Linux ${release().split('.').slice(0, 2).join('.')}, Node ${process.version}`;
const day = new Date().toISOString().slice(0, 10);

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

const results = { machine, day, sizes, rounds };

function keep(name, result, text) {
  results[name] = result;
  writeFileSync(`${root}build/bench/results.json`, `${JSON.stringify(results, null, 2)}\n`);
  console.log(`\n${text}\n`);
  if (options.write) writeSection(name, text);
}

async function installed(names) {
  const found = await Promise.all(
    names.map((name) =>
      run('which', [name]).then(
        () => name,
        () => null,
      ),
    ),
  );
  return found.filter((name) => name !== null);
}

async function compare(section, server, names, jobs) {
  const limits = new Limits(server);
  const wanted =
    options.on === undefined ? names : names.filter((name) => options.on.split(',').includes(name));
  const systems = fileSystems(work, server, wanted);
  const measurement = new Measurement({ server, sizes, limits }, systems);
  for (let round = 0; round < rounds; round++) await measurement.round(round, chosen(jobs));
  await limits.remove();
  limits.close();
  const result = { ...measurement, systems, jobs, server };
  if (measurement.figures.size === 0) return;
  const text = [
    `${day}, ${machine}. ${server.about}. Median of ${rounds} rounds; ${section === 'local' ? `${sizes.localFiles} small files` : `${sizes.files} small files of 4 KiB, one large file of ${sizes.megabytes} MiB, one huge file of ${sizes.hugeGigabytes} GiB`}.`,
    `${systems.map(({ name, about }) => `${name}: ${about}`).join('; ')}.`,
    ...(limitsText(jobs) === '' ? [] : [`Limits: ${limitsText(jobs)}.`]),
    `\n${jobsTable(result)}\n`,
    costTable(result),
    `\n![speed against the limit](benchmarks-${section}.svg)`,
  ].join('\n');
  if (options.write) saveBars(`benchmarks-${section}`, result);
  keep(section, { figures: plain(measurement.figures), costs: plain(measurement.costs) }, text);
}

const plain = (map) =>
  Object.fromEntries([...map].map(([key, value]) => [key, value instanceof Map ? plain(value) : value]));

/** What fails costs its own section only. */
async function attempt(what, job) {
  const start = performance.now();
  try {
    return await job();
  } catch (error) {
    console.error(`warning: ${what}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  } finally {
    console.error(`${what}: ${Math.round((performance.now() - start) / 1000)} s`);
  }
}

async function measureOn(server, isLast) {
  if (sections.includes('store'))
    await attempt(`jobs on ${server.name}`, () =>
      compare(server.name, server, ['local', 'artifactfs', ...peers], storeJobs),
    );
  if (!isLast) return;
  const neighbours = ['local', ...(await installed(['bindfs'])), 'artifactfs'];
  if (sections.includes('local'))
    await attempt('local jobs', () => compare('local', server, neighbours, localJobs));
  const about = `${day}, ${machine}. ${server.about}.`;
  for (const curve of [filesCurve, sizesCurve])
    if (sections.includes(curve.section))
      await attempt(curve.section, () =>
        curve.run({ work, server, filesMax, mebibytesMax, write: options.write, about }, keep),
      );
}

makeSources(sizes);
const peers = options.peers ? await installed(['s3fs', 'rclone']) : [];
const names = options.servers.split(',');
// The real server last: it also serves what is measured on one server only, of which a million files are the riskiest.
for (const name of names) {
  const server = await attempt(`start of ${name}`, () => servers[name](work));
  if (server === undefined) continue;
  await measureOn(server, name === names.at(-1));
  await attempt(`stop of ${name}`, () => server.stop());
}
