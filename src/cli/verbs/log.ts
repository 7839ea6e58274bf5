import { openArtifact } from '../target.js';
import { summaryText, timeText } from '../text.js';
import { artifactHelp, type Verb } from '../verb.js';

export const log: Verb = {
  command: 'log [artifact]',
  describe: 'list the versions of an artifact, newest first',
  examples: [['artifactfs log my-model -n 5', 'the five newest versions']],
  settings: 'store',
  build: (parts) =>
    parts.positional('artifact', { type: 'string', describe: artifactHelp }).option('limit', {
      alias: 'n',
      type: 'number',
      requiresArg: true,
      describe: 'at most so many versions',
    }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('artifact'));
    const limit = context.flags['limit'] as number | undefined;
    const { versions, more } = await target.client.log(target.artifact, limit);
    if (terminal.json) {
      terminal.document({ artifact: target.artifact, versions, more });
      return 0;
    }
    if (versions.length === 0) terminal.note('no versions yet');
    for (const version of versions) {
      const head = `${terminal.style('yellow', `v${version.version}`)}  ${timeText(version.timeMs)}  ${version.user}@${version.host}`;
      terminal.paragraph(`${head}${version.expired ? '  (expired)' : ''}`);
      for (const line of version.message.split('\n')) {
        if (line !== '') terminal.paragraph(terminal.name(line), '    ');
      }
      terminal.line(terminal.style('dim', `    ${summaryText(version)}`));
    }
    if (more) terminal.note('there are older versions: --limit shows more');
    return 0;
  },
};
