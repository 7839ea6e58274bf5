#include "channel.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "file-range.h"

namespace {

// Where requests begin, so that the data of a write begins a page: see requestStart of protocol/request.ts.
constexpr size_t kPageBytes = 4096;
constexpr size_t kBeforeData = 80;
constexpr size_t kHeaderBytes = 16;

// Protocol 7.40; the headers this is built with may be older.
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
constexpr int kDeviceMagic = 229;
constexpr unsigned long kBackingOpen = _IOW(kDeviceMagic, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(kDeviceMagic, 2, uint32_t);

size_t RequestStart(size_t offset) {
  return (offset + kBeforeData + kPageBytes - 1) / kPageBytes * kPageBytes - kBeforeData;
}

struct Bytes {
  char* data;
  size_t length;
};

// Straight N-API: these run several times for each request.
Bytes BytesOf(napi_env env, napi_value value) {
  void* data = nullptr;
  size_t length = 0;
  napi_get_buffer_info(env, value, &data, &length);
  return {static_cast<char*>(data), length};
}

uint32_t Uint32Of(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

int WriteMessage(int fd, const struct iovec* pieces, int count) {
  for (;;) {
    if (writev(fd, pieces, count) >= 0) return 0;
    // The device takes a message whole or not at all and never asks to wait; EAGAIN is handled in case it learns to.
    if (errno != EINTR && errno != EAGAIN) return -errno;
  }
}

double NumberOf(napi_env env, napi_value value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return number;
}

// A reply from a local file, as replyRange is told.
struct RangeReply {
  uint64_t unique;
  FileRange range;

  explicit RangeReply(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    unique = static_cast<uint64_t>(NumberOf(env, info[0]));
    range.fd = static_cast<int>(Uint32Of(env, info[1]));
    range.offset = static_cast<uint64_t>(NumberOf(env, info[2]));
    range.length = Uint32Of(env, info[3]);
    range.check_bytes = 0;
    range.check_count = 0;
    if (!info[4].IsTypedArray()) return;
    const auto crcs = info[4].As<Napi::Uint32Array>();
    range.check_bytes = Uint32Of(env, info[5]);
    range.checked_end = static_cast<uint64_t>(NumberOf(env, info[6]));
    const uint64_t first = range.offset / range.check_bytes;
    const uint64_t last = (range.offset + range.length - 1) / range.check_bytes;
    if (last >= crcs.ElementLength() || last - first >= FileRange::kChecksMax) return;  // none of them will do
    range.check_count = static_cast<size_t>(last - first + 1);
    std::copy_n(crcs.Data() + first, range.check_count, range.checks.begin());
  }

  // 0 or -errno of the reply, or the errno for which there is none.
  int Send(int device, bool may_wait) const {
    const FileBytes bytes = ReadFileRange(range, may_wait);
    if (bytes.data == nullptr) return bytes.failure;
    struct {
      uint32_t length;
      int32_t error;
      uint64_t unique;
    } header = {static_cast<uint32_t>(kHeaderBytes + range.length), 0, unique};
    static_assert(sizeof(header) == kHeaderBytes);
    const struct iovec pieces[2] = {{&header, kHeaderBytes}, {const_cast<char*>(bytes.data), range.length}};
    return WriteMessage(device, pieces, 2);
  }
};

class RangeWorker : public Napi::AsyncWorker {
 public:
  RangeWorker(Napi::Env env, SharedDescriptor device, const RangeReply& reply)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        device_(std::move(device)),
        reply_(reply) {}

  Napi::Promise Promise() { return deferred_.Promise(); }

 protected:
  void Execute() override { result_ = reply_.Send(device_->get(), true); }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), result_)); }

 private:
  Napi::Promise::Deferred deferred_;
  const SharedDescriptor device_;
  const RangeReply reply_;
  int result_ = 0;
};

Napi::Promise Resolved(Napi::Env env, int result) {
  auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Resolve(Napi::Number::New(env, result));
  return deferred.Promise();
}

