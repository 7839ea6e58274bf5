import { formatBytes } from '../../config/sizes.js';
import { openArtifact } from '../target.js';
import { plural, timeText } from '../text.js';
import { artifactHelp, type Verb } from '../verb.js';

export const show: Verb = {
  command: 'show [artifact]',
  describe: 'describe an artifact or one version of it, with its manifest',
  examples: [['artifactfs show my-model@v1', 'version 1 of my-model']],
  settings: 'store',
  build: (parts) =>
    parts.positional('artifact', { type: 'string', describe: `${artifactHelp}; NAME@v1 for a version` }),
  async run(context) {
    const { terminal } = context;
    await using target = await openArtifact(context, context.text('artifact'));
    const details = await target.client.show(target.artifact, target.ref);
    if (terminal.json) {
      terminal.document(details);
      return 0;
    }
    const version = details.selected ?? details.latest;
    const aliases = Object.entries(details.aliases).map(([name, n]) => `${name} -> v${n}`);
    const rows: [string, string][] = [
      ['artifact', details.path === '' ? '(root)' : terminal.name(details.path)],
      ['id', details.artifactId],
      ...(details.type === '' ? [] : ([['type', terminal.name(details.type)]] as [string, string][])),
      ['versions', `${details.versions}${details.isNew ? ' (never committed)' : ''}`],
      ...(aliases.length === 0 ? [] : ([['aliases', aliases.join(', ')]] as [string, string][])),
      ['staged', details.isStaged ? 'yes' : 'nothing'],
    ];
    if (version !== null) {
      rows.push(
        ['version', `v${version.version}${version.expired ? ' (expired)' : ''}`],
        ['committed', `${timeText(version.timeMs)} by ${version.user}@${version.host}`],
        ['message', terminal.name(version.message)],
        ['content', `${plural(version.entries, 'name')}, ${formatBytes(version.bytes)}`],
      );
    }
    terminal.table(rows.map(([key, value]) => [`${key}:`, value]));
    if (Object.keys(details.manifest).length > 0) {
      terminal.line('manifest:');
      for (const line of JSON.stringify(details.manifest, null, 2).split('\n'))
        terminal.line(`  ${terminal.name(line)}`);
    }
    return 0;
  },
};
