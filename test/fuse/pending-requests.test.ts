import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { isToldToEnd } from '../../src/fuse/asker.js';
import type { ArtifactError } from '../../src/model/errors.js';
import { deferred } from '../../src/util/deferred.js';
import type { DirectoryEntry, NodeEntry, RequestContext } from '../../src/vfs/file-system.js';
import { requests } from './protocol-bytes.js';
import { entry, errnoReply, Recorder } from './recorder.js';

const { errno } = constants;

describe('a deadline', () => {
  test('answers ETIMEDOUT, aborts the work, and says so in words', async () => {
    const wait = deferred<Buffer>();
    let signal: AbortSignal | undefined;
    const noted: ArtifactError[] = [];
    const recorder = new Recorder(
      {
        read: (context: RequestContext) => {
          signal = context.signal;
          return wait.promise;
        },
        noteFailure: (_node: number, error: ArtifactError) => noted.push(error),
        pathOf: () => 'a/b',
      },
      { requestTimeoutMs: 40 },
    );
    recorder.request(requests.read);
    await expect.poll(() => recorder.sent).toEqual([errnoReply(errno.ETIMEDOUT)]);
    expect(signal?.reason).toMatchObject({ code: 'TimedOut' });
    expect(recorder.failures).toMatchObject([{ operation: 'read', errno: errno.ETIMEDOUT }]);
    expect(noted.map(({ message }) => message)).toEqual(['read a/b: no answer within 0.04 s']);
    expect(recorder.driver.pending).toMatchObject({ count: 0, givenUpCount: 1 });
    wait.resolve(Buffer.from('late'));
    await recorder.driver.drained();
    expect(recorder.sent).toHaveLength(1);
    expect(recorder.driver.pending).toMatchObject({ count: 0, givenUpCount: 0 });
  });

  test('does not hold for what takes its time', async () => {
    const slow = deferred<number>();
    const recorder = new Recorder(
      {
        write: (context: RequestContext) => {
          context.takeTime?.();
          return slow.promise;
        },
        getAttributes: () => new Promise(() => {}),
      },
      { requestTimeoutMs: 40 },
    );
    recorder.request(requests.write);
    recorder.request(requests.getattr.replace('06000000', '08000000'));
    await expect.poll(() => recorder.sent).toHaveLength(1); // the one that came later
    expect(recorder.driver.pending.count).toBe(1);
    slow.resolve(5);
    await expect.poll(() => recorder.sent).toHaveLength(2);
  });

  test('does not hold for what waits for the local disk', async () => {
    const disk = deferred<void>();
    const recorder = new Recorder({ fsync: () => disk.promise }, { requestTimeoutMs: 20 });
    recorder.request(requests.fsync);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(recorder.sent).toEqual([]);
    disk.resolve();
    await recorder.driver.drained();
    expect(recorder.sent).toHaveLength(1);
    expect(recorder.sent).not.toEqual([errnoReply(errno.ETIMEDOUT)]);
  });

  test('frees the memory of a write only when the file system has let go of it', async () => {
    const wait = deferred<number>();
    const recorder = new Recorder({ write: () => wait.promise }, { requestTimeoutMs: 40 });
    recorder.request(requests.write);
    await expect.poll(() => recorder.sent).toHaveLength(1);
    expect(recorder.memory.loans).toBe(1);
    wait.resolve(5);
    await recorder.driver.drained();
    expect(recorder.memory.loans).toBe(0);
  });
});

