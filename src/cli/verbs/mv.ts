import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { openArtifact, openTarget, type Target } from '../target.js';
import type { Verb } from '../verb.js';

export const mv: Verb = {
  command: 'mv <from> <to>',
  describe: 'rename an artifact, or move it to another collection, for everybody',
  examples: [
    ['artifactfs mv my-model old-model', 'another name'],
    ['artifactfs mv my-model gallery', 'into the collection gallery'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('from', {
        type: 'string',
        describe: 'artifact: names from the root, or a path inside a mount',
      })
      .positional('to', { type: 'string', describe: 'new name, or a collection to move it to' }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('from'));
    if (target.ref !== '')
      throw new ArtifactError('ReadOnly', `${target.shown} is a version: versions stay where they are`);
    const to = await destination(context, target, context.text('to') ?? '');
    const { path } = await target.client.move(target.artifact, to);
    if (terminal.json) terminal.document({ artifact: target.artifact, path });
    else terminal.line(`${terminal.name(target.artifact)} -> ${terminal.name(path)}`);
    return 0;
  },
};

/** Full path of the new name: a collection that exists takes the artifact in, as a directory does. */
async function destination(context: VerbContext, from: Target, to: string): Promise<string> {
  // Without a daemon the workspace is open already, and names begin at its root.
  const found =
    from.session.daemon === null ? await from.client.resolve(to) : await resolved(context, from, to);
  if (found.ref !== '') throw new ArtifactError('ReadOnly', `${to} is a version: it holds no artifacts`);
  const names = `${found.artifact}/${found.path}`.split('/').filter((name) => name !== '');
  const isIntoIt = found.path === '' && found.isCollection && found.artifact !== from.artifact;
  return [...names, ...(isIntoIt ? [from.artifact.slice(from.artifact.lastIndexOf('/') + 1)] : [])].join('/');
}

async function resolved(context: VerbContext, from: Target, to: string) {
  await using target = await openTarget(context, to);
  if (target.client.socketPath !== from.client.socketPath)
    throw new ArtifactError('CrossDevice', `${to} is in another workspace`, {
      hint: 'copy the files: artifactfs get, then put',
    });
  const { artifact, path, ref, isCollection } = target;
  return { artifact, path, ref, isCollection };
}
