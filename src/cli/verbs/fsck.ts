import type { Finding, FsckTotals } from '../../app/fsck.js';
import { formatBytes } from '../../config/sizes.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { exitCodes } from '../exit-codes.js';
import { showFinding } from '../findings.js';
import { findPlaces, type Places } from '../places.js';
import { Progress } from '../progress.js';
import { printable } from '../terminal.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

export const fsck: Verb = {
  command: 'fsck [artifact..]',
  describe: 'check the logs, trees and objects in the store, and the catalog here, for damage',
  examples: [
    ['artifactfs fsck', 'the whole workspace'],
    ['artifactfs fsck gallery --json', 'one collection and all in it, for a program'],
    ['artifactfs fsck --rebuild-catalog', "make this machine's catalog anew from the store"],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', {
        type: 'string',
        array: true,
        describe: 'artifacts, as names from the root or paths inside a mount; default: the workspace',
      })
      .option('rebuild-catalog', {
        type: 'boolean',
        describe: "make this machine's catalog anew before; only while the workspace is not mounted",
      }),
  async run(context) {
    const places = await findPlaces(context, context.texts('artifact'));
    const rebuilt = context.isSet('rebuild-catalog') ? await rebuild(context, places) : null;
    const { findings, totals } = await check(context, places);
    const damaged = findings.some(({ severity }) => severity === 'damage');
    const { terminal } = context;
    if (terminal.json) terminal.document({ ok: !damaged, rebuilt, ...totals, findings });
    else {
      const content = `${plural(totals.artifacts, 'artifact')}, ${plural(totals.versions, 'version')}, ${plural(totals.objects, 'object')}, ${formatBytes(totals.bytes)}`;
      terminal.line(`${damaged ? terminal.style('red', 'damaged') : 'sound'}: ${content}`);
    }
    return damaged ? exitCodes.corrupt.code : exitCodes.ok.code;
  },
};

async function rebuild(context: VerbContext, { daemon }: Places): Promise<{ artifacts: number }> {
  if (daemon !== null) {
    const where = daemon.mountPoint === null ? `process ${daemon.pid}` : `the mount at ${daemon.mountPoint}`;
    throw new ArtifactError('Busy', `the catalog is in use by ${where}`, {
      hint: `end it first: artifactfs unmount ${daemon.mountPoint ?? ''}`.trimEnd(),
    });
  }
  const { rebuildCatalog } = await import('../../app/fsck.js');
  const artifacts = await rebuildCatalog(context.loaded.config);
  context.terminal.note(`the catalog was made anew: ${plural(artifacts, 'artifact')}`);
  return { artifacts };
}

async function check(
  context: VerbContext,
  { daemon, paths }: Places,
): Promise<{ findings: Finding[]; totals: FsckTotals }> {
  const { checkWorkspace } = await import('../../app/fsck.js');
  let progress = new Progress(context.terminal, 'fsck');
  const onArtifact = (place: { readonly path: string }, done: number) =>
    progress.update(0, null, `${plural(done, 'artifact')} checked, ${printable(place.path)}`);
  const checking = checkWorkspace(context.loaded.config, daemon, { paths, onArtifact });
  const findings: Finding[] = [];
  try {
    for (;;) {
      const next = await checking.next();
      if (next.done) return { findings, totals: next.value };
      findings.push(next.value);
      if (context.terminal.json) continue;
      // A line of its own, where the bar was.
      progress.end();
      showFinding(context.terminal, next.value);
      progress = new Progress(context.terminal, 'fsck');
    }
  } finally {
    progress.end();
  }
}
