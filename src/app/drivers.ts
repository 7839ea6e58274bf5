import type { Config } from '../config/options.js';
import { mountFileSystem } from '../fuse/mount.js';
import type { MountOptions } from '../fuse/mount-options.js';
import type { MountedFileSystem } from '../fuse/mounted-file-system.js';
import { loadNative } from '../fuse/native.js';
import { mountWithFuseNative } from '../fuse-native/mount.js';
import type { Logger } from '../log/logger.js';
import { isCode, toArtifactError } from '../model/errors.js';
import type { FileSystem } from '../vfs/file-system.js';

/**
 * Mounts with the wanted driver; with fuse-native also where our own is wanted but its addon does not load. Throws as
 * `mountFileSystem` does, and about our own driver when neither can be loaded.
 */
export async function mountBy(
  wanted: Config['driver'],
  log: Logger,
  fileSystem: FileSystem,
  options: MountOptions,
): Promise<MountedFileSystem> {
  const missing = wanted === 'kernel' ? whyNoAddon() : undefined;
  if (wanted === 'kernel' && missing === undefined) return mountFileSystem(fileSystem, options);
  if (missing !== undefined) {
    log.warn({ err: missing }, 'the kernel driver does not load: mounting with fuse-native, which is slower');
  }
  try {
    return await mountWithFuseNative(fileSystem, options);
  } catch (error) {
    if (missing !== undefined && isCode(error, 'Unsupported')) {
      log.warn({ err: error }, 'fuse-native does not load either');
      throw missing;
    }
    throw error;
  }
}

function whyNoAddon(): Error | undefined {
  try {
    loadNative();
    return undefined;
  } catch (error) {
    return toArtifactError(error);
  }
}
