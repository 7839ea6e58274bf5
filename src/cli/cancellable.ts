import type { ControlClient } from '../http/client.js';
import { type ArtifactError, isCode } from '../model/errors.js';
import type { VerbContext } from './context.js';

export interface Cancelled {
  /** At Ctrl-C, before the daemon is told. */
  readonly onCancel?: () => void;
  /** What the user is told when the call ended for it. */
  readonly outcome: (cause: unknown) => ArtifactError;
}

/** Ctrl-C cancels a call that runs in the daemon, and the call's own end says what became of it. */
export async function cancellable<T>(
  context: VerbContext,
  client: ControlClient,
  call: (onStarted: (operation: string) => void) => Promise<T>,
  { onCancel = () => {}, outcome }: Cancelled,
): Promise<T> {
  let operation: string | undefined;
  let cancelled = false;
  const cancel = () => {
    cancelled = true;
    onCancel();
    if (operation !== undefined) void client.cancel(operation).catch(() => undefined);
  };
  try {
    return await context.interrupts.during(cancel, () =>
      call((id) => {
        operation = id;
        if (cancelled) cancel();
      }),
    );
  } catch (error) {
    throw cancelled && isCode(error, 'Interrupted') ? outcome(error) : error;
  }
}
