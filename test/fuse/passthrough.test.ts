import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { Notifier } from '../../src/fuse/notifier.js';
import { Passthrough } from '../../src/fuse/passthrough.js';
import { initFlag, initFlag2 } from '../../src/fuse/protocol/flags.js';
import { negotiate } from '../../src/fuse/protocol/init.js';
import { replies, requests } from './protocol-bytes.js';
import { initOptions, Recorder } from './recorder.js';

const { errno } = constants;
const offer = { major: 7, minor: 40, readAheadBytesMax: 1 << 17, flags: -1, flags2: -1 };

/** A channel that answers with these, one after another. */
function channel(...answers: number[]) {
  const asked: number[] = [];
  const closed: number[] = [];
  return {
    asked,
    closed,
    openBacking: (file: number) => {
      asked.push(file);
      return answers.shift() ?? -errno.EIO;
    },
    closeBacking: (id: number) => {
      closed.push(id);
      return 0;
    },
  };
}

test('it is asked for when it is wanted, and never beside the write-back cache', () => {
  const asked = (options: object) => negotiate(offer, { ...initOptions, ...options }).flags2;
  expect(asked({}) & initFlag2.passthrough).toBe(0);
  expect(asked({ passthrough: true }) & initFlag2.passthrough).not.toBe(0);
  expect(asked({ passthrough: true, writebackCache: true }) & initFlag2.passthrough).toBe(0);
  // The kernel has no write-back cache: then nothing is in the way.
  const without = { ...offer, flags: ~initFlag.writebackCache };
  const options = { ...initOptions, passthrough: true, writebackCache: true };
  expect(negotiate(without, options).flags2 & initFlag2.passthrough).not.toBe(0);
  expect(negotiate({ ...offer, flags2: 0 }, options).flags2 & initFlag2.passthrough).toBe(0);
});

test('the answer to INIT has the flag and how deep file systems may be stacked', () => {
  const recorder = new Recorder({}, false);
  recorder.request(requests.init);
  const wanting = new Recorder({}, { init: { ...initOptions, passthrough: true } });
  expect(recorder.sent).toEqual([replies.init]);
  const [plain, wanted] = [recorder, wanting].map(({ driver }) => Buffer.from(driver.replyMemory));
  // 16 bytes of header; flags2 at 32, max_stack_depth at 36 of struct fuse_init_out.
  expect(wanting.driver.negotiated?.flags2).toBe((recorder.driver.negotiated?.flags2 ?? 0) | (1 << 5));
  expect(plain?.readUInt32LE(16 + 36)).toBe(0);
  expect(wanted?.readUInt32LE(16 + 32)).toBe((plain?.readUInt32LE(16 + 32) ?? 0) | (1 << 5));
  expect(wanted?.readUInt32LE(16 + 36)).toBe(1);
});

test('the answer to OPEN has the id, and does not keep pages of such a file', () => {
  const recorder = new Recorder({ open: { handle: 9, backingId: 7, keepCache: true, noFlush: true } });
  recorder.request(requests.open);
  const open = Buffer.from(recorder.sent[0] ?? '', 'hex').subarray(16);
  expect(open.readUInt32LE(0)).toBe(9);
  expect(open.readUInt32LE(8)).toBe((1 << 7) | (1 << 5));
  expect(open.readUInt32LE(12)).toBe(7);
});

test('a refusal for want of rights is for the whole mount', () => {
  const asked = channel(3, -errno.ENOMEM, 4, -errno.EPERM, 5);
  const passthrough = new Passthrough(asked);
  const notifier = new Notifier(
    async () => 0,
    () => {},
  );
  expect(notifier.localFiles).toBeUndefined();
  notifier.usePassthrough(passthrough);
  expect([20, 21, 22].map((file) => passthrough.open(file))).toEqual([3, undefined, 4]);
  expect(notifier.localFiles).toBe(passthrough);
  expect(passthrough.open(23)).toBeUndefined();
  expect(notifier.localFiles).toBeUndefined();
  expect(passthrough.open(24)).toBeUndefined();
  expect(asked.asked).toEqual([20, 21, 22, 23]);
  passthrough.close(4);
  expect(asked.closed).toEqual([4]);
});
