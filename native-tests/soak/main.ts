// The soak as a program: scripts/soak. One line for each event, a table at the end; exit code 1 when anything differs.
import { parseArgs } from 'node:util';
import { Soak, type SoakOptions } from './soak.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    steps: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    workers: { type: 'string', default: '3' },
  },
});
const note = (text: string): void => console.log(text);
const options: SoakOptions = {
  seed: Number(values.seed),
  workers: Number(values.workers),
  note,
  ...(values.steps === undefined ? { minutes: Number(values.minutes) } : { steps: Number(values.steps) }),
};
note(`seed ${options.seed}`);
const soak = await Soak.make(options);
const { lines, failures } = await soak.run();
await soak[Symbol.asyncDispose]();
console.log('');
for (const [what, found] of lines) console.log(`${what.padEnd(28)} ${found}`);
for (const failure of failures) console.log(`FAILED: ${failure}`);
if (failures.length > 0) console.log(`seed ${options.seed}; states and logs are in ${soak.directory}`);
else console.log('equal bytes, flat memory, empty queue');
process.exit(failures.length > 0 ? 1 : 0);
