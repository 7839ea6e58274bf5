import { formatBytes } from '../../config/sizes.js';
import { errorFromBody } from '../../http/error-body.js';
import type { GcProgress, GcResult } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import { cancellable } from '../cancellable.js';
import type { VerbContext } from '../context.js';
import { exitCodeOf } from '../exit-codes.js';
import { Progress } from '../progress.js';
import { openSession } from '../session.js';
import { openTarget, type Target } from '../target.js';
import type { Terminal } from '../terminal.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

export const gc: Verb = {
  command: 'gc [paths..]',
  describe: 'delete from the store what no version, stage or reader needs any more',
  examples: [
    ['artifactfs gc --dry-run', 'what would be deleted in the whole workspace, and why'],
    ['artifactfs gc my-model', 'only in my-model'],
    ['artifactfs gc --grace 0', 'at once: who still reads an expired version gets errors'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('paths', {
        type: 'string',
        array: true,
        describe: 'artifacts, each with all below it; default: the whole workspace',
      })
      .option('dry-run', { type: 'boolean', describe: 'say what would be done, and do nothing' })
      .option('grace', {
        type: 'string',
        requiresArg: true,
        describe: 'keep for so long what nobody needs, for those who still read it (0, 12h, 7d). Default: 7d',
      })
      .option('dead-after', {
        type: 'string',
        requiresArg: true,
        describe: 'a stage is dead when nothing was heard of it for so long. Default: 30d',
      }),
  async run(context) {
    const paths = context.texts('paths');
    const results: GcResult[] = [];
    if (paths.length === 0) results.push(await collectAll(context));
    for (const path of paths) {
      await using target = await openTarget(context, path);
      if (target.ref !== '' || target.path !== '')
        throw new ArtifactError('Invalid', `${target.shown} is no artifact`, {
          hint: 'garbage is collected in whole artifacts',
        });
      results.push(await collect(context, target.client, [target.artifact]));
    }
    const result: GcResult = {
      dryRun: context.isSet('dry-run'),
      artifacts: results.flatMap(({ artifacts }) => artifacts),
      failures: results.flatMap(({ failures }) => failures),
    };
    if (context.terminal.json) context.terminal.document(result);
    else show(context.terminal, result);
    const [failure] = result.failures;
    return failure === undefined ? 0 : exitCodeOf(errorFromBody(failure.error).code);
  },
};

/** Of the mount that the working directory is in, else of the settings. */
async function collectAll(context: VerbContext): Promise<GcResult> {
  if (context.flags['store'] !== undefined) {
    await using session = await openSession(context);
    return await collect(context, session.client, []);
  }
  await using target = await openTarget(context, undefined);
  return await collect(context, target.client, []);
}

async function collect(context: VerbContext, client: Target['client'], paths: string[]): Promise<GcResult> {
  const progress = new Progress(context.terminal, 'gc');
  let freed = 0;
  const onProgress = ({ artifactsDone, artifactsTotal, bytesFreed }: GcProgress) => {
    freed = bytesFreed;
    progress.update(bytesFreed, null, `freed, ${artifactsDone}/${artifactsTotal} artifacts`);
  };
  const outcome = (cause: unknown) =>
    new ArtifactError('Interrupted', `cancelled: ${formatBytes(freed)} were freed`, {}, cause);
  const body = {
    paths,
    dryRun: context.isSet('dry-run'),
    ...seconds(context, 'grace', 'graceSeconds'),
    ...seconds(context, 'dead-after', 'deadAfterSeconds'),
  };
  try {
    return await cancellable(context, client, (onStarted) => client.gc(body, { onProgress, onStarted }), {
      outcome,
    });
  } finally {
    progress.end();
  }
}

const unitSeconds: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

function seconds<K extends string>(context: VerbContext, flag: string, name: K): Partial<Record<K, number>> {
  const text = context.text(flag);
  if (text === undefined) return {};
  const match = /^(\d{1,9})([smhdw]?)$/.exec(text);
  const unit = unitSeconds[match?.[2] ?? 'none'];
  if (match === null || unit === undefined)
    throw new ArtifactError('Invalid', `--${flag}: '${text}' is no time`, {
      hint: 'write it like 0, 12h or 7d',
    });
  return { [name]: Number(match[1]) * unit } as Record<K, number>;
}

const why: Readonly<Record<string, string>> = {
  unreachable: 'used by no version that is alive',
  abandoned: 'of a stage that is dead',
};

function show(terminal: Terminal, { dryRun, artifacts, failures }: GcResult): void {
  const would = dryRun ? 'would be ' : '';
  for (const artifact of artifacts) {
    const { expired, abandoned, condemned, waiting, objects, uploadsAborted } = artifact;
    const lines: string[] = [];
    if (expired.length > 0)
      lines.push(`${would}expired: ${expired.map((version) => `v${version}`).join(' ')}`);
    if (abandoned.length > 0) lines.push(`${would}declared dead: ${plural(abandoned.length, 'stage')}`);
    if (condemned.objects > 0)
      lines.push(`${would}deleted: ${plural(condemned.objects, 'object')}, ${formatBytes(condemned.bytes)}`);
    if (uploadsAborted > 0) lines.push(`aborted: ${plural(uploadsAborted, 'upload')}`);
    if (waiting.objects > 0)
      lines.push(
        `waiting for the grace: ${plural(waiting.objects, 'object')}, ${formatBytes(waiting.bytes)}`,
      );
    if (lines.length === 0) continue;
    terminal.line(
      terminal.style('bold', terminal.name(artifact.path ?? `${artifact.artifactId} (removed)`) || '/'),
    );
    for (const line of lines) terminal.line(`  ${line}`);
    if (!dryRun) continue;
    terminal.table(
      objects.map(({ key, size, why: reason }) => [`    ${key}`, formatBytes(size), why[reason] ?? reason]),
    );
    const more = condemned.objects - objects.length;
    if (more > 0) terminal.line(`    and ${plural(more, 'more object', 'more objects')}`);
  }
  for (const { artifactId, path, error } of failures)
    terminal.line(terminal.style('red', `${path ?? artifactId}: ${error.message}`));
  const bytes = artifacts.reduce((sum, { condemned, freed }) => sum + (dryRun ? condemned : freed).bytes, 0);
  terminal.line(`${formatBytes(bytes)} ${dryRun ? 'would be ' : ''}freed`);
}
