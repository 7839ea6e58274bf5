import { readdir, readlink, stat } from 'node:fs/promises';

const quietMs = 250;
const urgentMs = 10;

/**
 * Sees when libfuse lets go of a mount, which it tells nobody. On Linux its descriptor of /dev/fuse is closed then,
 * when all its threads have ended; elsewhere the mount point is on another device.
 */
export class MountWatch {
  readonly #isOver: () => Promise<boolean>;
  #waitMs = quietMs;
  #wake: () => void = () => {};
  #givenUp = false;

  private constructor(isOver: () => Promise<boolean>) {
    this.#isOver = isOver;
  }

  /** Mounts with `mount`, and watches what that made. */
  static async around(path: string, mount: () => Promise<void>): Promise<MountWatch> {
    if (process.platform !== 'linux') {
      await mount();
      const { dev } = await stat(path);
      return new MountWatch(async () => (await stat(path).catch(() => undefined))?.dev !== dev);
    }
    const before = new Set(await fuseDescriptors());
    await mount();
    const own = (await fuseDescriptors()).find((descriptor) => !before.has(descriptor));
    return new MountWatch(async () => own === undefined || !(await isFuse(own)));
  }

  /** Looks more often: the end is near. */
  hurry(): void {
    this.#waitMs = urgentMs;
    this.#wake();
  }

  /** Looks no longer: `over` resolves. */
  giveUp(): void {
    this.#givenUp = true;
    this.#wake();
  }

  /** Resolves when the mount is over. */
  async over(): Promise<void> {
    while (!this.#givenUp && !(await this.#isOver())) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#waitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

async function fuseDescriptors(): Promise<string[]> {
  const all = await readdir('/proc/self/fd');
  const are = await Promise.all(all.map(isFuse));
  return all.filter((_, i) => are[i]);
}

const isFuse = async (descriptor: string): Promise<boolean> =>
  (await readlink(`/proc/self/fd/${descriptor}`).catch(() => '')) === '/dev/fuse';
