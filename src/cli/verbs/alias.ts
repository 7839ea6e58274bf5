import type { AliasChange } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { openArtifact, type Target } from '../target.js';
import { artifactHelp, type Verb } from '../verb.js';

export const alias: Verb = {
  command: 'alias [artifact] [name] [to]',
  describe: 'list the aliases of an artifact; make, move or delete one, for everybody',
  examples: [
    ['artifactfs alias my-model', 'lists them'],
    ['artifactfs alias my-model best v3', 'best is v3; without a version, the latest'],
    ['artifactfs alias my-model best v4 --expected v3', 'moves it only if nobody else has'],
    ['artifactfs alias my-model best --delete', 'removes it; the version stays'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: `${artifactHelp}; NAME@v3 for its version` })
      .positional('name', { type: 'string', describe: 'alias: any name but latest, stage and v3' })
      .positional('to', { type: 'string', describe: 'v3, latest, or another alias' })
      .option('delete', { alias: 'd', type: 'boolean', describe: 'remove the alias' })
      .option('expected', {
        type: 'string',
        requiresArg: true,
        describe: "version that it must be now, or 'none' if it must not exist",
      }),
  async run(context) {
    const { terminal } = context;
    const name = context.text('name');
    const expected = expectedVersion(context.text('expected'));
    await using target = await openArtifact(context, context.text('artifact'));
    if (name === undefined) {
      if (context.isSet('delete') || expected !== undefined)
        throw new ArtifactError('Invalid', 'which alias? its name is missing', {
          hint: 'artifactfs alias --help',
        });
      await list(context, target);
      return 0;
    }
    const change = await moved(context, target, name, expected);
    if (terminal.json) terminal.document({ artifact: target.artifact, ...change });
    else terminal.line(`${terminal.name(name)}: ${described(change)}`);
    return 0;
  },
};

async function list({ terminal }: VerbContext, target: Target): Promise<void> {
  const { aliases } = await target.client.aliases(target.artifact);
  if (terminal.json) {
    terminal.document({ artifact: target.artifact, aliases });
    return;
  }
  const rows = Object.entries(aliases).map(([name, version]) => [terminal.name(name), `v${version}`]);
  if (rows.length === 0) terminal.note('no aliases yet');
  terminal.table(rows);
}

async function moved(
  context: VerbContext,
  target: Target,
  name: string,
  expected: string | undefined,
): Promise<AliasChange> {
  const version = context.text('to');
  if (context.isSet('delete')) {
    if (version !== undefined)
      throw new ArtifactError('Invalid', `'${version}' is one argument too many: --delete takes no version`, {
        hint: `to delete it only if it is ${version}: --expected ${version}`,
      });
    if (expected === 'none')
      throw new ArtifactError('Invalid', 'what does not exist cannot be deleted: --expected none');
    return target.client.removeAlias(target.artifact, name, expected);
  }
  if (version !== undefined && target.ref !== '')
    throw new ArtifactError('Invalid', `two versions are named: ${target.ref} and ${version}`);
  const to = version ?? (target.ref === '' ? 'latest' : target.ref);
  return target.client.setAlias(target.artifact, name, {
    version: to,
    ...(expected === undefined ? {} : { expected }),
  });
}

function described({ before, version }: AliasChange): string {
  if (version === null) return `deleted; it was v${before}`;
  if (before === version) return `v${version} already`;
  return before === null ? `v${version}` : `v${before} -> v${version}`;
}

function expectedVersion(text: string | undefined): string | undefined {
  if (text === undefined || /^(v?\d{1,15}|none)$/.test(text)) return text;
  throw new ArtifactError('Invalid', `--expected: '${text}' is neither a version nor none`, {
    hint: 'write it like --expected v3',
  });
}
