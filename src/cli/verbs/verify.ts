import type { Finding } from '../../app/fsck.js';
import type { VerifyTotals } from '../../app/verify.js';
import { formatBytes } from '../../config/sizes.js';
import { ArtifactError } from '../../model/errors.js';
import type { VerbContext } from '../context.js';
import { exitCodes } from '../exit-codes.js';
import { showFinding } from '../findings.js';
import { findPlaces } from '../places.js';
import { Progress } from '../progress.js';
import { plural } from '../text.js';
import type { Verb } from '../verb.js';

export const verify: Verb = {
  command: 'verify [path..]',
  describe: 'read every byte in the store again and compare it with its hash',
  examples: [
    ['artifactfs verify', 'all that live versions of the workspace have'],
    ['artifactfs verify my-model@v3 gallery', 'one version, and one collection'],
    ['artifactfs verify --sample 5%', 'a twentieth, what was not checked here for longest'],
  ],
  settings: 'store',
  build: (parts) =>
    parts
      .positional('path', {
        type: 'string',
        array: true,
        describe: 'ARTIFACT[@VERSION][/PATH], or paths inside a mount; default: the workspace',
      })
      .option('sample', {
        type: 'string',
        requiresArg: true,
        describe: 'check so much of the bytes, like 5%: what was not checked by this machine for longest',
      }),
  async run(context) {
    const { terminal } = context;
    const { findings, totals } = await check(context);
    const damaged = findings.some(({ severity }) => severity === 'damage');
    if (terminal.json) terminal.document({ ok: !damaged, ...totals, findings });
    else {
      for (const finding of findings) showFinding(terminal, finding);
      const content = `${plural(totals.files, 'file')} in ${plural(totals.objects, 'object')}, ${formatBytes(totals.bytes)} read`;
      terminal.line(`${damaged ? terminal.style('red', 'damaged') : 'sound'}: ${content}`);
      if (totals.filesWithoutHash > 0)
        terminal.note(`${plural(totals.filesWithoutHash, 'file')} without a hash could only be read`);
    }
    return damaged ? exitCodes.corrupt.code : exitCodes.ok.code;
  },
};

async function check(context: VerbContext): Promise<{ findings: Finding[]; totals: VerifyTotals }> {
  const share = shareOf(context.text('sample'));
  const { daemon, paths } = await findPlaces(context, context.texts('path'));
  const { verifyWorkspace } = await import('../../app/verify.js');
  const progress = new Progress(context.terminal, 'verify');
  const onProgress = (done: number, total: number) => progress.update(done, total);
  const findings: Finding[] = [];
  try {
    const checking = verifyWorkspace(context.loaded.config, daemon, { paths, share, onProgress });
    for (;;) {
      const next = await checking.next();
      if (next.done) return { findings, totals: next.value };
      findings.push(next.value);
    }
  } finally {
    progress.end();
  }
}

function shareOf(text: string | undefined): number {
  if (text === undefined) return 1;
  const percent = Number(/^(\d+(?:\.\d+)?)%$/.exec(text)?.[1]);
  if (percent > 0 && percent <= 100) return percent / 100;
  throw new ArtifactError('Invalid', `--sample ${text} is no share`, { hint: 'write it like 5%' });
}
