import { openArtifact } from '../target.js';
import type { Verb } from '../verb.js';

export const refresh: Verb = {
  command: 'refresh [artifact]',
  describe: 'look for commits of others now',
  examples: [['artifactfs refresh', 'in the whole workspace']],
  settings: 'store',
  build: (parts) =>
    parts.positional('artifact', { type: 'string', describe: 'only this one; default: the whole workspace' }),
  async run(context) {
    const { terminal } = context;
    const argument = context.text('artifact');
    await using target = await openArtifact(context, argument);
    if (argument === undefined) {
      await target.client.refreshAll();
      if (terminal.json) terminal.document({ refreshed: 'workspace' });
      else terminal.line('up to date');
      return 0;
    }
    const { moved } = await target.client.refresh(target.artifact);
    const { latest } = await target.client.show(target.artifact);
    if (terminal.json) terminal.document({ artifact: target.artifact, moved, latest });
    else
      terminal.line(
        `${moved ? 'moved to' : 'up to date at'} ${latest === null ? 'no version' : `v${latest.version}`}`,
      );
    return 0;
  },
};
