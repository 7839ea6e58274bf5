import { formatBytes } from '../../config/sizes.js';
import type { CacheStatus } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { openTarget, type Target } from '../target.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

const actions = ['show', 'pin', 'unpin', 'evict'] as const;
type Action = (typeof actions)[number];

export const cache: Verb = {
  command: 'cache [action] [path]',
  describe: 'look at the disk cache; keep some of it, or remove it',
  examples: [
    ['artifactfs cache', 'how full it is, what it spared, what is pinned'],
    ['artifactfs cache show my-model@v3', 'how much of version 3 is there'],
    ['artifactfs cache pin my-model@v3', 'keep it there (artifactfs warm fetches it)'],
    ['artifactfs cache unpin my-model@v3', 'let it go when others need the room'],
    ['artifactfs cache evict my-model@v2', 'remove it now; --all removes everything that is not pinned'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('action', { choices: actions, default: 'show', describe: 'what to do' })
      .positional('path', {
        type: 'string',
        describe: 'ARTIFACT[@VERSION][/PATH]; without @VERSION the latest; . is the working directory',
      })
      .option('all', { type: 'boolean', describe: 'evict: everything that is not pinned' }),
  async run(context) {
    const action = (context.text('action') ?? 'show') as Action;
    const path = context.text('path');
    const all = context.isSet('all');
    if (all && (action !== 'evict' || path !== undefined))
      throw new ArtifactError('Invalid', '--all is for evict, without a path');
    if (path === undefined && action !== 'show' && !all) {
      throw new ArtifactError('Invalid', `${action} what?`, {
        hint: `artifactfs cache ${action} ARTIFACT[@VERSION][/PATH]${action === 'evict' ? ', or --all' : ''}`,
      });
    }
    await using target = await openTarget(context, path);
    if (path === undefined) return await whole(context, target, all);
    const run = { show: ofPath, pin, unpin, evict }[action];
    await run(context, target);
    return 0;
  },
};

async function whole({ terminal }: VerbContext, { client }: Target, evictAll: boolean): Promise<number> {
  if (evictAll) {
    const evicted = await client.evictAll();
    if (terminal.json) terminal.document(evicted);
    else terminal.line(`${formatBytes(evicted.bytes)} removed`);
    return 0;
  }
  const status = await client.cache();
  if (terminal.json) terminal.document(status);
  else terminal.table(rowsOf(status));
  return 0;
}

function rowsOf(status: CacheStatus): [string, string][] {
  const { memoryHitBytes, diskHitBytes, fetchedBytes } = status;
  const readBytes = memoryHitBytes + diskHitBytes + fetchedBytes;
  const share = (bytes: number) =>
    `${formatBytes(bytes)}${readBytes === 0 ? '' : ` (${Math.round((bytes / readBytes) * 100)} %)`}`;
  const pins = status.pins.map(({ artifact, version, path }, i): [string, string] => [
    i === 0 ? 'pins:' : '',
    `${artifact}@v${version}${path === '' ? '' : `/${path}`}`,
  ]);
  return [
    [
      'on disk:',
      `${formatBytes(status.bytes)} of ${formatBytes(status.bytesMax)}, of ${plural(status.objects, 'object')}`,
    ],
    ['pinned:', formatBytes(status.pinnedBytes)],
    [
      'read from:',
      `memory ${share(memoryHitBytes)}, disk ${share(diskHitBytes)}, store ${share(fetchedBytes)}`,
    ],
    ...pins,
  ];
}

async function ofPath({ terminal }: VerbContext, target: Target): Promise<void> {
  const coverage = await target.client.coverage(target.artifact, target.ref, target.path);
  if (terminal.json) {
    terminal.document({ artifact: target.artifact, path: target.path, ...coverage });
    return;
  }
  const { version, files, bytes, cachedBytes, pinned } = coverage;
  terminal.line(
    `v${version}, ${plural(files, 'file')}: ${formatBytes(cachedBytes)} of ${formatBytes(bytes)} cached${pinned ? ', pinned' : ''}`,
  );
}

async function pin({ terminal }: VerbContext, target: Target): Promise<void> {
  const coverage = await target.client.pin(target.artifact, target.ref, target.path);
  if (terminal.json) {
    terminal.document({ artifact: target.artifact, path: target.path, ...coverage });
    return;
  }
  const { version, bytes, cachedBytes } = coverage;
  terminal.line(`pinned v${version}: ${formatBytes(cachedBytes)} of ${formatBytes(bytes)} cached`);
  if (cachedBytes < bytes) terminal.note(`artifactfs warm ${target.shown} fetches the rest`);
}

async function unpin({ terminal }: VerbContext, target: Target): Promise<void> {
  const { unpinned } = await target.client.unpin(target.artifact, target.ref, target.path);
  if (!unpinned) {
    throw new ArtifactError('NotFound', `${target.shown} is not pinned`, {
      hint: 'artifactfs cache lists the pins',
    });
  }
  if (terminal.json) terminal.document({ artifact: target.artifact, path: target.path, unpinned });
  else terminal.line('unpinned');
}

async function evict({ terminal }: VerbContext, target: Target): Promise<void> {
  const evicted = await target.client.evict(target.artifact, target.ref, target.path);
  if (terminal.json) terminal.document({ artifact: target.artifact, path: target.path, ...evicted });
  else terminal.line(`${formatBytes(evicted.bytes)} removed`);
}
