#pragma once

#include <napi.h>

// System calls that Node does not have. All answer 0 (or a descriptor), or -errno; none throws. The calls that can
// wait for a file system (which may be ours) run on libuv's pool and answer a promise.

// mount(source: string, target: string, type: string, flags: number, data: string): Promise<number>
Napi::Value Mount(const Napi::CallbackInfo& info);

// unmount(target: string, flags: number): Promise<number>
Napi::Value Unmount(const Napi::CallbackInfo& info);

// syncFile(path: string): Promise<number>. fsync(2) of a file, which is not followed; also of one in our own mount.
Napi::Value SyncFile(const Napi::CallbackInfo& info);

// socketPair(): [number, number] | number. A stream pair, close-on-exec.
Napi::Value SocketPair(const Napi::CallbackInfo& info);

// receiveDescriptor(socket: number): number. Takes one descriptor that the other end has sent already; never waits.
Napi::Value ReceiveDescriptor(const Napi::CallbackInfo& info);