class NotifyWorker : public Napi::AsyncWorker {
 public:
  NotifyWorker(Napi::Env env, SharedDescriptor descriptor, Napi::Buffer<char> messages)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        descriptor_(std::move(descriptor)),
        owner_(Napi::Persistent(messages)),
        data_(messages.Data()),
        length_(messages.Length()) {}

  Napi::Promise Promise() { return deferred_.Promise(); }

 protected:
  void Execute() override {
    for (size_t offset = 0; offset + kHeaderBytes <= length_;) {
      uint32_t length;
      memcpy(&length, data_ + offset, sizeof(length));
      if (length < kHeaderBytes || length > length_ - offset) {
        result_ = -EINVAL;
        return;
      }
      const struct iovec piece = {data_ + offset, length};
      const int sent = WriteMessage(descriptor_->get(), &piece, 1);
      if (sent != 0 && sent != -ENOENT && result_ == 0) result_ = sent;
      offset += length;
    }
  }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), result_)); }

 private:
  Napi::Promise::Deferred deferred_;
  const SharedDescriptor descriptor_;
  Napi::Reference<Napi::Buffer<char>> owner_;
  char* const data_;
  const size_t length_;
  int result_ = 0;
};

}  // namespace

Napi::Function Channel::Define(Napi::Env env) {
  return DefineClass(env, "Channel",
                     {
                         InstanceMethod<&Channel::Start>("start"),
                         InstanceMethod<&Channel::Stop>("stop"),
                         InstanceMethod<&Channel::Read>("read"),
                         InstanceMethod<&Channel::Reply>("reply"),
                         InstanceMethod<&Channel::ReplyWith>("replyWith"),
                         InstanceMethod<&Channel::ReplyRange>("replyRange"),
                         InstanceMethod<&Channel::ReplyRangeLater>("replyRangeLater"),
                         InstanceMethod<&Channel::Notify>("notify"),
                         InstanceMethod<&Channel::OpenBacking>("openBacking"),
                         InstanceMethod<&Channel::CloseBacking>("closeBacking"),
                         InstanceMethod<&Channel::Close>("close"),
                     });
}

Channel::Channel(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Channel>(info), async_context_(info.Env(), "artifactfs.Channel") {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  descriptor_ = std::make_shared<Descriptor>(fd);
  const auto head = info[1].As<Napi::Buffer<char>>();
  head_ = head.Data();
  head_owner_ = Napi::Persistent(head);
  on_readable_ = Napi::Persistent(info[2].As<Napi::Function>());
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// Polling holds a reference to the object, so a collected channel never has a live poll; an ending environment may.
Channel::~Channel() { ClosePolling(); }

Napi::Value Channel::Start(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), descriptor_ == nullptr ? -EBADF : StartPolling());
}

int Channel::StartPolling() {
  if (poll_ != nullptr) return 0;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(Env(), &loop) != napi_ok) return -EINVAL;
  auto* poll = new Poll{{}, this, descriptor_, nullptr};
  const int made = uv_poll_init(loop, &poll->handle, descriptor_->get());
  if (made != 0) {
    delete poll;
    return made;
  }
  poll->handle.data = poll;
  poll_ = poll;
  Ref();
  napi_add_async_cleanup_hook(Env(), OnEnvironmentEnd, poll, &poll->hook);
  const int started = uv_poll_start(&poll->handle, UV_READABLE, OnPoll);
  if (started != 0) {
    ClosePolling();
    Unref();
  }
  return started;
}

void Channel::ClosePolling() {
  if (poll_ == nullptr) return;
  Poll* poll = poll_;
  poll_ = nullptr;
  poll->channel = nullptr;
  uv_poll_stop(&poll->handle);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), OnPollClosed);
}

void Channel::OnPollClosed(uv_handle_t* handle) {
  auto* poll = static_cast<Poll*>(handle->data);
  if (poll->hook != nullptr) napi_remove_async_cleanup_hook(poll->hook);
  delete poll;
}

