import { ArtifactError } from '../../model/errors.js';
import { confirm } from '../confirm.js';
import { openArtifact } from '../target.js';
import type { Verb } from '../verb.js';
import { versionNumber } from './expire.js';

export const rm: Verb = {
  command: 'rm <artifact>',
  describe: "take an artifact's name away, for everybody, or let one version go",
  examples: [
    ['artifactfs rm my-model', 'artifactfs restore my-model brings it back, until gc'],
    ['artifactfs rm my-model@v1', 'version 1 expires, for ever'],
    ['artifactfs rm gallery --recursive --yes', 'a collection with the artifacts in it, unasked'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', {
        type: 'string',
        describe: 'artifact, never guessed: . is the working directory; NAME@v1 for a version',
      })
      .option('recursive', {
        alias: 'r',
        type: 'boolean',
        describe: 'also a collection that holds artifacts',
      })
      .option('force', { alias: 'f', type: 'boolean', describe: 'also when staged changes are lost by it' })
      .option('yes', { alias: 'y', type: 'boolean', describe: 'do not ask' }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('artifact'));
    const { artifact, client } = target;
    if (target.ref !== '') {
      const version = versionNumber(target.ref);
      await confirm(context, `v${version} of ${artifact} will be gone for ever`);
      const { expired } = await client.expire(artifact, [version]);
      if (terminal.json) terminal.document({ artifact, expired });
      else terminal.line(expired.length === 0 ? 'expired already' : `v${version} expired`);
      return 0;
    }
    if (artifact === '') throw new ArtifactError('NotPermitted', 'the root collection cannot be removed');
    await confirm(context, `${artifact} will be removed for everybody`);
    await client.unlink(artifact, { force: context.isSet('force'), recursive: context.isSet('recursive') });
    if (terminal.json) terminal.document({ artifact });
    else {
      terminal.line(`${terminal.name(artifact)}: removed`);
      terminal.note(`until gc it comes back by: artifactfs restore ${artifact}`);
    }
    return 0;
  },
};
