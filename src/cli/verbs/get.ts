import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { formatBytes } from '../../config/sizes.js';
import { Progress } from '../progress.js';
import { notAnArtifact, openTarget } from '../target.js';
import { plural } from '../text.js';
import { downloadFile, downloadTree } from '../transfer/download.js';
import type { Verb } from '../verb.js';

export const get: Verb = {
  command: 'get <source> [destination]',
  describe: 'copy a file, a directory or a whole version to this machine',
  examples: [
    ['artifactfs get my-model@v1 ./model', 'all of version 1, into ./model'],
    ['artifactfs get my-model/weights.bin .', 'one file into the working directory'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('source', {
        type: 'string',
        describe: 'ART, ART/path, ART@v1/path, or a path inside a mount',
      })
      .positional('destination', {
        type: 'string',
        describe:
          'a directory that exists receives the copy under its name; - is standard output; default: .',
      }),
  async run(context) {
    const { terminal } = context;
    await using target = await openTarget(context, context.text('source'));
    const { client, artifact, ref, path } = target;
    if (target.isCollection && ref === '' && path !== '' && target.near !== null) throw notAnArtifact(target);
    const info = await client.stat(artifact, ref, path);
    const given = context.text('destination') ?? '.';
    if (given === '-') {
      await pipeline(await client.read(artifact, ref, path), process.stdout, { end: false });
      return 0;
    }
    const name = path === '' ? basename(artifact) : basename(path);
    const destination = await placeFor(resolve(context.cwd, given), given, name);
    const progress = new Progress(terminal, `get ${target.shown}`);
    const totals = { files: 0, directories: 0, links: 0, bytes: 0, skipped: [] as readonly string[] };
    try {
      if (info.kind === 'dir') {
        const all = await downloadTree(target, path, destination, ({ bytes, files }) =>
          progress.update(bytes, null, plural(files, 'file')),
        );
        Object.assign(totals, all);
      } else {
        await downloadFile(target, info, destination, (bytes) => {
          totals.bytes += bytes;
          progress.update(totals.bytes, info.size);
        });
        totals.files = 1;
      }
    } finally {
      progress.end();
    }
    if (terminal.json) terminal.document({ destination, ...totals });
    else terminal.line(`${destination}: ${plural(totals.files, 'file')}, ${formatBytes(totals.bytes)}`);
    for (const skipped of totals.skipped) terminal.note(`not copied (a device or the like): ${skipped}`);
    return 0;
  },
};

/** As cp does: into a directory that is there, under the given name where nothing is. `.` holds the name too. */
async function placeFor(destination: string, given: string, name: string): Promise<string> {
  try {
    if ((await stat(destination)).isDirectory()) return join(destination, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return given.endsWith('/') ? join(destination, name) : destination;
}
