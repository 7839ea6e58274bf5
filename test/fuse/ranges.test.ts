import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { replies, requests } from './protocol-bytes.js';
import { entry, errnoReply, Recorder } from './recorder.js';

const { errno } = constants;
const handle = 0x100000009;
const offset = 0x123456789a;
const length = 0x100000003;

describe('fallocate', () => {
  test.each([
    ['fallocate', 'allocate', false],
    ['fallocateKeep', 'allocate', true],
    ['fallocatePunch', 'punch', true],
    ['fallocateZero', 'zero', false],
    ['fallocateZeroKeep', 'zero', true],
  ] as const)('%s', (request, how, keepSize) => {
    const recorder = new Recorder();
    recorder.request(requests[request]);
    expect(recorder.argumentsOf('allocate')).toEqual([handle, { offset, length, how, keepSize }]);
    expect(recorder.sent).toEqual([replies.empty]);
  });

  test.each(['fallocateCollapse', 'fallocateInsert', 'fallocatePunchOnly'] as const)(
    '%s is EOPNOTSUPP, and never ENOSYS, which would end all of it',
    (request) => {
      const recorder = new Recorder();
      recorder.request(requests[request]);
      expect(recorder.calls).toEqual([]);
      expect(recorder.sent).toEqual([errnoReply(errno.EOPNOTSUPP)]);
    },
  );
});

test('lseek finds data and holes; other places are the kernel’s matter', () => {
  const recorder = new Recorder({ seek: offset });
  recorder.request(requests.lseekData);
  recorder.request(requests.lseekHole);
  recorder.request(requests.lseekEnd);
  expect(recorder.calls.map((call) => call.arguments)).toEqual([
    [handle, offset, 'data'],
    [handle, offset, 'hole'],
  ]);
  expect(recorder.sent).toEqual([replies.offset, replies.offset, errnoReply(errno.EINVAL)]);
});

test('copies answer their count; one that does not fit into 32 bits is made shorter', () => {
  const recorder = new Recorder({ copyRange: (...given: unknown[]) => given[3] });
  recorder.request(requests.copyFileRange);
  recorder.request(requests.copyFileRange64);
  const places = [
    { handle, offset },
    { handle: 10, offset: 0x200000001 },
  ];
  expect(recorder.calls.map((call) => call.arguments)).toEqual([
    [...places, 2 ** 32 - 4096],
    [...places, 0x7ffff000000],
  ]);
  expect(recorder.sent).toEqual([replies.countMost, replies.count64]);
});

test('a copy between artifacts is EXDEV, after which the kernel reads and writes', () => {
  const recorder = new Recorder({
    copyRange: () => {
      throw new ArtifactError('CrossDevice', 'elsewhere');
    },
  });
  recorder.request(requests.copyFileRange64);
  expect(recorder.sent).toEqual([errnoReply(errno.EXDEV)]);
});

test('sizes that a double does not hold exactly are EFBIG', () => {
  const recorder = new Recorder();
  for (const request of ['fallocateFar', 'copyFileRangeFar', 'setattrHuge', 'writeFar'] as const) {
    recorder.request(requests[request]);
  }
  expect(recorder.calls).toEqual([]);
  expect(recorder.sent).toEqual(Array.from({ length: 4 }, () => errnoReply(errno.EFBIG)));
});

test('times that a double does not hold exactly become the last ones it does', () => {
  const recorder = new Recorder();
  recorder.request(requests.setattrFarTimes);
  expect(recorder.argumentsOf('setAttributes')[1]).toEqual({
    atime: { s: Number.MAX_SAFE_INTEGER, ns: 1 },
    mtime: { s: Number.MIN_SAFE_INTEGER, ns: 2 },
    ctime: { s: Number.MAX_SAFE_INTEGER, ns: 3 },
  });
});

test('a file without a name is made like one with, and given back when the kernel does not want it', () => {
  const answers = { createUnnamed: { ...entry, open: { handle: 7 } } };
  const recorder = new Recorder(answers);
  recorder.request(requests.tmpfile);
  expect(recorder.argumentsOf('createUnnamed')).toEqual([1, 0o640, 0x410002]);
  expect(recorder.calls[0]?.context).toMatchObject({ uid: 1000, umask: 0o023 });
  expect(recorder.sent[0]).toHaveLength(160 * 2);
  const unwanted = new Recorder(answers);
  unwanted.wireAnswers.push(-errno.ENOENT);
  unwanted.request(requests.tmpfile);
  expect(unwanted.argumentsOf('release')).toEqual([7]);
  expect(unwanted.argumentsOf('forget')).toEqual([entry.nodeId, 1]);
});

test('syncfs is answered when everything is on stable storage', async () => {
  let finish = (): void => {};
  const recorder = new Recorder({ syncFileSystem: () => new Promise<void>((resolve) => (finish = resolve)) });
  recorder.request(requests.syncfs);
  expect(recorder.sent).toEqual([]);
  finish();
  await recorder.driver.drained();
  expect(recorder.sent).toEqual([replies.empty]);
});
