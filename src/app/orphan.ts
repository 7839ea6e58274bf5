import { findMount } from '../fuse/mount-table.js';
import { unmountPath } from '../fuse/unmount.js';
import { ArtifactError } from '../model/errors.js';

/** Unmounts what no daemon is known for: its daemon was killed, or is another user's. `NotFound` when it is not ours. */
export async function removeMount(path: string, force: boolean): Promise<void> {
  const mount = await findMount(path);
  if (mount === undefined || mount.type !== 'fuse.artifactfs') {
    throw new ArtifactError('NotFound', `${path} is no mount of artifactfs`, {
      hint: 'artifactfs status lists the mounts',
    });
  }
  await unmountPath(path, { lazy: force });
}
