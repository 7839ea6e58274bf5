// Called by scripts/bench/run, which sets up what this needs.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { fileSystems } from './file-systems.mjs';
import { jobs, listings, longJobs } from './jobs.mjs';
import { median, print, writeDocument } from './report.mjs';

const { values: options } = parseArgs({
  options: {
    work: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    files: { type: 'string', default: '5000' },
    many: { type: 'string', default: '100000' },
    megabytes: { type: 'string', default: '512' },
    on: { type: 'string' },
    jobs: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});
const { work } = options;
if (work === undefined) throw new Error('run scripts/bench/run');
const sizes = {
  work,
  files: Number(options.files),
  megabytes: Number(options.megabytes),
  many: Number(options.many),
};
const rounds = Number(options.rounds);
const chosen = (list, wanted) =>
  wanted === undefined ? list : list.filter(({ name }) => wanted.split(',').includes(name));

const systems = chosen(fileSystems(work), options.on);
const rowsOf = chosen([...jobs, ...longJobs, ...listings], options.jobs);
/** @type {Map<string, Map<string, number[]>>} */
const figures = new Map(rowsOf.map((job) => [job.name, new Map()]));

async function time(job, context) {
  const { system } = context;
  try {
    const figure = await job.run(context);
    const row = figures.get(job.name);
    row.set(system.name, [...(row.get(system.name) ?? []), figure]);
    console.error(
      `${system.name.padEnd(12)} ${job.title.padEnd(40)} ${figure.toFixed(figure < 10 ? 3 : 0)} ${job.unit}`,
    );
  } catch (error) {
    console.error(
      `${system.name.padEnd(12)} ${job.title.padEnd(40)} FAILED: ${String(error.stderr ?? error).trim()}`,
    );
  }
}

// Round by round, one file system after the other: what else the machine does hits them all.
for (let round = 0; round < rounds; round++) {
  for (const system of systems) {
    await system.mount();
    const inside = `${system.directory}/round-${round}`;
    mkdirSync(inside);
    const context = { system: { ...system, directory: inside }, sizes };
    const all = system.share < 1 ? jobs : [...jobs, ...longJobs, ...(round === 0 ? listings : [])];
    for (const job of chosen(all, options.jobs)) await time(job, context);
    rmSync(inside, { recursive: true, force: true });
    await system.unmount();
  }
}

const result = {
  machine: `${cpus().length} cores, Linux ${release().split('.').slice(0, 2).join('.')}, Node ${process.version}`,
  sizes,
  rounds,
  systems: systems.map(({ name, about }) => ({ name, about })),
  rows: rowsOf.map(({ name, title, unit, better }) => ({
    title,
    unit,
    better,
    medians: Object.fromEntries([...figures.get(name)].map(([system, list]) => [system, median(list)])),
  })),
};
writeFileSync('build/bench/results.json', `${JSON.stringify(result, null, 2)}\n`);
print(result);
if (options.write) writeDocument(result);
