import { formatBytes } from '../../config/sizes.js';
import type { WarmProgress, WarmResult } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import { cancellable } from '../cancellable.js';
import type { VerbContext } from '../context.js';
import { Progress } from '../progress.js';
import { openTarget, type Target } from '../target.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

export const warm: Verb = {
  command: 'warm [path]',
  describe: 'fetch a version, a directory or a file ahead into the disk cache',
  examples: [
    ['artifactfs warm my-model@v3', 'all of version 3: reading it needs the store no more'],
    ['artifactfs warm my-model/weights', 'one directory of the latest version'],
    ['artifactfs warm my-model@v3 --from v2', 'only what changed since version 2'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('path', {
        type: 'string',
        describe: 'ARTIFACT[@VERSION][/PATH]; default: the working directory',
      })
      .option('from', {
        type: 'string',
        requiresArg: true,
        describe: 'only what is not the same in this version',
      }),
  async run(context) {
    const { terminal } = context;
    await using target = await openTarget(context, context.text('path'));
    const result = await warmTarget(context, target);
    if (terminal.json) {
      terminal.document({ artifact: target.artifact, path: target.path, ...result });
      return 0;
    }
    const { files, bytes, cachedBytes, fetchedBytes } = result;
    const there = cachedBytes === bytes ? 'all' : formatBytes(cachedBytes);
    terminal.line(
      `${plural(files, 'file')}, ${formatBytes(bytes)} in the cache: ${there} there before, ${formatBytes(fetchedBytes)} fetched`,
    );
    return 0;
  },
};

/** Ctrl-C ends the call; what was fetched stays. */
async function warmTarget(context: VerbContext, target: Target): Promise<WarmResult> {
  const { artifact, ref, path, client } = target;
  const progress = new Progress(context.terminal, `warm ${target.shown}`);
  let warmBytes = 0;
  const onProgress = ({ bytesDone, bytesTotal }: WarmProgress) => {
    warmBytes = bytesDone;
    progress.update(bytesDone, bytesTotal);
  };
  const outcome = (cause: unknown) => {
    const message = `cancelled: ${formatBytes(warmBytes)} are in the cache`;
    return new ArtifactError('Interrupted', message, { hint: 'warm again to go on from there' }, cause);
  };
  try {
    return await cancellable(
      context,
      client,
      (onStarted) =>
        client.warm(artifact, { ref, path, from: context.text('from') }, { onProgress, onStarted }),
      { outcome },
    );
  } finally {
    progress.end();
  }
}
