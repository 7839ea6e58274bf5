import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { openArtifact, resolveBeside, type Target } from '../target.js';
import { stagedText, summaryText } from '../text.js';
import { artifactHelp, type Verb } from '../verb.js';

export const diff: Verb = {
  command: 'diff [artifact] [to]',
  describe: 'list the paths that differ between versions, or between the stage and its base',
  examples: [
    ['artifactfs diff my-model', 'what is staged'],
    ['artifactfs diff my-model@v1 v3', 'from version 1 to version 3, which my-model@v3 is, too'],
    ['artifactfs diff my-model@v1', 'from version 1 to the working view'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: `${artifactHelp}; NAME@v1 begins at a version` })
      .positional('to', { type: 'string', describe: 'version to compare with; default: what is staged' })
      .option('limit', { alias: 'n', type: 'number', requiresArg: true, describe: 'at most so many paths' }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('artifact'));
    const limit = context.flags['limit'] as number | undefined;
    const result = await target.client.diff(target.artifact, {
      from: target.ref === '' ? undefined : target.ref,
      to: await versionOf(context, target, context.text('to')),
      ...(limit === undefined ? {} : { limit }),
    });
    if (terminal.json) {
      terminal.document({ artifact: target.artifact, ...result });
      return 0;
    }
    terminal.table(result.changes.map((change) => [change.change, terminal.name(stagedText(change))]));
    const { added, changed, removed } = result.summary;
    const all = added + changed + removed;
    if (all > result.changes.length) terminal.note(`${all - result.changes.length} more: --limit shows them`);
    terminal.note(all === 0 ? 'no differences' : summaryText(result.summary));
    return 0;
  },
};

/** `my-model@v3` where my-model is compared means v3. */
async function versionOf(
  context: VerbContext,
  target: Target,
  to: string | undefined,
): Promise<string | undefined> {
  if (to === undefined || !to.includes('@')) return to;
  const { artifact, ref } = await resolveBeside(context, target, to);
  if (artifact === target.artifact && ref !== '') return ref;
  throw new ArtifactError('Invalid', `${to} is no version of ${target.shown}`, {
    hint: 'compare versions of one artifact: artifactfs diff my-model@v1 v3',
  });
}
