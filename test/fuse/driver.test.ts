import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { errnoOfCode } from '../../src/fuse/errno.js';
import { Notifier } from '../../src/fuse/notifier.js';
import { initFlag } from '../../src/fuse/protocol/flags.js';
import { negotiate } from '../../src/fuse/protocol/init.js';
import { ArtifactError, type ErrorCode } from '../../src/model/errors.js';
import type { RequestContext } from '../../src/vfs/file-system.js';
import { replies, requests } from './protocol-bytes.js';
import { entry, errnoReply, initOptions, Recorder } from './recorder.js';

const { errno } = constants;

/** A promise and the ways to settle it. */
function later<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

describe('negotiation', () => {
  test('takes what it uses of what the kernel offers', async () => {
    const recorder = new Recorder({}, false);
    recorder.request(requests.init);
    expect(recorder.sent).toEqual([replies.init]);
    expect(recorder.calls.map((call) => call.method)).toEqual(['attach']);
    await expect(recorder.driver.ready).resolves.toMatchObject({ minor: 45 });
  });

  test('asks a newer kernel to speak our major, and waits', () => {
    const recorder = new Recorder({}, false);
    recorder.request(requests.initNewer);
    recorder.request(requests.init);
    expect(recorder.sent).toEqual([replies.initMajor, replies.init]);
  });

  test('refuses a kernel that is too old', async () => {
    const recorder = new Recorder({}, false);
    recorder.request(requests.initOld);
    expect(recorder.sent).toEqual([errnoReply(errno.EPROTO)]);
    await expect(recorder.driver.ready).rejects.toMatchObject({ code: 'Unsupported' });
    expect(recorder.calls).toEqual([]);
  });

  test('refuses requests before INIT', () => {
    const recorder = new Recorder({}, false);
    recorder.request(requests.getattr);
    expect(recorder.sent).toEqual([errnoReply(errno.EIO)]);
    expect(recorder.calls).toEqual([]);
  });

  test('the write-back cache is asked for only when it is wanted', () => {
    const offer = { major: 7, minor: 40, readAheadBytesMax: 1 << 17, flags: -1, flags2: -1 };
    expect(negotiate(offer, initOptions).flags & initFlag.writebackCache).toBe(0);
    expect(
      negotiate(offer, { ...initOptions, writebackCache: true }).flags & initFlag.writebackCache,
    ).not.toBe(0);
  });

  test('an end before INIT rejects who waits for it', async () => {
    const recorder = new Recorder({}, false);
    await recorder.driver.end('unmounted');
    await expect(recorder.driver.ready).rejects.toMatchObject({ code: 'Interrupted' });
  });
});

describe('failures', () => {
  test.each(Object.entries(errnoOfCode))('%s is errno %i, thrown or rejected', async (code, number) => {
    for (const fail of [
      () => {
        throw new ArtifactError(code as ErrorCode, 'why');
      },
      () => Promise.reject(new ArtifactError(code as ErrorCode, 'why')),
    ]) {
      const recorder = new Recorder({ getAttributes: fail });
      recorder.request(requests.getattr);
      await recorder.driver.drained();
      expect(recorder.sent).toEqual([errnoReply(number)]);
    }
  });

  test('every errno is one of Linux', () => {
    const known = new Set<number>(Object.values(errno));
    for (const number of Object.values(errnoOfCode)) expect(known).toContain(number);
  });

  test('an error without a code is EIO and is reported with its request', () => {
    const bug = new TypeError('x is not a function');
    const recorder = new Recorder({
      getAttributes: () => {
        throw bug;
      },
    });
    recorder.request(requests.getattr);
    expect(recorder.sent).toEqual([errnoReply(errno.EIO)]);
    expect(recorder.failures).toMatchObject([
      { operation: 'getattr', nodeId: 7, pid: 4242, errno: errno.EIO },
    ]);
    expect(recorder.failures[0]?.error.cause).toBe(bug);
  });

  test('what a correct program meets every day is not reported', () => {
    const recorder = new Recorder({
      unlink: () => {
        throw new ArtifactError('NotFound', 'name');
      },
    });
    recorder.request(requests.unlink);
    expect(recorder.failures).toEqual([]);
  });

  test('a full disk without a code of ours is ENOSPC', async () => {
    const recorder = new Recorder({
      write: () => Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' })),
    });
    recorder.request(requests.write);
    await recorder.driver.drained();
    expect(recorder.sent).toEqual([errnoReply(errno.ENOSPC)]);
  });

  test('bytes that are no request are reported and survived', () => {
    const recorder = new Recorder({ lookup: entry });
    recorder.request('00'.repeat(20));
    recorder.request('00'.repeat(64));
    recorder.request(requests.lookup);
    expect(recorder.failures).toHaveLength(2);
    expect(recorder.sent).toEqual([replies.entry]);
  });
});

