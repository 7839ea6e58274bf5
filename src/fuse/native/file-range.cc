#include "file-range.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "crc32.h"

namespace {

// What direct reads want of offsets and addresses, on any disk.
constexpr size_t kAlignment = 4096;
// One huge page: the largest answer, and what is read around it for the checksums of its first and last piece.
constexpr size_t kBufferBytes = size_t{2} << 20;
// So much stays in the processor's cache from the copying to the checksum.
constexpr size_t kStepBytes = size_t{128} << 10;
// What is not in the page cache is read past it from here on: the kernel keeps the answer in its cache of our files anyhow, and
// should not keep it twice. Smaller reads come back for their neighbours.
constexpr size_t kDirectBytesMin = size_t{256} << 10;

struct Span {
  char* bytes;  // of the file from `start` on
  uint64_t start;
  uint64_t end;
};

char* Buffer() {
  struct Memory {
    char* bytes = static_cast<char*>(aligned_alloc(kBufferBytes, kBufferBytes));
    Memory() {
      if (bytes != nullptr) madvise(bytes, kBufferBytes, MADV_HUGEPAGE);
    }
    ~Memory() { free(bytes); }
  };
  thread_local const Memory memory;
  return memory.bytes;
}

// Reads on from `at`, and moves it, to the end or a failure, which is answered.
int ReadOn(int fd, const Span& span, uint64_t* at, int flags) {
  while (*at < span.end) {
    const struct iovec piece = {span.bytes + (*at - span.start), std::min<uint64_t>(span.end - *at, kStepBytes)};
    const ssize_t got = preadv2(fd, &piece, 1, static_cast<off_t>(*at), flags);
    if (got == 0) return ENODATA;
    if (got > 0) {
      *at += static_cast<uint64_t>(got);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

// The same past the page cache, in one piece. The rest of the buffer is large enough for the last block of the file.
int ReadOnDirectly(int fd, const Span& span, uint64_t* at) {
  char path[32];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  const int direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (direct < 0) return errno;
  const uint64_t from = *at / kAlignment * kAlignment;
  const size_t length = (static_cast<size_t>(span.end - from) + kAlignment - 1) / kAlignment * kAlignment;
  // Before the first byte there is room: the buffer begins where a block of the file does.
  const ssize_t got = pread(direct, span.bytes - (span.start - from), length, static_cast<off_t>(from));
  const int failure = got < 0 ? errno : 0;
  close(direct);
  if (failure == 0) *at = std::max(*at, std::min(span.end, from + static_cast<uint64_t>(got)));
  return failure;
}

int Fill(int fd, const Span& span, bool may_wait) {
  uint64_t at = span.start;
  const int failure = ReadOn(fd, span, &at, RWF_NOWAIT);
  if (failure == 0 || failure == ENODATA) return failure;
  if (!may_wait) return failure == EOPNOTSUPP ? EAGAIN : failure;
  // Whatever it cannot do, the ordinary way can or says why not.
  if (span.end - at >= kDirectBytesMin) ReadOnDirectly(fd, span, &at);
  return ReadOn(fd, span, &at, 0);
}

bool IsTrue(const FileRange& range, const Span& span) {
  size_t check = 0;
  for (uint64_t at = span.start; at < span.end; at += range.check_bytes) {
    const size_t length = static_cast<size_t>(std::min<uint64_t>(range.check_bytes, span.end - at));
    if (check == range.check_count) return false;
    if (Crc32(span.bytes + (at - span.start), length) != range.checks[check++]) return false;
  }
  return true;
}

}  // namespace

FileBytes ReadFileRange(const FileRange& range, bool may_wait) {
  const uint64_t last = range.offset + range.length;
  const uint64_t piece = range.check_bytes;
  Span span = {nullptr, range.offset, last};
  if (piece != 0) {
    span.start -= span.start % piece;
    span.end = std::min((last + piece - 1) / piece * piece, range.checked_end);
    if (span.end < last) return {nullptr, ENODATA};
  }
  if (span.end - span.start + 2 * kAlignment > kBufferBytes) return {nullptr, E2BIG};
  char* const buffer = Buffer();
  if (buffer == nullptr) return {nullptr, ENOMEM};
  span.bytes = buffer + span.start % kAlignment;
  const int failure = Fill(range.fd, span, may_wait);
  if (failure != 0) return {nullptr, failure};
  if (piece != 0 && !IsTrue(range, span)) return {nullptr, EBADMSG};
  return {span.bytes + (range.offset - span.start), 0};
}