void Channel::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  Channel* channel = static_cast<Poll*>(data)->channel;
  if (channel != nullptr) channel->ClosePolling();
}

void Channel::OnPoll(uv_poll_t* handle, int, int) {
  // With an error status libuv has stopped the poll; the next read tells the reason.
  Channel* channel = static_cast<Poll*>(handle->data)->channel;
  if (channel == nullptr) return;
  const Napi::Env env = channel->Env();
  const Napi::HandleScope scope(env);
  channel->on_readable_.MakeCallback(channel->Value(), 0, nullptr, channel->async_context_);
  napi_value error;
  bool thrown = false;
  if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);
  }
}

void Channel::Stop(const Napi::CallbackInfo&) {
  if (poll_ == nullptr) return;
  ClosePolling();
  Unref();
}

Napi::Value Channel::Read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Napi::Number::New(env, -EBADF);
  const Bytes into = BytesOf(env, info[0]);
  size_t offset = Uint32Of(env, info[1]);
  const size_t keep = Uint32Of(env, info[2]);
  auto ends = info[3].As<Napi::Uint32Array>();
  uint32_t* const out = ends.Data();
  const size_t count_max = ends.ElementLength();
  size_t count = 0;
  int failure = 0;
  while (count < count_max && offset + keep <= into.length) {
    const ssize_t got = read(descriptor_->get(), into.data + offset, into.length - offset);
    if (got < 0) {
      // ENOENT: the request was withdrawn while it was on its way to us.
      if (errno == EINTR || errno == ENOENT) continue;
      if (errno != EAGAIN) failure = -errno;
      break;
    }
    out[count++] = static_cast<uint32_t>(offset + got);
    offset = RequestStart(offset + got);
  }
  return Napi::Number::New(env, count > 0 ? static_cast<int>(count) : failure);
}

Napi::Value Channel::Reply(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Napi::Number::New(env, -EBADF);
  const struct iovec piece = {head_, Uint32Of(env, info[0])};
  return Napi::Number::New(env, WriteMessage(descriptor_->get(), &piece, 1));
}

Napi::Value Channel::ReplyWith(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Napi::Number::New(env, -EBADF);
  const Bytes payload = BytesOf(env, info[1]);
  const struct iovec pieces[2] = {{head_, Uint32Of(env, info[0])}, {payload.data, payload.length}};
  return Napi::Number::New(env, WriteMessage(descriptor_->get(), pieces, 2));
}

Napi::Value Channel::ReplyRange(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Napi::Number::New(env, -EBADF);
  return Napi::Number::New(env, RangeReply(info).Send(descriptor_->get(), false));
}

Napi::Value Channel::ReplyRangeLater(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Resolved(env, -EBADF);
  auto* worker = new RangeWorker(env, descriptor_, RangeReply(info));  // deletes itself when done
  Napi::Promise promise = worker->Promise();
  worker->Queue();
  return promise;
}

Napi::Value Channel::Notify(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Resolved(env, -EBADF);
  // Deletes itself when done.
  auto* worker = new NotifyWorker(env, descriptor_, info[0].As<Napi::Buffer<char>>());
  Napi::Promise promise = worker->Promise();
  worker->Queue();
  return promise;
}

Napi::Value Channel::OpenBacking(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Napi::Number::New(env, -EBADF);
  BackingMap map = {};
  map.fd = info[0].As<Napi::Number>().Int32Value();
  const int id = ioctl(descriptor_->get(), kBackingOpen, &map);
  return Napi::Number::New(env, id < 0 ? -errno : id);
}

Napi::Value Channel::CloseBacking(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (descriptor_ == nullptr) return Napi::Number::New(env, -EBADF);
  const uint32_t id = Uint32Of(env, info[0]);
  return Napi::Number::New(env, ioctl(descriptor_->get(), kBackingClose, &id) < 0 ? -errno : 0);
}

void Channel::Close(const Napi::CallbackInfo& info) {
  Stop(info);
  descriptor_.reset();
}