describe('interrupt', () => {
  test('aborts the signal of the request, which answers EINTR when it gives up', async () => {
    const recorder = new Recorder({
      read: (context: RequestContext) =>
        new Promise((_, reject) => {
          context.signal.addEventListener('abort', () => reject(context.signal.reason));
        }),
    });
    recorder.request(requests.read);
    recorder.request(requests.interrupt);
    await recorder.driver.drained();
    expect(recorder.sent).toEqual([errnoReply(errno.EINTR)]);
    expect(recorder.failures).toEqual([]);
  });

  test('an AbortError of somebody else is EINTR, too', async () => {
    const recorder = new Recorder({ read: () => Promise.reject(new DOMException('stop', 'AbortError')) });
    recorder.request(requests.read);
    await recorder.driver.drained();
    expect(recorder.sent).toEqual([errnoReply(errno.EINTR)]);
  });

  test('a request that does not care is answered as usual', async () => {
    const wait = later<Buffer>();
    const recorder = new Recorder({ read: () => wait.promise });
    recorder.request(requests.read);
    recorder.request(requests.interrupt);
    wait.resolve(Buffer.alloc(0));
    await recorder.driver.drained();
    expect(recorder.sent).toEqual([replies.empty]);
  });

  test('a signal asked for after the interrupt is aborted already', async () => {
    const wait = later<Buffer>();
    let context: RequestContext | undefined;
    const recorder = new Recorder({
      read: (given: RequestContext) => {
        context = given;
        return wait.promise;
      },
    });
    recorder.request(requests.read);
    recorder.request(requests.interrupt);
    expect(context?.signal.aborted).toBe(true);
    wait.resolve(Buffer.alloc(0));
    await recorder.driver.drained();
  });

  test('an interrupt of a request that was answered does nothing', () => {
    const recorder = new Recorder({ lookup: entry });
    recorder.request(requests.lookup);
    recorder.request(requests.interrupt);
    expect(recorder.sent).toEqual([replies.entry]);
    expect(recorder.failures).toEqual([]);
  });

  test('the end of the connection interrupts what is under way and waits for it', async () => {
    const wait = later<Buffer>();
    let signal: AbortSignal | undefined;
    const recorder = new Recorder({
      read: (context: RequestContext) => {
        signal = context.signal;
        return wait.promise;
      },
    });
    recorder.request(requests.read);
    let ended = false;
    const end = recorder.driver.end('unmounted').then(() => {
      ended = true;
    });
    expect(signal?.aborted).toBe(true);
    await Promise.resolve();
    expect(ended).toBe(false);
    wait.reject(signal?.reason);
    await end;
    expect(ended).toBe(true);
  });
});

