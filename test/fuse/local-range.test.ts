// Reads whose bytes lie in a local file: the wire reads and sends them, and `read` is asked only when it cannot.
import { constants } from 'node:os';
import { expect, test } from 'vitest';
import type { RangeArguments } from '../../src/fuse/native.js';
import { limits } from '../../src/model/limits.js';
import { deferred } from '../../src/util/deferred.js';
import { replies, requests } from './protocol-bytes.js';
import { errnoReply, Recorder } from './recorder.js';

const { errno } = constants;
const crcs = new Uint32Array([1, 2]);

/** A file system that has the bytes in a local file, and a wire that answers `now`, and `late` from a thread. */
function reading(now: number | undefined, late: Promise<number> | undefined, length = 4096) {
  const released: boolean[] = [];
  const asked: RangeArguments[] = [];
  const wire = {
    replyRange: (...range: RangeArguments) => {
      asked.push(range);
      if (now === undefined) throw new Error('a large read is not for the event loop');
      return now;
    },
    replyRangeLater: (...range: RangeArguments) => {
      asked.push(range);
      if (late === undefined) throw new Error('no thread was expected');
      return late;
    },
  };
  const release = (wasRead: boolean): void => void released.push(wasRead);
  const localRange = (): unknown => ({
    descriptor: 7,
    offset: 8192,
    length,
    crcs,
    checkedEnd: 9999,
    release,
  });
  const recorder = new Recorder({ localRange, read: () => Buffer.alloc(0) }, {}, wire);
  const reads = (): number => recorder.calls.filter(({ method }) => method === 'read').length;
  return { recorder, released, asked, reads };
}

const expected = (length: number): RangeArguments => [
  0x500000006,
  7,
  8192,
  length,
  crcs,
  limits.checkBytes,
  9999,
];

test('a small one is sent at once', () => {
  const { recorder, released, asked, reads } = reading(0, undefined);
  recorder.request(requests.read);
  expect(asked).toEqual([expected(4096)]);
  expect(released).toEqual([true]);
  expect([recorder.sent, reads(), recorder.driver.pending.count]).toEqual([[], 0, 0]);
});

test('a large one, and one that is not in the page cache, is sent by a thread', async () => {
  for (const [now, length] of [
    [errno.EAGAIN, 4096],
    [undefined, 1 << 20],
  ] as const) {
    const sent = deferred<number>();
    const { recorder, released, asked, reads } = reading(now, sent.promise, length);
    recorder.request(requests.read);
    expect(asked.at(-1)).toEqual(expected(length));
    expect([released, recorder.driver.pending.count]).toEqual([[], 1]);
    sent.resolve(0);
    await recorder.driver.drained();
    expect([released, recorder.sent, reads()]).toEqual([[true], [], 0]);
  }
});

test('what cannot be read, or is damaged, is answered by the file system', async () => {
  const small = reading(errno.EBADMSG, undefined);
  small.recorder.request(requests.read);
  expect([small.released, small.recorder.sent, small.reads()]).toEqual([[false], [replies.empty], 1]);
  const large = reading(undefined, Promise.resolve(errno.ENODATA), 1 << 20);
  large.recorder.request(requests.read);
  await large.recorder.driver.drained();
  expect([large.released, large.recorder.sent, large.reads()]).toEqual([[false], [replies.empty], 1]);
});

test('a kernel that no longer wants it is no failure', () => {
  const { recorder, released, reads } = reading(-errno.ENOENT, undefined);
  recorder.request(requests.read);
  expect([released, recorder.sent, recorder.failures, reads()]).toEqual([[true], [], [], 0]);
});

test('one that was given up is answered once, and its file is released when the thread is done', async () => {
  for (const late of [0, errno.EBADMSG]) {
    const sent = deferred<number>();
    const { recorder, released, reads } = reading(undefined, sent.promise, 1 << 20);
    recorder.request(requests.read);
    recorder.request(requests.interrupt);
    await new Promise((resolve) => setImmediate(resolve));
    expect([recorder.sent, released]).toEqual([[errnoReply(errno.EINTR)], []]);
    sent.resolve(late);
    await recorder.driver.drained();
    expect([recorder.sent.length, released, reads()]).toEqual([1, [false], 0]);
  }
});

test('a failure of the file system after that reaches the kernel', () => {
  const { recorder } = reading(errno.EIO, undefined);
  const failing = new Recorder(
    {
      localRange: () => ({
        descriptor: 7,
        offset: 0,
        length: 1,
        crcs: null,
        checkedEnd: 0,
        release: () => {},
      }),
      read: () => {
        throw new DOMException('stop', 'AbortError');
      },
    },
    {},
    { replyRange: () => errno.EIO },
  );
  failing.request(requests.read);
  expect(failing.sent).toEqual([errnoReply(errno.EINTR)]);
  recorder.request(requests.read);
  expect(recorder.sent).toEqual([replies.empty]);
});
