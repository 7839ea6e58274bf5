import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ArtifactError } from '../../model/errors.js';
import { openTarget } from '../target.js';
import type { Verb } from '../verb.js';

export const create: Verb = {
  command: 'create <artifact>',
  describe: 'create an artifact; its first commit makes v0 and shows it to everybody',
  examples: [
    ['artifactfs create my-model --type model', 'an artifact'],
    ['artifactfs create gallery --type collection', 'a collection of artifacts'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: 'its name, after those of its collections' })
      .option('type', {
        type: 'string',
        requiresArg: true,
        describe: "'collection', or any word: model, dataset, app",
      })
      .option('manifest', {
        type: 'string',
        requiresArg: true,
        describe: 'file with its metadata, a JSON object',
      }),
  async run(context) {
    const { terminal } = context;
    await using target = await openTarget(context, context.text('artifact'), { create: true });
    if (target.path === '' || target.ref !== '') {
      throw new ArtifactError('Exists', `'${target.shown}' exists already`);
    }
    const path = target.artifact === '' ? target.path : `${target.artifact}/${target.path}`;
    const type = context.text('type');
    const manifest = await readManifest(context.text('manifest'), context.cwd);
    const created = await target.client.create({
      path,
      ...(type === undefined ? {} : { type }),
      ...(manifest === undefined ? {} : { manifest }),
    });
    if (terminal.json) terminal.document(created);
    else terminal.line(`${terminal.name(created.path)}: created; commit makes v0`);
    return 0;
  },
};

async function readManifest(
  file: string | undefined,
  cwd: string,
): Promise<Record<string, unknown> | undefined> {
  if (file === undefined) return undefined;
  let text: string;
  try {
    text = await readFile(resolve(cwd, file), 'utf8');
  } catch (error) {
    throw new ArtifactError(
      'NotFound',
      `manifest ${file} cannot be read: ${(error as Error).message}`,
      {},
      error,
    );
  }
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new ArtifactError('Invalid', `manifest ${file} is no JSON: ${(error as Error).message}`, {}, error);
  }
}
