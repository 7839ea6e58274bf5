/** The promise's value, or undefined when it takes longer. It is not cancelled: a late failure is of no interest. */
export function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return raced(ms, 1, promise);
}

const turns = 20;

/**
 * The same, but the time counts only as far as this process had its turns: on a machine that is too busy for it, what is late may
 * have been answered long ago.
 */
export function withinOwnTime<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return raced(ms / turns, turns, promise);
}

async function raced<T>(ms: number, times: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    let left = times;
    const wait = (): void => {
      timer = setTimeout(() => (--left === 0 ? resolve(undefined) : wait()), ms);
    };
    wait();
  });
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
