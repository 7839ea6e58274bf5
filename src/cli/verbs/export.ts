import { resolve } from 'node:path';
import type { ExportedFiles, ExportedHistory, Imported, Loss } from '../../app/archive.js';
import type { CopiedArtifact } from '../../app/copy-artifact.js';
import type { DaemonRecord } from '../../app/registry.js';
import { configOfDaemon } from '../../app/store-of-daemon.js';
import { formatBytes } from '../../config/sizes.js';
import { ControlClient } from '../../http/client.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { findPlaces } from '../places.js';
import { Progress } from '../progress.js';
import { plural } from '../text.js';
import { artifactHelp, type Verb } from '../verb.js';

const as = {
  type: 'string',
  requiresArg: true,
  describe: 'name of the copy, from the root; its collections must be there; default: its own, in the root',
} as const;

export const exportVerb: Verb = {
  command: 'export <artifact> <to>',
  describe: 'copy an artifact to a directory, a tar with all its versions, or another workspace',
  examples: [
    ['artifactfs export my-model@v1 ./model', 'the files of one version, with all that they are'],
    ['artifactfs export my-model my-model.tar', 'all versions, messages and aliases; - is standard output'],
    ['artifactfs export my-model s3://other/place', 'the same, into another workspace'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: artifactHelp })
      .positional('to', {
        type: 'string',
        describe: 'a directory that is not there or empty, FILE.tar, -, or the URL of another workspace',
      })
      .option('as', { ...as, describe: `in another workspace: ${as.describe}` }),
  async run(context) {
    const artifact = context.text('artifact') ?? '';
    const to = context.text('to') ?? '';
    if (isUrl(to)) return copy(context, to, 'export', artifact);
    if (/\.(tgz|tar\.\w+)$/.test(to))
      throw new ArtifactError('Invalid', `${to}: a tar is written as it is`, {
        hint: 'name it .tar, or write: artifactfs export ARTIFACT - | gzip >FILE',
      });
    const { daemon, paths } = await findPlaces(context, [artifact]);
    const config = await configOfDaemon(context.loaded.config, daemon);
    const options = { artifact: paths[0] ?? [artifact] };
    const { exportToDirectory, exportToTar } = await import('../../app/archive.js');
    const place = resolve(context.cwd, to);
    if (to === '-') {
      if (process.stdout.isTTY)
        throw new ArtifactError('Invalid', 'a tar is nothing to look at: write it into a file');
      await during(context, 'export', (call) =>
        exportToTar(config, toStandardOutput, { ...options, ...call }),
      );
    } else if (to.endsWith('.tar'))
      tellHistory(
        context,
        place,
        await during(context, 'export', (call) => exportToTar(config, place, { ...options, ...call })),
      );
    else
      tellFiles(
        context,
        place,
        await during(context, 'export', (call) => exportToDirectory(config, place, { ...options, ...call })),
      );
    return undefined;
  },
};

