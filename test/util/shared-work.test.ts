import { expect, it } from 'vitest';
import { deferred } from '../../src/util/deferred.js';
import { SharedWork } from '../../src/util/shared-work.js';

/** Work whose ends are given by the test. */
function controlled() {
  const ends: ReturnType<typeof deferred<string>>[] = [];
  const work = (): Promise<string> => {
    const end = deferred<string>();
    ends.push(end);
    return end.promise;
  };
  return { ends, work };
}

it('does for many at a time what one asked for', async () => {
  const shared = new SharedWork<string>();
  const { ends, work } = controlled();
  const all = [shared.run('a', work), shared.run('a', work), shared.run('a', work)];
  expect([ends.length, shared.size]).toEqual([1, 1]);
  ends[0]?.resolve('done');
  expect(await Promise.all(all)).toEqual(['done', 'done', 'done']);
  expect(shared.size).toBe(0);
});

// Found by the soak: a look-up failed with the error of one that had begun in an outage which was over.
it('regression: a failure is not for those who joined after the beginning: together they try once more', async () => {
  const shared = new SharedWork<string>();
  const { ends, work } = controlled();
  const first = shared.run('a', work);
  const joined = [shared.run('a', work), shared.run('a', work)];
  ends[0]?.reject(new Error('away'));
  await expect(first).rejects.toThrow('away');
  await expect.poll(() => ends.length).toBe(2);
  ends[1]?.resolve('there');
  expect(await Promise.all(joined)).toEqual(['there', 'there']);
});

it('ends for all with a failure of work that began while they waited', async () => {
  const shared = new SharedWork<string>();
  const { ends, work } = controlled();
  const all = Promise.allSettled([shared.run('a', work), shared.run('a', work), shared.run('a', work)]);
  ends[0]?.reject(new Error('away'));
  await expect.poll(() => ends.length).toBe(2);
  ends[1]?.reject(new Error('still away'));
  const found = await all;
  expect(found.map((each) => each.status === 'rejected' && String(each.reason.message))).toEqual([
    'away',
    'still away',
    'still away',
  ]);
  await shared.settled();
});
