import { expect, test } from 'vitest';
import { deferred } from '../../src/util/deferred.js';
import { Mutex, Semaphore } from '../../src/util/semaphore.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a semaphore runs as many as it has permits, the others in the order they came', async () => {
  const semaphore = new Semaphore(2);
  const gates = Array.from({ length: 5 }, () => deferred());
  const started: number[] = [];
  const done = gates.map((gate, i) =>
    semaphore.run(async () => {
      started.push(i);
      await gate.promise;
      return i;
    }),
  );
  await turn();
  expect(started).toEqual([0, 1]);
  gates[1]?.resolve();
  await turn();
  expect(started).toEqual([0, 1, 2]);
  for (const gate of gates) gate.resolve();
  expect(await Promise.all(done)).toEqual([0, 1, 2, 3, 4]);
  expect(started).toEqual([0, 1, 2, 3, 4]);
});

test('a body that fails gives its permit back', async () => {
  const mutex = new Mutex();
  await expect(mutex.run(() => Promise.reject(new Error('later')))).rejects.toThrow('later');
  await expect(
    mutex.run(() => {
      throw new Error('at once');
    }),
  ).rejects.toThrow('at once');
  expect(await mutex.run(() => 7)).toBe(7);
});

test('who gives up while waiting is out of the queue, and takes no permit', async () => {
  const mutex = new Mutex();
  const gate = deferred();
  const holder = mutex.run(() => gate.promise);
  const giveUp = new AbortController();
  let ran = false;
  const waiting = mutex.run(() => {
    ran = true;
  }, giveUp.signal);
  const next = mutex.run(() => 'next');
  giveUp.abort(new Error('enough'));
  await expect(waiting).rejects.toMatchObject({ code: 'Interrupted', cause: { message: 'enough' } });
  gate.resolve();
  await holder;
  expect(await next).toBe('next');
  expect(ran).toBe(false);
  await expect(mutex.run(() => 'never', giveUp.signal)).rejects.toMatchObject({ code: 'Interrupted' });
  expect(await mutex.run(() => 'free')).toBe('free');
});

test('a signal that fires after its body began changes nothing', async () => {
  const mutex = new Mutex();
  const giveUp = new AbortController();
  const first = deferred();
  const holder = mutex.run(() => first.promise);
  const gate = deferred();
  const second = mutex.run(() => gate.promise, giveUp.signal);
  first.resolve();
  await holder;
  giveUp.abort();
  gate.resolve();
  await second;
  expect(await mutex.run(() => 'free')).toBe('free');
});
