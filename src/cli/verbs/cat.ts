import { pipeline } from 'node:stream/promises';
import { ArtifactError } from '../../model/errors.js';
import { openTarget } from '../target.js';
import type { Verb } from '../verb.js';

export const cat: Verb = {
  command: 'cat <path..>',
  describe: 'write the bytes of files to standard output',
  examples: [['artifactfs cat my-model@v1/config.json', 'the file as it was in version 1']],
  settings: 'store',
  build: (parts) =>
    parts.positional('path', {
      type: 'string',
      array: true,
      describe: 'ART/path, ART@v1/path, or a path inside a mount',
    }),
  async run(context) {
    for (const path of context.texts('path')) {
      await using target = await openTarget(context, path);
      if (target.path === '') throw new ArtifactError('IsDirectory', `${path} is a directory`);
      const bytes = await target.client.read(target.artifact, target.ref, target.path);
      await pipeline(bytes, process.stdout, { end: false });
    }
    return 0;
  },
};
