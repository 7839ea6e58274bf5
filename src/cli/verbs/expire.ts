import { ArtifactError } from '../../model/errors.js';
import { confirm } from '../confirm.js';
import { openArtifact } from '../target.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

export const expire: Verb = {
  command: 'expire <artifact> <old..>',
  describe: 'let versions go for ever: nobody reads them any more, and gc may delete them',
  examples: [['artifactfs expire my-model v1 v2', 'not the latest, nor what an alias points to']],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', {
        type: 'string',
        describe: 'artifact, never guessed: . is the working directory',
      })
      .positional('old', { type: 'string', array: true, describe: 'v1, v2, ... or 1, 2, ...' })
      .option('yes', { alias: 'y', type: 'boolean', describe: 'do not ask' }),
  async run(context) {
    const { terminal } = context;
    const versions = context.texts('old').map(versionNumber);
    await using target = await openArtifact(context, context.text('artifact'));
    if (target.ref !== '')
      throw new ArtifactError(
        'Invalid',
        `${target.shown} is a version: name the artifact, then its versions`,
        {
          hint: `artifactfs expire ${target.artifact} ${target.ref}`,
        },
      );
    const names = versions.map((version) => `v${version}`).join(', ');
    await confirm(context, `${names} of ${target.artifact} will be gone for ever`);
    const { expired } = await target.client.expire(target.artifact, versions);
    if (terminal.json) terminal.document({ artifact: target.artifact, expired });
    else if (expired.length === 0) terminal.line('expired already');
    else terminal.line(`${plural(expired.length, 'version')} expired`);
    return 0;
  },
};

export function versionNumber(text: string): number {
  const number = /^v?(\d{1,15})$/.exec(text)?.[1];
  if (number === undefined)
    throw new ArtifactError('Invalid', `'${text}' is no version: an alias could be another one by now`, {
      hint: 'write versions like v3',
    });
  return Number(number);
}
