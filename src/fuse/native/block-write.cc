#include "block-write.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "crc32.h"

namespace {

// What direct writes want of addresses, offsets and lengths, on any disk.
constexpr size_t kAlignment = 4096;

// Writes `length` bytes as far as it can; `*failure` says why no further.
size_t WriteOn(int fd, const char* data, size_t length, uint64_t offset, int* failure) {
  size_t done = 0;
  *failure = 0;
  while (done < length && *failure == 0) {
    const ssize_t put = pwrite(fd, data + done, length - done, static_cast<off_t>(offset + done));
    if (put > 0) done += static_cast<size_t>(put);
    else if (put == 0) *failure = EIO;
    else if (errno != EINTR) *failure = errno;
  }
  return done;
}

// A descriptor of the same file for writes past the page cache, or -1 where there is none.
int OpenDirect(int fd) {
  char path[32];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

// The same past the page cache, which spares a copy into fresh pages: on virtual machines these are most of what a write costs.
// What cannot be written like that is left to the ordinary way, which also knows the reason if that cannot either.
size_t WriteDirectly(int direct, const char* data, size_t length, uint64_t offset) {
  if (direct < 0 || reinterpret_cast<uintptr_t>(data) % kAlignment != 0 || offset % kAlignment != 0) return 0;
  int failure;
  return WriteOn(direct, data, length / kAlignment * kAlignment, offset, &failure);
}

struct Piece {
  uint64_t offset;
  const char* data;
  size_t length;
};

class WriteWorker : public Napi::AsyncWorker {
 public:
  explicit WriteWorker(const Napi::CallbackInfo& info)
      : Napi::AsyncWorker(info.Env()),
        deferred_(Napi::Promise::Deferred::New(info.Env())),
        pieces_owner_(Napi::Persistent(info[2].As<Napi::Array>())),
        checks_owner_(Napi::Persistent(info[4].As<Napi::Uint32Array>())),
        fd_(info[0].As<Napi::Number>().Int32Value()),
        check_bytes_(info[3].As<Napi::Number>().Uint32Value()),
        checks_(checks_owner_.Value().Data()),
        direct_(info[5].As<Napi::Boolean>().Value()) {
    const auto offsets = info[1].As<Napi::Array>();
    const auto pieces = info[2].As<Napi::Array>();
    for (uint32_t i = 0; i < pieces.Length(); i++) {
      const auto bytes = pieces.Get(i).As<Napi::Uint8Array>();
      pieces_.push_back({static_cast<uint64_t>(offsets.Get(i).As<Napi::Number>().DoubleValue()),
                         reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()});
    }
  }

  Napi::Promise Promise() { return deferred_.Promise(); }

 protected:
  void Execute() override {
    const int direct = direct_ ? OpenDirect(fd_) : -1;
    std::chrono::duration<double, std::micro> took{0};
    uint32_t* check = checks_;
    int failure = 0;
    for (const Piece& piece : pieces_) {
      for (size_t at = 0; at < piece.length; at += check_bytes_)
        *check++ = Crc32(piece.data + at, std::min<size_t>(check_bytes_, piece.length - at));
      const auto start = std::chrono::steady_clock::now();
      const size_t done = WriteDirectly(direct, piece.data, piece.length, piece.offset);
      WriteOn(fd_, piece.data + done, piece.length - done, piece.offset + done, &failure);
      took += std::chrono::steady_clock::now() - start;
      if (failure != 0) break;
    }
    if (direct >= 0) close(direct);
    result_ = failure != 0 ? -failure : took.count();
  }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), result_)); }

 private:
  Napi::Promise::Deferred deferred_;
  const Napi::Reference<Napi::Array> pieces_owner_;
  const Napi::Reference<Napi::Uint32Array> checks_owner_;
  const int fd_;
  const uint32_t check_bytes_;
  uint32_t* const checks_;
  const bool direct_;
  std::vector<Piece> pieces_;
  double result_ = 0;
};

class FollowingWorker : public Napi::AsyncWorker {
 public:
  explicit FollowingWorker(const Napi::CallbackInfo& info)
      : Napi::AsyncWorker(info.Env()),
        deferred_(Napi::Promise::Deferred::New(info.Env())),
        pieces_owner_(Napi::Persistent(info[2].As<Napi::Array>())),
        fd_(info[0].As<Napi::Number>().Int32Value()),
        offset_(info[1].As<Napi::Number>().Int64Value()) {
    const auto pieces = info[2].As<Napi::Array>();
    for (uint32_t i = 0; i < pieces.Length(); i++) {
      auto bytes = pieces.Get(i).As<Napi::Uint8Array>();
      if (bytes.ByteLength() > 0) pieces_.push_back({bytes.Data(), bytes.ByteLength()});
    }
  }

  Napi::Promise Promise() { return deferred_.Promise(); }

 protected:
  void Execute() override {
    const auto start = std::chrono::steady_clock::now();
    for (size_t next = 0; next < pieces_.size();) {
      const int count = static_cast<int>(std::min<size_t>(pieces_.size() - next, IOV_MAX));
      const ssize_t put = pwritev(fd_, &pieces_[next], count, static_cast<off_t>(offset_));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) {
        result_ = put == 0 ? -EIO : -errno;
        return;
      }
      offset_ += put;
      next = Skip(next, static_cast<size_t>(put));
    }
    result_ = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), result_)); }

 private:
  // The first piece with something left after `bytes` more of them are written.
  size_t Skip(size_t next, size_t bytes) {
    while (next < pieces_.size() && bytes >= pieces_[next].iov_len) bytes -= pieces_[next++].iov_len;
    if (bytes > 0) {
      pieces_[next].iov_base = static_cast<char*>(pieces_[next].iov_base) + bytes;
      pieces_[next].iov_len -= bytes;
    }
    return next;
  }

  Napi::Promise::Deferred deferred_;
  const Napi::Reference<Napi::Array> pieces_owner_;
  const int fd_;
  int64_t offset_;
  std::vector<iovec> pieces_;
  double result_ = 0;
};

}  // namespace

Napi::Value AlignedStart(const Napi::CallbackInfo& info) {
  const auto address = reinterpret_cast<uintptr_t>(info[0].As<Napi::Uint8Array>().Data());
  return Napi::Number::New(info.Env(), static_cast<double>((kAlignment - address % kAlignment) % kAlignment));
}

Napi::Value WriteBlocks(const Napi::CallbackInfo& info) {
  auto* worker = new WriteWorker(info);  // deletes itself when done
  Napi::Promise promise = worker->Promise();
  worker->Queue();
  return promise;
}

Napi::Value WriteFollowing(const Napi::CallbackInfo& info) {
  auto* worker = new FollowingWorker(info);  // deletes itself when done
  Napi::Promise promise = worker->Promise();
  worker->Queue();
  return promise;
}
