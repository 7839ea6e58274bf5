#pragma once

#include <napi.h>

// Blocks of fetched objects on their way into local files.

// alignedStart(memory: Buffer): number
//   Offset of the first byte of `memory` from which on writeBlocks can give it to the disk itself: less than 4096.
Napi::Value AlignedStart(const Napi::CallbackInfo& info);

// writeBlocks(file: number, offsets: number[], pieces: Buffer[], checkBytes: number, checks: Uint32Array, direct: boolean):
//     Promise<number>
//   From libuv's pool: writes each of `pieces` at its offset, and puts the CRC32 of each `checkBytes` of it into `checks`, one
//   piece after the other (it has room for all of them). The file must stay open, and the bytes the same, until then. With
//   `direct`, bytes that are aligned go past the page cache, where the file system can. Answers the microseconds that writing
//   took, or -errno; then nobody knows what was written.
Napi::Value WriteBlocks(const Napi::CallbackInfo& info);

// writeFollowing(file: number, offset: number, pieces: Uint8Array[]): Promise<number>
//   From libuv's pool: writes `pieces` one after the other from `offset` on. The file must stay open, and the bytes the same,
//   until then. Answers the microseconds that writing took, as the thread had them, or -errno; then nobody knows what was written.
Napi::Value WriteFollowing(const Napi::CallbackInfo& info);
