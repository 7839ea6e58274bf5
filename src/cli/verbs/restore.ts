import { ArtifactError } from '../../model/errors.js';
import { openSessionHere } from '../target.js';
import { plural, timeText } from '../text.js';
import type { Verb } from '../verb.js';

export const restore: Verb = {
  command: 'restore [removed]',
  describe: 'bring a removed artifact back before gc, or list those that can come back',
  examples: [
    ['artifactfs restore', 'lists them, the last removed first'],
    ['artifactfs restore gallery/cells --as gallery/old-cells', 'under another name'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('removed', { type: 'string', describe: 'path of names that it had, or its id' })
      .option('as', { type: 'string', requiresArg: true, describe: 'path of names to have' }),
  async run(context) {
    const { terminal } = context;
    const what = context.text('removed');
    const as = context.text('as');
    if (what === undefined && as !== undefined)
      throw new ArtifactError('Invalid', '--as: which artifact?', { hint: 'artifactfs restore lists them' });
    await using session = await openSessionHere(context);
    if (what !== undefined) {
      const restored = await session.client.restore(what, as);
      if (terminal.json) terminal.document(restored);
      else terminal.line(`${terminal.name(restored.path)}: restored`);
      return 0;
    }
    const { removed } = await session.client.removed();
    if (terminal.json) {
      terminal.document({ removed });
      return 0;
    }
    if (removed.length === 0) terminal.note('nothing can come back');
    terminal.table(
      removed.map((one) => [
        terminal.name(one.path),
        plural(one.versions, 'version'),
        `${timeText(one.timeMs)} by ${one.user}@${one.host}`,
        one.artifactId,
      ]),
    );
    return 0;
  },
};
