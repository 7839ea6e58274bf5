import type { CopiedArtifact } from '../../app/copy-artifact.js';
import { formatBytes } from '../../config/sizes.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { findPlaces } from '../places.js';
import { Progress } from '../progress.js';
import { plural } from '../text.js';
import { artifactHelp, type Verb } from '../verb.js';

const as = {
  type: 'string',
  requiresArg: true,
  describe: 'name of the copy, from the root; its collections must be there; default: its own, in the root',
} as const;

export const exportVerb: Verb = {
  command: 'export <artifact> <to>',
  describe: 'copy an artifact with all its versions, messages and aliases to another workspace',
  examples: [
    ['artifactfs export my-model s3://other/place', 'to another bucket'],
    ['artifactfs export my-model file:///backup/my-model', 'into a directory, which is a workspace too'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: artifactHelp })
      .positional('to', { type: 'string', describe: 'URL of the other workspace, made where nothing is' })
      .option('as', as),
  run: (context) => copy(context, 'to'),
};

export const importVerb: Verb = {
  command: 'import <from> <artifact>',
  describe: 'copy an artifact with all its versions, messages and aliases from another workspace',
  examples: [['artifactfs import file:///backup/my-model my-model', 'what export made']],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('from', { type: 'string', describe: 'URL of the other workspace' })
      .positional('artifact', { type: 'string', describe: 'its name there, from the root' })
      .option('as', as),
  run: (context) => copy(context, 'from'),
};

async function copy(context: VerbContext, direction: 'to' | 'from'): Promise<undefined> {
  const artifact = context.text('artifact') ?? '';
  const other = context.text(direction) ?? '';
  if (other.startsWith('memory:')) throw new ArtifactError('Invalid', 'a memory: store is of one process');
  const { daemon, paths } = await findPlaces(context, direction === 'to' ? [artifact] : []);
  const { configsOf, copyBetween } = await import('../../app/copy-artifact.js');
  const configs = await configsOf(context.loaded.config, daemon, other);
  const [from, to] = direction === 'to' ? [configs.own, configs.other] : [configs.other, configs.own];
  const progress = new Progress(context.terminal, direction === 'to' ? 'export' : 'import');
  try {
    const copied = await copyBetween({
      from,
      to,
      artifact: direction === 'to' ? (paths[0] ?? []) : [artifact],
      path: context.text('as'),
      onProgress: (done, total) => progress.update(done, total),
    });
    progress.end();
    tell(context, copied);
  } finally {
    progress.end();
  }
  return undefined;
}

function tell({ terminal }: VerbContext, copied: CopiedArtifact & { path: string }): void {
  const { path, versions, objects, bytes } = copied;
  if (terminal.json) terminal.document(copied);
  else
    terminal.line(
      `${terminal.name(path)}: ${plural(versions, 'version')}, ${plural(objects, 'object')}, ${formatBytes(bytes)}`,
    );
}
