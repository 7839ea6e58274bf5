import { formatBytes } from '../../config/sizes.js';
import type { CommitResult } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import { cancellable } from '../cancellable.js';
import type { VerbContext } from '../context.js';
import { Progress } from '../progress.js';
import { openArtifact, type Target } from '../target.js';
import { plural, summaryText } from '../text.js';
import { artifactHelp, type Verb } from '../verb.js';

export const commit: Verb = {
  command: 'commit [artifact]',
  describe: 'publish what is staged as the next version',
  examples: [
    ['artifactfs commit my-model -m "lower learning rate"', 'makes the next version'],
    ['artifactfs commit -m "fix" --on-conflict mine', 'where somebody changed the same files, keep ours'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: artifactHelp })
      .option('message', {
        alias: 'm',
        type: 'string',
        requiresArg: true,
        describe: 'what the version is about',
      })
      .option('on-conflict', {
        choices: ['fail', 'mine', 'theirs'],
        requiresArg: true,
        describe: 'when somebody committed changes of the same paths meanwhile',
      }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('artifact'));
    if (target.ref !== '')
      throw new ArtifactError('ReadOnly', `${target.shown} is a version: versions never change`);
    const result = await commitTarget(context, target);
    if (terminal.json) {
      terminal.document({ artifact: target.artifact, ...result });
      return 0;
    }
    terminal.line(`v${result.version}  ${summaryText(result.summary)}`);
    if (result.bytesUploaded > 0) terminal.note(`uploaded ${formatBytes(result.bytesUploaded)}`);
    if (result.rebased) terminal.note('commits of others came before it; no path was changed by both');
    if (result.openFiles.length > 0) {
      terminal.note(
        `${plural(result.openFiles.length, 'file')} open for writing: the version has what was written when the commit began`,
      );
      for (const path of result.openFiles.slice(0, 10)) terminal.note(`  ${path}`);
    }
    return 0;
  },
};

async function commitTarget(context: VerbContext, target: Target): Promise<CommitResult> {
  const progress = new Progress(context.terminal, `commit ${target.artifact}`);
  const onConflict = context.text('on-conflict') as 'fail' | 'mine' | 'theirs' | undefined;
  const request = {
    message: context.text('message') ?? '',
    ...(onConflict === undefined ? {} : { onConflict }),
  };
  try {
    return await cancellable(
      context,
      target.client,
      (onStarted) =>
        target.client.commit(target.artifact, request, {
          onProgress: (now) => progress.commit(now),
          onStarted,
        }),
      {
        onCancel: () => context.terminal.note('cancelling the commit; once more to leave it to itself'),
        outcome: (cause) =>
          new ArtifactError(
            'Interrupted',
            'commit cancelled: nothing was published, the stage is as it was',
            {},
            cause,
          ),
      },
    );
  } finally {
    progress.end();
  }
}
