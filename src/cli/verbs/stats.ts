import { resolve } from 'node:path';
import { runningDaemons } from '../../app/registry.js';
import { formatBytes } from '../../config/sizes.js';
import type { DaemonStats } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { connectTo } from '../session.js';
import type { Terminal } from '../terminal.js';
import type { Verb } from '../verb.js';

export const stats: Verb = {
  command: 'stats [path]',
  describe: 'say how a mount is doing: requests, waiting, caches, memory',
  examples: [
    ['artifactfs stats', 'of the only mount, or the one that holds this directory'],
    ['artifactfs stats --json ~/artifacts', 'for programs; the same as ~/artifacts/.artifactfs/stats'],
  ],
  settings: 'none',
  build: (parts) => parts.positional('path', { type: 'string', describe: 'the mount point' }),
  async run(context) {
    await using session = connectTo(await daemonAt(context));
    const figures = await session.client.stats();
    if (context.terminal.json) context.terminal.document(figures);
    else show(context.terminal, figures);
    return 0;
  },
};

/** By its text: the mount may hang. */
async function daemonAt(context: VerbContext) {
  const given = context.text('path');
  const path = resolve(context.cwd, given ?? '');
  const daemons = await runningDaemons(context.env);
  const holding = daemons.find(
    ({ mountPoint }) => mountPoint !== null && (path === mountPoint || path.startsWith(`${mountPoint}/`)),
  );
  const [only, ...others] = daemons;
  const found = holding ?? (given === undefined && others.length === 0 ? only : undefined);
  if (found !== undefined) return found;
  throw new ArtifactError('NotFound', given === undefined ? 'no daemon is meant' : `${path} is no mount`, {
    hint: 'artifactfs status lists the mounts',
  });
}

function show(terminal: Terminal, figures: DaemonStats): void {
  const { requests, loopDelay, memory, counters } = figures;
  const counter = (name: string): number => counters[name] ?? 0;
  const rows: [string, string][] = [
    ['up', `${figures.uptimeSeconds} s, ${figures.cpuSeconds} s of processor time`],
    [
      'memory',
      `${formatBytes(memory.residentBytes)}, of which ${formatBytes(memory.heapBytes)} objects; budget for buffers and caches ${formatBytes(memory.budgetBytes)}`,
    ],
    ['held', memory.shares.map(held).join(', ')],
    ['waiting', waiting(requests)],
    [
      'event loop',
      `late by ${loopDelay.p50Ms} ms (p50), ${loopDelay.p99Ms} ms (p99), ${loopDelay.maxMs} ms (most)`,
    ],
    [
      'read from',
      `memory ${formatBytes(counter('cache.memoryHitBytes'))}, disk cache ${formatBytes(counter('cache.hitBytes'))}, store ${formatBytes(counter('store.getBytes'))}`,
    ],
  ];
  terminal.table(rows.map(([key, value]) => [`${key}:`, value]));
  const kinds = Object.entries(counters).filter(([name]) => name.startsWith('fuse.'));
  if (kinds.length > 0) terminal.line('requests:');
  kinds.sort(([, a], [, b]) => b - a);
  terminal.table(kinds.map(([name, count]) => [`  ${name.slice('fuse.'.length)}`, String(count)]));
}

const held = ({ name, bytes, bytesMax }: DaemonStats['memory']['shares'][number]): string =>
  `${name} ${formatBytes(bytes)} of ${formatBytes(bytesMax)}`;

function waiting({ pending, oldestPendingMs, givenUp }: DaemonStats['requests']): string {
  const more = givenUp > 0 ? `; ${givenUp} given up and under way` : '';
  if (pending === 0) return `nobody${more}`;
  return `${pending}, the oldest for ${(oldestPendingMs / 1000).toFixed(1)} s${more}`;
}
