import { expect, it } from 'vitest';
import { ManyMachines } from './many-machines/run.js';

// The gate's share of scripts/many-machines: a few steps of three machines, and no kills but at named steps of a commit.
it('machines that commit to one bucket and are killed agree, and what they were told is true', async () => {
  const notes: string[] = [];
  const note = (text: string): void => void notes.push(text);
  await using many = await ManyMachines.make({
    store: 'file',
    machines: 3,
    seed: 20,
    steps: 12,
    calm: true,
    note,
  });
  const { lines, failures } = await many.run();
  expect(failures, [...notes, many.directory].join('\n')).toEqual([]);
  // It proves something only while machines commit and are killed.
  const sum = (start: string): number =>
    lines.filter(([what]) => what.startsWith(start)).reduce((total, [, found]) => total + Number(found), 0);
  expect(sum('commits (')).toBeGreaterThan(3);
  expect(sum('kills')).toBeGreaterThan(0);
});