describe('an answer that the kernel no longer wants is taken back', () => {
  const gone = -errno.ENOENT;

  test('a looked-up node is forgotten', () => {
    const recorder = new Recorder({ lookup: entry });
    recorder.wireAnswers.push(gone);
    recorder.request(requests.lookup);
    expect(recorder.argumentsOf('forget')).toEqual([entry.nodeId, 1]);
    expect(recorder.failures).toEqual([]);
  });

  test('a missing name has nothing to forget', () => {
    const recorder = new Recorder({ lookup: undefined, negativeSeconds: 1 });
    recorder.wireAnswers.push(gone);
    recorder.request(requests.lookup);
    expect(recorder.calls.map((call) => call.method)).toEqual(['lookup']);
  });

  test('an open file is released', () => {
    const recorder = new Recorder({ open: { handle: 9 } });
    recorder.wireAnswers.push(gone);
    recorder.request(requests.open);
    expect(recorder.argumentsOf('release')).toEqual([9]);
  });

  test('a created file is released and forgotten', () => {
    const recorder = new Recorder({ create: { ...entry, open: { handle: 9 } } });
    recorder.wireAnswers.push(gone);
    recorder.request(requests.create);
    expect(recorder.argumentsOf('release')).toEqual([9]);
    expect(recorder.argumentsOf('forget')).toEqual([entry.nodeId, 1]);
  });

  test('a reply that the kernel refuses is reported, and the asker gets EIO', () => {
    const recorder = new Recorder({ lookup: entry });
    recorder.wireAnswers.push(-errno.EINVAL);
    recorder.request(requests.lookup);
    expect(recorder.failures).toHaveLength(1);
    expect(recorder.sent[1]).toBe(errnoReply(errno.EIO));
  });
});

describe('write data', () => {
  test('stays as it is until the promise settles', async () => {
    const wait = later<number>();
    let kept: Buffer | undefined;
    const recorder = new Recorder({
      write: (_c: unknown, _h: unknown, _o: unknown, data: Buffer) => {
        kept = data;
        return wait.promise;
      },
      lookup: entry,
    });
    recorder.request(requests.write);
    expect(recorder.memory.loans).toBe(1);
    expect(kept?.toString()).toBe('bytes');
    wait.resolve(5);
    await recorder.driver.drained();
    expect(recorder.memory.loans).toBe(0);
  });

  test('is given back at once when the answer is there, and after a failure', async () => {
    const recorder = new Recorder({ write: 5 });
    recorder.request(requests.write);
    expect(recorder.memory.loans).toBe(0);
    const failing = new Recorder({ write: () => Promise.reject(new ArtifactError('NoSpace', 'full')) });
    failing.request(requests.write);
    await failing.driver.drained();
    expect(failing.memory.loans).toBe(0);
  });
});

describe('notifications', () => {
  test('leave in order, one batch at a time, in the kernel’s form', async () => {
    const batches: string[] = [];
    const waits = [later<number>(), later<number>()];
    const notifier = new Notifier(
      (messages) => {
        batches.push(messages.toString('hex'));
        return waits[batches.length - 1]?.promise ?? Promise.resolve(0);
      },
      () => {},
    );
    notifier.useExpireOnly();
    notifier.invalidateInode(7, -1, 0);
    notifier.invalidateEntry(7, 'name');
    await Promise.resolve();
    await Promise.resolve();
    expect(batches).toEqual([replies.invalidateInode + replies.invalidateEntry]);
    notifier.invalidateInode(7, -1, 0);
    let drained = false;
    const drain = notifier.drain().then(() => {
      drained = true;
    });
    waits[0]?.resolve(0);
    await Promise.resolve();
    expect(drained).toBe(false);
    waits[1]?.resolve(0);
    await drain;
    expect(batches[1]).toBe(replies.invalidateInode);
  });

  test('the next epoch is one word without a body, where the kernel counts epochs', async () => {
    const sent: string[] = [];
    const notifier = new Notifier(
      (messages) => {
        sent.push(messages.toString('hex'));
        return Promise.resolve(0);
      },
      () => {},
    );
    expect(notifier.invalidateEveryEntry).toBeUndefined();
    notifier.useEpoch();
    notifier.invalidateEveryEntry?.();
    await notifier.drain();
    expect(sent).toEqual(['10000000080000000000000000000000']);
  });

  test('a failure is told and does not stop the next one', async () => {
    const failures: number[] = [];
    const answers = [-errno.EINVAL, 0];
    const notifier = new Notifier(
      () => Promise.resolve(answers.shift() ?? 0),
      (number) => failures.push(number),
    );
    notifier.invalidateInode(7, 0, 0);
    await notifier.drain();
    notifier.invalidateInode(7, 0, 0);
    await notifier.drain();
    expect(failures).toEqual([errno.EINVAL]);
    expect(answers).toEqual([]);
  });

  test('drain with nothing said resolves', async () => {
    await new Notifier(
      () => Promise.reject(new Error('nothing to send')),
      () => {},
    ).drain();
  });
});
