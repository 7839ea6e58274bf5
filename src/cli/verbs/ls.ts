import { formatBytes } from '../../config/sizes.js';
import type { ArtifactSummary, FileInfo } from '../../http/schemas.js';
import { isCode } from '../../model/errors.js';
import { notAnArtifact, openTarget, type Target } from '../target.js';
import type { Terminal } from '../terminal.js';
import { fileTime, modeText, timeText, versionText } from '../text.js';
import type { Verb } from '../verb.js';

export const ls: Verb = {
  command: 'ls [path]',
  describe: 'list artifacts of a collection, or files of an artifact or version',
  examples: [
    ['artifactfs ls', 'artifacts of the workspace, or files of the working directory'],
    ['artifactfs ls -l my-model@v1/config', 'with sizes and times, in version 1'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('path', {
        type: 'string',
        describe: 'ART, ART/path, ART@v1/path, or a path inside a mount',
      })
      .option('long', { alias: 'l', type: 'boolean', describe: 'modes, sizes, times, versions' })
      .option('recursive', { alias: 'R', type: 'boolean', describe: 'with everything below' }),
  async run(context) {
    const { terminal } = context;
    await using target = await openTarget(context, context.text('path'));
    const recursive = context.isSet('recursive');
    const long = context.isSet('long');
    const artifacts = await listArtifacts(target, recursive);
    const files = await listFiles(target, recursive);
    if (terminal.json) {
      terminal.document({ artifact: target.artifact, ref: target.ref, path: target.path, artifacts, files });
      return 0;
    }
    showArtifacts(terminal, artifacts, long);
    showFiles(terminal, target.path, files, long);
    return 0;
  },
};

async function listArtifacts(target: Target, recursive: boolean): Promise<ArtifactSummary[]> {
  if (!target.isCollection || target.path !== '' || target.ref !== '') return [];
  const all: ArtifactSummary[] = [];
  for (;;) {
    const after = all.at(-1)?.path;
    const page = await target.client.artifacts({
      collection: target.artifact,
      recursive,
      ...(after === undefined ? {} : { after }),
    });
    all.push(...page.artifacts);
    if (!page.more) return all;
  }
}

async function listFiles(target: Target, recursive: boolean): Promise<FileInfo[]> {
  const { client, artifact, ref, path } = target;
  try {
    const all: FileInfo[] = [];
    for (;;) {
      const after = all.at(-1)?.path;
      const page = await client.list(artifact, {
        ref,
        path,
        recursive,
        ...(after === undefined ? {} : { after }),
      });
      all.push(...page.files);
      if (!page.more) return all;
    }
  } catch (error) {
    if (isCode(error, 'NotDirectory')) return [await client.stat(artifact, ref, path)];
    if (isCode(error, 'NotFound') && target.isCollection && ref === '') throw notAnArtifact(target);
    throw error;
  }
}

function showArtifacts(terminal: Terminal, artifacts: readonly ArtifactSummary[], long: boolean): void {
  const name = ({ path, isCollection, isNew, isStaged }: ArtifactSummary) =>
    `${terminal.style('bold', terminal.name(path))}${isCollection ? '/' : ''}${isNew ? ' (new)' : isStaged ? ' (staged)' : ''}`;
  if (!long) {
    for (const artifact of artifacts) terminal.line(name(artifact));
    return;
  }
  const rows = artifacts.map((artifact) => {
    const { latest, type } = artifact;
    const size = latest === null ? '-' : formatBytes(latest.bytes);
    const time = latest === null ? '-' : timeText(latest.timeMs);
    return [versionText(latest), size, time, type === '' ? '-' : terminal.name(type), name(artifact)];
  });
  terminal.table(rows, [1]);
}

/** Names as seen from the directory that is listed; a file that was named itself is shown as it was named. */
function showFiles(terminal: Terminal, directory: string, files: readonly FileInfo[], long: boolean): void {
  const name = ({ path, kind, target }: FileInfo) => {
    const inside = directory !== '' && path !== directory ? path.slice(directory.length + 1) : path;
    const shown = terminal.name(kind === 'dir' ? `${inside}/` : inside);
    return long && kind === 'symlink' ? `${shown} -> ${terminal.name(target ?? '')}` : shown;
  };
  if (!long) {
    for (const file of files) terminal.line(name(file));
    return;
  }
  const rows = files.map((file) => [
    modeText(file.kind, file.mode),
    file.kind === 'file' ? formatBytes(file.size) : '-',
    fileTime(file),
    name(file),
  ]);
  terminal.table(rows, [1]);
}