describe('an answer that comes after the request was given up', () => {
  const late = async (answers: object, request: string) => {
    const recorder = new Recorder(answers, { isToldToEnd: () => true });
    recorder.request(request);
    recorder.request(requests.interrupt);
    await expect.poll(() => recorder.sent).toEqual([errnoReply(errno.EINTR)]);
    return recorder;
  };

  test('gives back the node that was looked up', async () => {
    const wait = deferred<typeof entry>();
    const recorder = await late({ lookup: () => wait.promise }, requests.lookup);
    wait.resolve(entry);
    await recorder.driver.drained();
    expect(recorder.argumentsOf('forget')).toEqual([entry.nodeId, 1]);
    expect(recorder.told).toEqual([]);
  });

  test('gives back the nodes that were listed with their attributes', async () => {
    const wait = deferred<void>();
    type Emit = (entry: DirectoryEntry, node: NodeEntry | undefined) => boolean;
    const readDirectoryPlus = async (_c: unknown, _h: unknown, _o: unknown, emit: Emit) => {
      emit({ name: '.', ino: 7n, kind: 'dir', nextOffset: 1 }, undefined);
      await wait.promise;
      emit({ name: 'a name', ino: 8n, kind: 'file', nextOffset: 2 }, entry);
      emit({ name: 'other', ino: 9n, kind: 'file', nextOffset: 3 }, { ...entry, nodeId: 9 });
    };
    const recorder = await late({ readDirectoryPlus }, requests.readdirplus);
    wait.resolve();
    await recorder.driver.drained();
    const forgotten = recorder.calls.filter(({ method }) => method === 'forget');
    expect(forgotten.map((call) => call.arguments)).toEqual([
      [entry.nodeId, 1],
      [9, 1],
    ]);
  });

  test('closes the file that was opened', async () => {
    const wait = deferred<{ handle: number }>();
    const recorder = await late({ open: () => wait.promise }, requests.open);
    wait.resolve({ handle: 9 });
    await recorder.driver.drained();
    expect(recorder.argumentsOf('release')).toEqual([9]);
  });

  test('makes the kernel ask again for a name that was removed after all', async () => {
    const wait = deferred<void>();
    const recorder = await late({ unlink: () => wait.promise }, requests.unlink);
    wait.resolve();
    await recorder.driver.drained();
    expect(recorder.told).toEqual(['entry 1 name', 'inode 1']);
  });

  test('a failure of it is no news', async () => {
    const wait = deferred<void>();
    const recorder = await late({ unlink: () => wait.promise }, requests.unlink);
    wait.reject(new Error('too late'));
    await recorder.driver.drained();
    expect(recorder.told).toEqual([]);
    expect(recorder.failures).toEqual([]);
  });
});

describe('an interrupt', () => {
  test('of a commit leaves it some time to answer by itself', async () => {
    const recorder = new Recorder(
      {
        write: (context: RequestContext) => {
          context.takeTime?.();
          const done = deferred<number>();
          context.signal.addEventListener('abort', () => setTimeout(() => done.resolve(5), 20));
          return done.promise;
        },
      },
      { isToldToEnd: () => true },
    );
    recorder.request(requests.write);
    recorder.request(requests.interrupt);
    await recorder.driver.drained();
    expect(recorder.sent).toHaveLength(1);
    expect(recorder.sent).not.toEqual([errnoReply(errno.EINTR)]);
  });

  test('by a signal that ends nothing is no reason to fail, until one comes that does', async () => {
    let ends = false;
    const recorder = new Recorder(
      { read: () => new Promise(() => {}) },
      { isToldToEnd: () => ends, requestTimeoutMs: 60_000 },
    );
    recorder.request(requests.read);
    recorder.request(requests.interrupt);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(recorder.sent).toEqual([]);
    ends = true; // the kernel does not say so again
    await expect.poll(() => recorder.sent).toEqual([errnoReply(errno.EINTR)]);
    await recorder.driver.end('test', 1);
  });

  test('of a request that is not known is not answered', () => {
    const recorder = new Recorder();
    recorder.request(requests.interrupt);
    expect(recorder.sent).toEqual([]);
    expect(recorder.failures).toEqual([]);
  });
});

test('the end of a connection does not wait for ever', async () => {
  const recorder = new Recorder({ read: () => new Promise(() => {}) });
  recorder.request(requests.read);
  expect(await recorder.driver.end('unmounted', 20)).toBe(1);
});

test('a thread that waits for nothing and a thread that is not there', () => {
  expect(isToldToEnd(process.pid)).toBe(false);
  expect(isToldToEnd(0)).toBeUndefined();
  expect(isToldToEnd(2 ** 30)).toBeUndefined();
});
