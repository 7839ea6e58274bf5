#include "crc32.h"

#include <array>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace {

constexpr uint32_t kPolynomial = 0xEDB88320;  // reflected

struct Tables {
  std::array<std::array<uint32_t, 256>, 8> of;
  constexpr Tables() : of() {
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
      of[0][byte] = crc;
    }
    for (size_t step = 1; step < of.size(); step++) {
      for (size_t byte = 0; byte < 256; byte++) {
        const uint32_t before = of[step - 1][byte];
        of[step][byte] = (before >> 8) ^ of[0][before & 0xFF];
      }
    }
  }
};
constexpr Tables kTables;

// Eight bytes at a time, on any processor. Here and below `crc` is without the inversion at both ends.
uint32_t ByTables(uint32_t crc, const uint8_t* data, size_t length) {
  const auto& of = kTables.of;
  for (; length >= 8; data += 8, length -= 8) {
    crc ^= data[0] | data[1] << 8 | data[2] << 16 | static_cast<uint32_t>(data[3]) << 24;
    crc = of[7][crc & 0xFF] ^ of[6][crc >> 8 & 0xFF] ^ of[5][crc >> 16 & 0xFF] ^ of[4][crc >> 24] ^ of[3][data[4]] ^
          of[2][data[5]] ^ of[1][data[6]] ^ of[0][data[7]];
  }
  for (; length > 0; data++, length--) crc = (crc >> 8) ^ of[0][(crc ^ *data) & 0xFF];
  return crc;
}

#if defined(__x86_64__)

#define FOLDING __attribute__((target("pclmul,sse4.1"), always_inline)) inline

FOLDING __m128i Load(const uint8_t* data) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(data)); }

// Moves the 128 bits of `sum` forward by the distance that `by` stands for, onto `next`.
FOLDING __m128i Fold(__m128i sum, __m128i by, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(sum, by, 0x00);
  const __m128i high = _mm_clmulepi64_si128(sum, by, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// By multiplication without carries: four sums of 16 bytes side by side, folded into one, which is reduced at the end (Barrett).
// The constants are powers of x modulo the polynomial, reflected. `length` is at least 64 and a multiple of 16.
__attribute__((target("pclmul,sse4.1"))) uint32_t ByFolding(uint32_t crc, const uint8_t* data, size_t length) {
  const __m128i by_64_bytes = _mm_set_epi64x(0x1C6E41596, 0x154442BD4);
  const __m128i by_16_bytes = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);
  const __m128i by_8_bytes = _mm_set_epi64x(0, 0x163CD6124);
  const __m128i barrett = _mm_set_epi64x(0x1F7011641, 0x1DB710641);
  const __m128i low_words = _mm_setr_epi32(-1, 0, -1, 0);

  __m128i sum = _mm_xor_si128(Load(data), _mm_cvtsi32_si128(static_cast<int>(crc)));
  __m128i second = Load(data + 16);
  __m128i third = Load(data + 32);
  __m128i fourth = Load(data + 48);
  for (data += 64, length -= 64; length >= 64; data += 64, length -= 64) {
    sum = Fold(sum, by_64_bytes, Load(data));
    second = Fold(second, by_64_bytes, Load(data + 16));
    third = Fold(third, by_64_bytes, Load(data + 32));
    fourth = Fold(fourth, by_64_bytes, Load(data + 48));
  }
  sum = Fold(sum, by_16_bytes, second);
  sum = Fold(sum, by_16_bytes, third);
  sum = Fold(sum, by_16_bytes, fourth);
  for (; length >= 16; data += 16, length -= 16) sum = Fold(sum, by_16_bytes, Load(data));

  sum = _mm_xor_si128(_mm_srli_si128(sum, 8), _mm_clmulepi64_si128(sum, by_16_bytes, 0x10));
  const __m128i upper = _mm_srli_si128(sum, 4);
  sum = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(sum, low_words), by_8_bytes, 0x00), upper);
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(sum, low_words), barrett, 0x10);
  quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low_words), barrett, 0x00);
  return static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(sum, quotient), 1));
}

bool CanFold() {
  static const bool can = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  return can;
}

uint32_t Update(uint32_t crc, const uint8_t* data, size_t length) {
  const size_t folded = length >= 64 && CanFold() ? length & ~size_t{15} : 0;
  if (folded > 0) crc = ByFolding(crc, data, folded);
  return ByTables(crc, data + folded, length - folded);
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) uint32_t ByInstruction(uint32_t crc, const uint8_t* data, size_t length) {
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    __builtin_memcpy(&word, data, sizeof(word));
    crc = __crc32d(crc, word);
  }
  for (; length > 0; data++, length--) crc = __crc32b(crc, *data);
  return crc;
}

uint32_t Update(uint32_t crc, const uint8_t* data, size_t length) {
  constexpr unsigned long kCrcInstructions = 1 << 7;  // HWCAP_CRC32
  static const bool has = (getauxval(AT_HWCAP) & kCrcInstructions) != 0;
  return has ? ByInstruction(crc, data, length) : ByTables(crc, data, length);
}

#else

uint32_t Update(uint32_t crc, const uint8_t* data, size_t length) { return ByTables(crc, data, length); }

#endif

}  // namespace

uint32_t Crc32(const void* data, size_t length) {
  return ~Update(~uint32_t{0}, static_cast<const uint8_t*>(data), length);
}
