import type { Finding, FsckTotals } from '../../app/fsck.js';
import { formatBytes } from '../../config/sizes.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { exitCodes } from '../exit-codes.js';
import { findPlaces, type Places } from '../places.js';
import type { Terminal } from '../terminal.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

const styles: Readonly<Record<Finding['severity'], 'red' | 'yellow' | 'dim'>> = {
  damage: 'red',
  warning: 'yellow',
  info: 'dim',
};

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
  const checking = checkWorkspace(context.loaded.config, daemon, { paths });
  const findings: Finding[] = [];
  for (;;) {
    const next = await checking.next();
    if (next.done) return { findings, totals: next.value };
    findings.push(next.value);
    if (!context.terminal.json) show(context.terminal, next.value);
  }
}

const filesShownMax = 10;

function show(terminal: Terminal, finding: Finding): void {
  const { severity, code, artifact, key, offset, length, what, means, versions, files, fileCount } = finding;
  const whose = artifact === '' ? '' : `${terminal.name(artifact)}: `;
  terminal.line(`${terminal.style(styles[severity], `${severity} ${code}`)}  ${whose}${terminal.name(what)}`);
  if (key !== null)
    terminal.paragraph(
      `at ${terminal.name(key)}${offset === null ? '' : `, ${length ?? 0} bytes from ${offset}`}`,
      '    ',
    );
  if (means !== '') terminal.paragraph(terminal.name(means), '    ');
  if (versions.length > 0) terminal.paragraph(`versions: ${versions.map((n) => `v${n}`).join(' ')}`, '    ');
  for (const file of files.slice(0, filesShownMax)) terminal.line(`    ${terminal.name(file)}`);
  const more = fileCount - Math.min(files.length, filesShownMax);
  if (more > 0) terminal.line(`    ${files.length === 0 ? plural(more, 'name') : `and ${more} more`}`);
}
