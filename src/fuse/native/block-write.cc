#include "block-write.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>

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

// The same past the page cache, which spares a copy into fresh pages: on virtual machines these are most of what a write costs.
// What cannot be written like that is left to the ordinary way, which also knows the reason if that cannot either.
size_t WriteDirectly(int fd, const char* data, size_t length, uint64_t offset) {
  if (reinterpret_cast<uintptr_t>(data) % kAlignment != 0 || offset % kAlignment != 0) return 0;
  char path[32];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  const int direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (direct < 0) return 0;
  int failure;
  const size_t done = WriteOn(direct, data, length / kAlignment * kAlignment, offset, &failure);
  close(direct);
  return done;
}

class WriteWorker : public Napi::AsyncWorker {
 public:
  explicit WriteWorker(const Napi::CallbackInfo& info)
      : Napi::AsyncWorker(info.Env()),
        deferred_(Napi::Promise::Deferred::New(info.Env())),
        bytes_owner_(Napi::Persistent(info[2].As<Napi::Uint8Array>())),
        checks_owner_(Napi::Persistent(info[4].As<Napi::Uint32Array>())),
        fd_(info[0].As<Napi::Number>().Int32Value()),
        offset_(static_cast<uint64_t>(info[1].As<Napi::Number>().DoubleValue())),
        data_(reinterpret_cast<const char*>(bytes_owner_.Value().Data())),
        length_(bytes_owner_.Value().ByteLength()),
        check_bytes_(info[3].As<Napi::Number>().Uint32Value()),
        checks_(checks_owner_.Value().Data()),
        direct_(info[5].As<Napi::Boolean>().Value()) {}

  Napi::Promise Promise() { return deferred_.Promise(); }

 protected:
  void Execute() override {
    for (size_t at = 0, check = 0; at < length_; at += check_bytes_)
      checks_[check++] = Crc32(data_ + at, std::min<size_t>(check_bytes_, length_ - at));
    const auto start = std::chrono::steady_clock::now();
    const size_t done = direct_ ? WriteDirectly(fd_, data_, length_, offset_) : 0;
    int failure;
    WriteOn(fd_, data_ + done, length_ - done, offset_ + done, &failure);
    const auto took = std::chrono::steady_clock::now() - start;
    result_ = failure != 0 ? -failure : std::chrono::duration<double, std::micro>(took).count();
  }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), result_)); }

 private:
  Napi::Promise::Deferred deferred_;
  const Napi::Reference<Napi::Uint8Array> bytes_owner_;
  const Napi::Reference<Napi::Uint32Array> checks_owner_;
  const int fd_;
  const uint64_t offset_;
  const char* const data_;
  const size_t length_;
  const uint32_t check_bytes_;
  uint32_t* const checks_;
  const bool direct_;
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
