// A daemon for tests that need another process or another user: mounts a memory file system at the path given, says
// so in one line, and unmounts on SIGTERM. Run with test/support/typescript-loader.mjs.
import { mountFileSystem } from '../../src/fuse/mount.js';
import { ArtifactError } from '../../src/model/errors.js';
import { MemoryFileSystem } from '../../test/support/memory-file-system.js';

const [mountPoint = '', options = '{}'] = process.argv.slice(2);
try {
  const mounted = await mountFileSystem(new MemoryFileSystem(), {
    mountPoint,
    onError: (failure) => console.log(`failure ${failure.operation} ${failure.error.message}`),
    ...JSON.parse(options),
  });
  process.once('SIGTERM', () => void mounted.unmount({ lazy: true }));
  console.log(`mounted ${mounted.protocol} recovered=${mounted.recovered}`);
  console.log(`closed ${await mounted.closed}`);
} catch (error) {
  if (!(error instanceof ArtifactError)) throw error;
  console.log(`error ${error.code} ${error.message} (${error.details.hint ?? ''})`);
}
