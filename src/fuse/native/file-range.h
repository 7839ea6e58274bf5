#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// Bytes of a local file that are sent as the answer to a read, and the checksums they must have.
struct FileRange {
  // A read of 1 MiB that begins and ends inside pieces of 4 KiB.
  static constexpr size_t kChecksMax = 257;

  int fd;
  uint64_t offset;
  size_t length;
  // CRC32 of each piece of so many bytes, from the one that holds `offset` on; 0: nothing is checked.
  size_t check_bytes;
  // The last piece ends here at the latest.
  uint64_t checked_end;
  size_t check_count;
  std::array<uint32_t, kChecksMax> checks;
};

// Where the bytes are, or an errno: EBADMSG when a checksum is wrong, ENODATA when the file ends before.
struct FileBytes {
  const char* data;
  int failure;
};

// Reads and checks in memory of the calling thread, where the bytes stay until its next call: as much memory as threads read.
// Without `may_wait` only what is in the page cache is read; EAGAIN when some of it is not.
FileBytes ReadFileRange(const FileRange& range, bool may_wait);
