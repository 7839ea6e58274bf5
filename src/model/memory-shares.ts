import { limits } from './limits.js';

/** What each part of the daemon may hold of its memory budget, in bytes. Together they stay below it. */
export interface MemoryShares {
  /** Blocks of objects that were read, or read ahead. */
  readonly blocks: number;
  /** GETs for reads on their way. */
  readonly fetches: number;
  /** Blocks that wait to be written to the disk cache. Most of them are counted as blocks, too. */
  readonly cacheWrites: number;
  /** Packs and parts on their way to the store. */
  readonly uploads: number;
  /** Data of the kernel's writes that is not in the staging files yet. */
  readonly requests: number;
}

/** How many nodes the kernel may know before it is asked to forget some. They come besides the budget, but fewer with a small one. */
export const kernelNodesMax = (budgetBytes: number): number =>
  Math.min(limits.kernelNodesMax, Math.floor(budgetBytes / limits.budgetBytesPerKernelNode));

/**
 * Fixed shares: nobody waits for memory that another part holds, so that nothing can wait in a circle, and a flood of
 * one kind leaves the others what they need. The sixteenth that is left is for fetch memory between two
 * uses, and what V8 has not collected yet.
 */
export function memoryShares(budgetBytes: number): MemoryShares {
  const parts = (count: number): number => Math.floor((budgetBytes * count) / 16);
  return {
    blocks: Math.max(parts(4), limits.getBytesMax),
    fetches: parts(2),
    cacheWrites: parts(1),
    uploads: Math.max(parts(6), limits.partBytesMin),
    requests: parts(2),
  };
}
