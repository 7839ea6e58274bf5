import { DurableDir } from '../../src/store/file/durable.js';
import { FileStore } from '../../src/store/file/file-store.js';
import { FileUploads } from '../../src/store/file/uploads.js';

// A process that is killed in the middle of one write; file-store.test.ts starts it: MODE DIR UPLOAD_ID.
const [mode = '', dir = '', uploadId = ''] = process.argv.slice(2);
const size = 5 << 20;

async function* halfAndDie() {
  yield Buffer.alloc(size / 2, 'new');
  process.kill(process.pid, 'SIGKILL');
}

if (mode === 'part') {
  await new FileUploads(new DurableDir(dir)).writePart('big', uploadId, 1, size, halfAndDie());
} else {
  const { Readable } = await import('node:stream');
  const store = await FileStore.open(dir);
  await store.putStream('key', Readable.from(halfAndDie()));
}
