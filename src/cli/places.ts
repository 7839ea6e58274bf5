import type { DaemonRecord } from '../app/registry.js';
import { ArtifactError } from '../model/errors.js';
import type { VerbContext } from './context.js';
import { daemonOfSettings } from './session.js';
import { locate } from './target.js';

/** What arguments mean to a verb that reads the store itself. */
export interface Places {
  /** Has the workspace open; null when none has. */
  readonly daemon: DaemonRecord | null;
  /** For each argument: names from the root, the preferred ones first. */
  readonly paths: readonly (readonly string[])[];
}

/** Arguments as `openTarget` understands them, all of one workspace. None: the workspace around us, or of the settings. */
export async function findPlaces(context: VerbContext, given: readonly string[]): Promise<Places> {
  const paths: (readonly string[])[] = [];
  let daemon: DaemonRecord | null | undefined;
  for (const argument of given.length === 0 ? [undefined] : given) {
    const place = context.flags['store'] === undefined ? await locate(context, argument) : undefined;
    if (argument !== undefined) paths.push(place?.candidates ?? [argument]);
    const its = place?.daemon ?? (await daemonOfSettings(context));
    if (daemon !== undefined && daemon?.socketPath !== its?.socketPath)
      throw new ArtifactError('Invalid', 'the arguments are of different workspaces', {
        hint: 'run it once for each workspace',
      });
    daemon = its;
  }
  return { daemon: daemon ?? null, paths };
}
