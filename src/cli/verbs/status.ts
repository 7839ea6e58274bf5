import { runningDaemons } from '../../app/registry.js';
import { formatBytes } from '../../config/sizes.js';
import type { ArtifactStatus, DaemonStatus } from '../../http/schemas.js';
import { toArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { connectTo } from '../session.js';
import { openArtifact } from '../target.js';
import type { Terminal } from '../terminal.js';
import { plural, singleWriterText, stagedText, timeText } from '../text.js';
import type { Verb } from '../verb.js';

export const status: Verb = {
  command: 'status [artifact]',
  describe: 'say what is staged in an artifact; without one, what is mounted',
  examples: [
    ['artifactfs status', 'all daemons; inside an artifact, what is staged there'],
    ['artifactfs status my-model', 'what is staged in my-model'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('artifact', { type: 'string', describe: 'names from the root, or a path inside a mount' })
      .option('limit', { alias: 'n', type: 'number', requiresArg: true, describe: 'at most so many paths' }),
  async run(context) {
    const argument = context.text('artifact');
    const isWorkspace = argument === undefined && context.flags['store'] === undefined;
    if (isWorkspace && !(await isInsideArtifact(context))) return daemonsStatus(context);
    await using target = await openArtifact(context, argument);
    const limit = context.flags['limit'] as number | undefined;
    const result = await target.client.artifactStatus(target.artifact, limit);
    if (context.terminal.json) context.terminal.document(result);
    else showArtifact(context.terminal, result);
    return 0;
  },
};

async function isInsideArtifact(context: VerbContext): Promise<boolean> {
  const daemons = await runningDaemons(context.env);
  const inside = daemons.some(
    ({ mountPoint }) => mountPoint !== null && context.cwd.startsWith(`${mountPoint}/`),
  );
  if (!inside) return false;
  await using target = await openArtifact(context, undefined);
  return target.artifact !== '';
}

function showArtifact(terminal: Terminal, status: ArtifactStatus): void {
  const base = status.base === null ? 'never committed' : `based on v${status.base}`;
  const count = status.stagedCount === 0 ? 'nothing staged' : `${plural(status.stagedCount, 'path')} staged`;
  const size = status.bytesToUpload > 0 ? `, ${formatBytes(status.bytesToUpload)} to upload` : '';
  const name = status.path === '' ? 'the root collection' : terminal.name(status.path);
  terminal.line(`${terminal.style('bold', name)}: ${base}, ${count}${size}`);
  terminal.table(status.staged.map((staged) => [`  ${staged.change}`, terminal.name(stagedText(staged))]));
  const more = status.stagedCount - status.staged.length;
  if (more > 0 && status.staged.length > 0) terminal.line(`  and ${plural(more, 'more path', 'more paths')}`);
  const lists: [string, readonly string[]][] = [
    ['open for writing', status.openForWriting],
    ['in conflict with a commit of others', status.conflicts],
  ];
  for (const [title, paths] of lists) {
    if (paths.length > 0) terminal.line(`${title}:`);
    for (const path of paths.slice(0, 20)) terminal.line(`  ${terminal.name(path)}`);
  }
  if (status.others.length > 0) terminal.line('staged by others:');
  for (const { user, host, mount, bytes, state, seenMs } of status.others.slice(0, 20)) {
    const where = mount === null ? '' : ` in ${mount}`;
    const what = `${state}, ${formatBytes(bytes)}, heard of at ${timeText(seenMs)}`;
    terminal.line(`  ${terminal.name(`${user}@${host}${where}`)}: ${what}`);
  }
  if (status.committing !== null) terminal.line(`committing: ${status.committing.phase}`);
  if (status.uploadError !== null) terminal.line(terminal.style('red', `upload: ${status.uploadError}`));
  if (status.lastError !== null) terminal.line(`last error: ${status.lastError.trimEnd()}`);
}

/** Every daemon of this user. None is an answer, not a failure. */
async function daemonsStatus(context: VerbContext): Promise<number> {
  const { terminal } = context;
  const records = await runningDaemons(context.env);
  const daemons = await Promise.all(
    records.map(async (record) => {
      await using session = connectTo(record);
      try {
        return { record, status: await session.client.status(), error: null };
      } catch (error) {
        return { record, status: null, error: toArtifactError(error).message };
      }
    }),
  );
  if (terminal.json) {
    terminal.document({
      daemons: daemons.map(({ record, status, error }) => (status === null ? { ...record, error } : status)),
    });
    return 0;
  }
  if (daemons.length === 0) terminal.line('nothing is mounted: no daemon is running');
  for (const { record, status, error } of daemons) {
    if (status !== null) showDaemon(terminal, status);
    else terminal.line(`${record.mountPoint}: process ${record.pid} does not answer: ${error}`);
  }
  return 0;
}

function showDaemon(terminal: Terminal, status: DaemonStatus): void {
  terminal.line(terminal.style('bold', status.mountPoint ?? '(not mounted)'));
  const rows: [string, string][] = [
    ['store', status.store],
    ['process', `${status.pid}, ${status.state} since ${timeText(status.startedMs)}`],
    [
      'staged in',
      status.staged.length === 0
        ? 'nothing'
        : status.staged.map((name) => terminal.name(name || '/')).join(', '),
    ],
  ];
  if (status.readOnly !== null) rows.push(['read-only', status.readOnly]);
  else if (status.isSingleWriter) rows.push(['one writer', singleWriterText]);
  if (status.uploads.backlogBytes > 0) rows.push(['to upload', formatBytes(status.uploads.backlogBytes)]);
  if (status.uploads.lastError !== null)
    rows.push(['upload', terminal.style('red', status.uploads.lastError)]);
  if (status.refreshError !== null) rows.push(['refresh', terminal.style('red', status.refreshError)]);
  terminal.table(rows.map(([key, value]) => [`  ${key}:`, value]));
}
