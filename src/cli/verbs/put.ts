import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { formatBytes } from '../../config/sizes.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { Progress } from '../progress.js';
import { openTarget, type Target } from '../target.js';
import { plural } from '../text.js';
import { attributesOf, type UploadTotals, upload } from '../transfer/upload.js';
import type { Verb } from '../verb.js';

export const put: Verb = {
  command: 'put <sources..>',
  describe: 'stage files or directories of this machine in an artifact, which is created when it is new',
  examples: [
    ['artifactfs put weights.bin my-model/', 'one file into my-model'],
    ['artifactfs put -r run7/. my-model', 'all that is in run7'],
    ['train | artifactfs put - my-model/weights.bin', 'standard input, of any length'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('sources', {
        type: 'string',
        array: true,
        describe:
          'local files (- is standard input), and last the destination: ART/path, or a path inside a mount',
      })
      .option('recursive', {
        alias: 'r',
        type: 'boolean',
        describe: 'directories too, with modes, times and symlinks',
      }),
  async run(context) {
    const { terminal } = context;
    const sources = [...context.texts('sources')];
    const destination = sources.pop();
    if (destination === undefined || sources.length === 0) {
      throw new ArtifactError('Invalid', 'put needs a source and a destination', {
        hint: 'artifactfs put FILE ART/path',
      });
    }
    await using target = await openDestination(context, destination);
    const totals: UploadTotals = { files: 0, directories: 0, links: 0, bytes: 0, skipped: [] };
    const progress = new Progress(terminal, 'put');
    try {
      for (const source of sources) {
        const path = await placeFor(target, source, destination, sources.length > 1);
        await putOne(context, target, source, path, totals, progress);
      }
    } finally {
      progress.end();
    }
    if (terminal.json) terminal.document({ artifact: target.artifact, ...totals });
    else
      terminal.line(
        `${plural(totals.files, 'file')} staged in ${target.artifact}, ${formatBytes(totals.bytes)}`,
      );
    for (const skipped of totals.skipped)
      terminal.note(`not copied (a socket, device or the like): ${skipped}`);
    return 0;
  },
};

/** Where names go on below a collection, the first of them is an artifact: it is created. */
async function openDestination(context: VerbContext, destination: string): Promise<Target> {
  const target = await openTarget(context, destination, { create: true });
  try {
    if (target.ref !== '')
      throw new ArtifactError('ReadOnly', `${destination} is in a version: versions never change`);
    const [name = '', ...rest] = target.path.split('/');
    const isArtifact = rest.length > 0 || destination.endsWith('/') || context.isSet('recursive');
    if (!target.isCollection || name === '' || !isArtifact) return target;
    const path = target.artifact === '' ? name : `${target.artifact}/${name}`;
    await target.client.create({ path });
    context.terminal.note(`${path}: created; commit makes v0`);
    return { ...target, artifact: path, isCollection: false, path: rest.join('/') };
  } catch (error) {
    await target[Symbol.asyncDispose]();
    throw error;
  }
}

/** As cp does: into a directory that is there, under its own name; `dir/.` means what is in dir. */
async function placeFor(
  target: Target,
  source: string,
  destination: string,
  several: boolean,
): Promise<string> {
  const contents = /(^|\/)\.\/?$/.test(source);
  if (contents || !(await isDirectory(target, destination, several))) return target.path;
  if (source === '-') {
    throw new ArtifactError('IsDirectory', `${destination} is a directory`, {
      hint: 'name the file: ART/path',
    });
  }
  const name = basename(source);
  return target.path === '' ? name : `${target.path}/${name}`;
}

async function isDirectory(target: Target, destination: string, several: boolean): Promise<boolean> {
  if (target.path === '' || several || destination.endsWith('/')) return true;
  try {
    return (await target.client.stat(target.artifact, '', target.path)).kind === 'dir';
  } catch (error) {
    if (isCode(error, 'NotFound', 'NotDirectory')) return false;
    throw error;
  }
}

async function putOne(
  context: VerbContext,
  target: Target,
  source: string,
  path: string,
  totals: UploadTotals,
  progress: Progress,
): Promise<void> {
  const before = totals.bytes;
  if (source === '-') {
    const written = await target.client.write(
      target.artifact,
      path,
      process.stdin,
      {},
      {
        onProgress: ({ bytesDone }) => progress.update(before + bytesDone, null),
      },
    );
    totals.files++;
    totals.bytes += written.size;
    return;
  }
  const local = resolve(context.cwd, source);
  const info = await statLocal(local, source);
  if (info.isDirectory()) {
    if (!context.isSet('recursive')) {
      throw new ArtifactError('IsDirectory', `${source} is a directory`, { hint: 'add -r to put all of it' });
    }
    const tree = await upload(target, local, path, ({ bytes, files }) =>
      progress.update(before + bytes, null, plural(totals.files + files, 'file')),
    );
    totals.files += tree.files;
    totals.directories += tree.directories;
    totals.links += tree.links;
    totals.bytes += tree.bytes;
    totals.skipped.push(...tree.skipped);
    return;
  }
  // A named file is followed when it is a symlink, as cp does; a FIFO is read to its end.
  const written = await target.client.write(
    target.artifact,
    path,
    createReadStream(local),
    attributesOf(info),
    { onProgress: ({ bytesDone }) => progress.update(before + bytesDone, before + Number(info.size)) },
  );
  totals.files++;
  totals.bytes += written.size;
}

async function statLocal(path: string, shown: string) {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new ArtifactError('NotFound', `no file ${shown}`, {}, error);
    throw new ArtifactError('AccessDenied', `${shown} cannot be read: ${message}`, {}, error);
  }
}
