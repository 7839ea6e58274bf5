#pragma once

#include <cstddef>
#include <cstdint>

// CRC32 as in zlib and PNG (polynomial 0x04C11DB7, reflected), by the processor's own instructions where it has any.
uint32_t Crc32(const void* data, size_t length);