export const importVerb: Verb = {
  command: 'import <from> [artifact]',
  describe: 'make a new artifact of a directory, a tar, or an artifact of another workspace',
  examples: [
    ['artifactfs import ./model my-model', 'the files of a directory, as v0, with all that they are'],
    ['artifactfs import my-model.tar', 'what export made: every version, message and alias'],
    ['artifactfs import file:///backup/place my-model', 'the same, from another workspace'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('from', {
        type: 'string',
        describe: 'a directory, a tar (- is standard input; may be gzipped), or the URL of another workspace',
      })
      .positional('artifact', {
        type: 'string',
        describe: 'its name here, from the root; of another workspace: its name there',
      })
      .option('as', { ...as, describe: `from another workspace: ${as.describe}` })
      .option('message', {
        alias: 'm',
        type: 'string',
        requiresArg: true,
        describe: 'of the version that a directory or a plain tar becomes',
      }),
  async run(context) {
    const from = context.text('from') ?? '';
    const artifact = context.text('artifact');
    if (isUrl(from)) {
      if (artifact !== undefined) return copy(context, from, 'import', artifact);
      throw new ArtifactError('Invalid', 'which artifact of it?', { hint: 'artifactfs import URL ARTIFACT' });
    }
    const { daemon, paths } = await findPlaces(context, artifact === undefined ? [] : [artifact]);
    const config = await configOfDaemon(context.loaded.config, daemon);
    const { importFrom } = await import('../../app/archive.js');
    const imported = await during(context, 'import', (call) =>
      importFrom(config, from === '-' ? process.stdin : resolve(context.cwd, from), {
        path: artifact === undefined ? undefined : (paths[0]?.[0] ?? artifact),
        message: context.text('message') ?? `import of ${from === '-' ? 'a tar' : from}`,
        ...call,
      }),
    );
    await refresh(daemon);
    tellImported(context, imported);
    return undefined;
  },
};

const isUrl = (text: string): boolean => /^(s3|file|memory):/.test(text);

async function copy(
  context: VerbContext,
  other: string,
  direction: 'export' | 'import',
  artifact: string,
): Promise<undefined> {
  if (other.startsWith('memory:')) throw new ArtifactError('Invalid', 'a memory: store is of one process');
  const { daemon, paths } = await findPlaces(context, direction === 'export' ? [artifact] : []);
  const { configsOf, copyBetween } = await import('../../app/copy-artifact.js');
  const configs = await configsOf(context.loaded.config, daemon, other);
  const [from, to] = direction === 'export' ? [configs.own, configs.other] : [configs.other, configs.own];
  const progress = new Progress(context.terminal, direction);
  try {
    const copied = await copyBetween({
      from,
      to,
      artifact: direction === 'export' ? (paths[0] ?? []) : [artifact],
      path: context.text('as'),
      onProgress: (done, total) => progress.update(done, total),
    });
    progress.end();
    if (direction === 'import') await refresh(daemon);
    tellCopied(context, copied);
  } finally {
    progress.end();
  }
  return undefined;
}

interface Call {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number | null) => void;
}

/** With a bar, and ended by Ctrl-C so that nothing is left of it. */
async function during<T>(context: VerbContext, label: string, run: (call: Call) => Promise<T>): Promise<T> {
  const progress = new Progress(context.terminal, label);
  const controller = new AbortController();
  const reason = new ArtifactError('Interrupted', `${label} was interrupted: nothing of it is left`);
  try {
    return await context.interrupts.during(
      () => controller.abort(reason),
      () => run({ signal: controller.signal, onProgress: (done, total) => progress.update(done, total) }),
    );
  } catch (error) {
    throw controller.signal.aborted && isCode(error, 'Interrupted') ? reason : error;
  } finally {
    progress.end();
  }
}

/** So that the mount shows it at once; it would see it by itself. */
async function refresh(daemon: DaemonRecord | null): Promise<void> {
  if (daemon === null) return;
  using client = new ControlClient(daemon.socketPath);
  await client.refreshAll().catch(() => undefined);
}

function toStandardOutput(bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) =>
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve())),
  );
}

function tellFiles(
  { terminal }: VerbContext,
  directory: string,
  exported: ExportedFiles & { version: number },
): void {
  const { version, files, bytes, notKept } = exported;
  if (terminal.json) {
    terminal.document({ directory, ...exported });
    return;
  }
  terminal.line(`${terminal.name(directory)}: v${version}, ${plural(files, 'file')}, ${formatBytes(bytes)}`);
  noteLosses(terminal, notKept);
}

function tellHistory({ terminal }: VerbContext, file: string, exported: ExportedHistory): void {
  const { versions, expired, objects, bytes } = exported;
  if (terminal.json) {
    terminal.document({ file, ...exported });
    return;
  }
  const amounts = `${plural(versions, 'version')}, ${plural(objects, 'object')}, ${formatBytes(bytes)}`;
  terminal.line(`${terminal.name(file)}: ${amounts}`);
  noteExpired(terminal, expired);
}

function tellImported({ terminal }: VerbContext, imported: Imported): void {
  if (terminal.json) {
    terminal.document(imported);
    return;
  }
  const { path, bytes } = imported;
  const what =
    'versions' in imported ? plural(imported.versions, 'version') : `v0, ${plural(imported.files, 'file')}`;
  terminal.line(`${terminal.name(path)}: ${what}, ${formatBytes(bytes)}`);
  if ('versions' in imported) noteExpired(terminal, imported.expired);
  else noteLosses(terminal, imported.notKept);
}

function tellCopied({ terminal }: VerbContext, copied: CopiedArtifact & { path: string }): void {
  const { path, versions, objects, bytes } = copied;
  if (terminal.json) terminal.document(copied);
  else
    terminal.line(
      `${terminal.name(path)}: ${plural(versions, 'version')}, ${plural(objects, 'object')}, ${formatBytes(bytes)}`,
    );
}

function noteLosses(terminal: VerbContext['terminal'], losses: readonly Loss[]): void {
  for (const { what, count, first } of losses)
    terminal.note(`not kept: ${what}, of ${plural(count, 'file')} (${terminal.name(first)})`);
}

function noteExpired(terminal: VerbContext['terminal'], expired: number): void {
  if (expired > 0) terminal.note(`of ${plural(expired, 'expired version')} only the records are there`);
}
