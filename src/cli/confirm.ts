import { createInterface } from 'node:readline/promises';
import { ArtifactError } from '../model/errors.js';
import type { VerbContext } from './context.js';

/**
 * Asks before what cannot be undone. `--yes` answers; where nobody can be asked, because input or output is no terminal, it
 * must be given. Throws unless the answer is yes.
 */
export async function confirm(context: VerbContext, what: string): Promise<void> {
  if (context.isSet('yes')) return;
  if (context.terminal.json || !context.terminal.isTerminal || process.stdin.isTTY !== true)
    throw new ArtifactError('Invalid', `${what}: nobody can be asked`, {
      hint: 'add --yes if that is meant',
    });
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const asking = new AbortController();
  // Also by Ctrl-D, and by Ctrl-C, which is no signal while a line is read.
  lines.once('close', () => asking.abort());
  try {
    const answer = await context.interrupts.during(
      () => asking.abort(),
      () => lines.question(`${what}. Go on? [y/N] `, { signal: asking.signal }),
    );
    if (/^y(es)?$/i.test(answer.trim())) return;
  } catch (error) {
    if (!asking.signal.aborted) throw error;
  } finally {
    lines.close();
  }
  throw new ArtifactError('Interrupted', 'nothing was changed');
}
