import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { deferred } from '../../src/util/deferred.js';
import { whenQuiet } from '../../src/util/when-quiet.js';

test('waits for as long as the event loop works', async () => {
  const called = deferred();
  const shares = [0, 0.9, 0.2, 0.06, 0.01, 0.9];
  let looks = 0;
  const busyShare = () => shares[looks++] ?? 1;
  let calls = 0;
  const body = (): void => {
    calls++;
    called.resolve();
  };
  whenQuiet(body, { afterMs: 1, quietMs: 1, busyShare });
  await called.promise;
  expect(looks).toBe(5); // the first only begins
  await sleep(20);
  expect([looks, calls]).toEqual([5, 1]);
});

test('sees by itself that the loop works, and that it does not any more', async () => {
  const called = deferred();
  let isWorking = true;
  let wasWorking: boolean | undefined;
  const body = (): void => {
    wasWorking = isWorking;
    called.resolve();
  };
  whenQuiet(body, { afterMs: 1, quietMs: 10 });
  for (let turn = 0; turn < 10; turn++) {
    for (const end = performance.now() + 20; performance.now() < end; );
    await new Promise((resolve) => setImmediate(resolve));
  }
  isWorking = false;
  await called.promise;
  expect(wasWorking).toBe(false);
});

test('gives up when it is told to', async () => {
  let calls = 0;
  const giveUp = whenQuiet(() => calls++, { afterMs: 1, quietMs: 1, busyShare: () => 0 });
  giveUp();
  await sleep(20);
  expect(calls).toBe(0);
  const looked = deferred();
  const busyShare = () => {
    looked.resolve();
    return 1;
  };
  const giveUpLater = whenQuiet(() => calls++, { afterMs: 1, quietMs: 1, busyShare });
  await looked.promise;
  giveUpLater();
  await sleep(20);
  expect(calls).toBe(0);
});
