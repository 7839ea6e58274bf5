// Many machines on one bucket as a program: scripts/many-machines. Exit code 1 when anything is not as it must be.
import { parseArgs } from 'node:util';
import { ManyMachines, type ManyOptions } from './run.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    steps: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    machines: { type: 'string', default: '8' },
    store: { type: 'string', default: 'file' },
    calm: { type: 'boolean', default: false },
  },
});
const { store } = values;
if (store !== 'file' && store !== 's3' && store !== 'ceph')
  throw new Error(`--store ${store}: file, s3 or ceph`);
const options: ManyOptions = {
  store,
  machines: Number(values.machines),
  seed: Number(values.seed),
  calm: values.calm,
  note: (text) => console.log(text),
  ...(values.steps === undefined ? { minutes: Number(values.minutes) } : { steps: Number(values.steps) }),
};
console.log(`seed ${options.seed}`);
const many = await ManyMachines.make(options);
const { lines, failures } = await many.run();
await many[Symbol.asyncDispose]();
console.log('');
for (const [what, found] of lines) console.log(`${what.padEnd(32)} ${found}`);
for (const failure of failures) console.log(`FAILED: ${failure}`);
if (failures.length > 0)
  console.log(`seed ${options.seed}; states, journals and logs are in ${many.directory}`);
else console.log('nothing lost, nothing doubled, nothing left over');
process.exit(failures.length > 0 ? 1 : 0);
