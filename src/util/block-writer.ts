/** What the addon does for files of blocks: native/block-write.h. Here, since who loads it and who uses it know nothing of each other. */
export interface BlockWriter {
  alignedStart(memory: Buffer): number;
  writeBlocks(
    file: number,
    offsets: readonly number[],
    pieces: readonly Buffer[],
    checkBytes: number,
    checks: Uint32Array,
    direct: boolean,
  ): Promise<number>;
  writeFollowing(file: number, offset: number, pieces: readonly Uint8Array[]): Promise<number>;
}
