import { ArtifactError } from '../../model/errors.js';
import { openArtifact } from '../target.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

export const discard: Verb = {
  command: 'discard <artifact>',
  describe: 'drop everything that is staged in an artifact; this cannot be undone',
  examples: [
    ['artifactfs discard my-model', 'back to the latest version'],
    ['artifactfs discard .', 'the artifact of the working directory'],
  ],
  settings: 'store',
  build: (parts) =>
    parts.positional('artifact', {
      type: 'string',
      describe: 'artifact, never guessed: . is the working directory',
    }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('artifact'));
    if (target.ref !== '')
      throw new ArtifactError('ReadOnly', `${target.shown} is a version: nothing is staged in it`);
    const { discarded } = await target.client.discard(target.artifact);
    if (terminal.json) terminal.document({ artifact: target.artifact, discarded });
    else terminal.line(`${plural(discarded, 'path')} discarded`);
    return 0;
  },
};
