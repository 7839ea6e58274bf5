#pragma once

#include <napi.h>
#include <uv.h>

#include "descriptor.h"

// One open /dev/fuse: says when it is readable, reads requests in batches into memory of the caller, writes replies
// and notifications. Owns the descriptor. Arguments are checked in src/fuse/native.ts, never here.
//
//   new Channel(fd, head: Buffer, onReadable: () => void)
//     The descriptor is made non-blocking. `head` is where the caller builds replies; it is kept alive. onReadable is
//     called from the event loop, between start and stop, as long as something can be read (a lost connection, too).
//   start(): number, stop(): void
//     0 or -errno. While started, the channel keeps the process and itself alive.
//   read(into: Buffer, from: number, keep: number, ends: Uint32Array): number
//     Reads requests one after the other from offset `from`, each at a multiple of 8, and stores the offset where each
//     ends, until there are no more, `ends` is full, or fewer than `keep` bytes of room are left. Answers how many;
//     with none, 0 or -errno.
//   reply(bytes: number): number
//     Sends the first `bytes` of head: a complete reply. 0 or -errno (ENOENT: the asker is gone).
//   replyWith(bytes: number, payload: Uint8Array): number
//     The same, followed by payload, which is not copied before it is sent.
//   replyRange(unique, file, offset, length, crcs: Uint32Array | null, checkBytes, checkedEnd: numbers): number
//     Sends bytes of a local file as the reply to the read `unique`, without waiting for a disk. With `crcs`, those of each
//     `checkBytes` of the file, the last of which end at `checkedEnd`, what is wrong is not sent. 0 or -errno as for reply, or
//     an errno above 0, when nothing was sent: EAGAIN, some of it is not in the page cache; else as in file-range.h.
//   replyRangeLater(the same): Promise<number>
//     The same from libuv's pool, waiting for the disk. The file must stay open until then. At most one reply of 1 MiB is in
//     memory for each thread.
//   notify(messages: Buffer): Promise<number>
//     Sends complete notifications that follow each other, from libuv's pool, because the kernel may make the writer
//     wait for a lock whose holder waits for us. `messages` must not change meanwhile. Answers 0 or the first -errno
//     other than ENOENT (the kernel did not know the thing; nothing to forget).
//   openBacking(file: number): number, closeBacking(id: number): number
//     Registers an open file with the kernel, which holds it by itself from then on: answers an id above 0, under which
//     opens may name it, or -errno. closeBacking lets go of it; opens that named it keep it. 0 or -errno.
//   close(): void
//     Stops and lets go of the descriptor. Every later call answers -EBADF.
class Channel : public Napi::ObjectWrap<Channel> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit Channel(const Napi::CallbackInfo& info);
  ~Channel() override;

 private:
  // The poll handle lives on its own, since libuv frees handles later than the object may go.
  struct Poll {
    uv_poll_t handle;
    Channel* channel;
    SharedDescriptor descriptor;
    napi_async_cleanup_hook_handle hook;
  };

  static void OnPoll(uv_poll_t* handle, int status, int events);
  static void OnPollClosed(uv_handle_t* handle);
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* data);

  Napi::Value Start(const Napi::CallbackInfo& info);
  void Stop(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value Reply(const Napi::CallbackInfo& info);
  Napi::Value ReplyWith(const Napi::CallbackInfo& info);
  Napi::Value ReplyRange(const Napi::CallbackInfo& info);
  Napi::Value ReplyRangeLater(const Napi::CallbackInfo& info);
  Napi::Value Notify(const Napi::CallbackInfo& info);
  Napi::Value OpenBacking(const Napi::CallbackInfo& info);
  Napi::Value CloseBacking(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  int StartPolling();
  void ClosePolling();

  SharedDescriptor descriptor_;
  char* head_ = nullptr;
  Napi::Reference<Napi::Buffer<char>> head_owner_;
  Napi::FunctionReference on_readable_;
  Napi::AsyncContext async_context_;
  Poll* poll_ = nullptr;
};
