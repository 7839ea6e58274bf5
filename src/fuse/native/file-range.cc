#include "file-range.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "crc32.h"

namespace {

// The largest answer, and what is read around it for the checksums of its first and last piece.
constexpr size_t kBufferBytes = (size_t{1} << 20) + (size_t{2} << 17);

char* Buffer() {
  thread_local const std::unique_ptr<char[]> buffer(new char[kBufferBytes]);
  return buffer.get();
}

int Fill(int fd, char* into, size_t length, uint64_t offset, bool may_wait) {
  for (size_t done = 0; done < length;) {
    const struct iovec piece = {into + done, length - done};
    const ssize_t got = preadv2(fd, &piece, 1, static_cast<off_t>(offset + done), may_wait ? 0 : RWF_NOWAIT);
    if (got == 0) return ENODATA;
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (errno == EOPNOTSUPP && !may_wait) {
      return EAGAIN;  // a file system that cannot say
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

bool IsTrue(const FileRange& range, const char* bytes, uint64_t start, uint64_t end) {
  size_t check = 0;
  for (uint64_t at = start; at < end; at += range.check_bytes) {
    const size_t length = static_cast<size_t>(std::min<uint64_t>(range.check_bytes, end - at));
    if (check == range.check_count || Crc32(bytes + (at - start), length) != range.checks[check++]) return false;
  }
  return true;
}

}  // namespace

FileBytes ReadFileRange(const FileRange& range, bool may_wait) {
  uint64_t start = range.offset;
  uint64_t end = range.offset + range.length;
  const uint64_t piece = range.check_bytes;
  if (piece != 0) {
    start -= start % piece;
    end = std::min((end + piece - 1) / piece * piece, range.checked_end);
    if (end < range.offset + range.length) return {nullptr, ENODATA};
  }
  if (end - start > kBufferBytes) return {nullptr, E2BIG};
  char* const bytes = Buffer();
  const int failure = Fill(range.fd, bytes, static_cast<size_t>(end - start), start, may_wait);
  if (failure != 0) return {nullptr, failure};
  if (piece != 0 && !IsTrue(range, bytes, start, end)) return {nullptr, EBADMSG};
  return {bytes + (range.offset - start), 0};
}
