import { mountInBackground } from '../background.js';
import { mountInForeground } from '../daemon.js';
import type { Verb } from '../verb.js';

export const mount: Verb = {
  command: 'mount <mountpoint>',
  describe: 'mount a workspace at an empty directory',
  examples: [
    ['artifactfs mount ~/artifacts', 'the workspace of this machine, in plain files'],
    ['artifactfs mount --store s3://bucket/work ~/artifacts', 'a workspace in a bucket'],
    ['artifactfs mount --foreground /data', 'for systemd and containers: stays, logs to standard error'],
  ],
  settings: 'all',
  build: (parts) =>
    parts
      .positional('mountpoint', { type: 'string', describe: 'an empty directory' })
      .option('foreground', { alias: 'f', type: 'boolean', describe: 'do not go to the background' })
      .option('create', {
        type: 'boolean',
        describe: 'make the workspace also where other objects are; where nothing is, it is made anyway',
      })
      .option('background-child', { type: 'boolean', hidden: true }),
  run: (context) =>
    context.isSet('foreground')
      ? mountInForeground(context)
      : mountInBackground(process.argv.slice(2), context),
};
