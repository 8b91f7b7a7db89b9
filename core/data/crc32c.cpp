#include "core/data/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace tsugi {
namespace {

/// a·b modulo the Castagnoli polynomial over GF(2). Bits are reflected: bit 31 is x⁰, bit 0 is x³¹.
uint32_t multiply(uint32_t a, uint32_t b) {
  constexpr uint32_t kPolynomial = 0x82F63B78;
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ (b & 1 ? kPolynomial : 0);
  }
  return product;
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before) {
  // ISA-L takes an int as length and leaves the inversions at both ends to the caller.
  constexpr size_t kPiece = size_t{1} << 30;
  uint32_t crc = ~before;
  while (!bytes.empty()) {
    const size_t piece = std::min(bytes.size(), kPiece);
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    crc = crc32_iscsi(data, static_cast<int>(piece), crc);
    bytes = bytes.subspan(piece);
  }
  return ~crc;
}

uint32_t crc32c_combine(uint32_t first, uint32_t second, int64_t second_bytes) {
  // Appending n bytes multiplies the polynomial by x⁸ⁿ; the inversions at both ends cancel (as in zlib's
  // crc32_combine).
  uint32_t power = 1u << 23;  // x⁸
  for (auto n = static_cast<uint64_t>(second_bytes); n != 0; n >>= 1) {
    if (n & 1) first = multiply(power, first);
    power = multiply(power, power);
  }
  return first ^ second;
}

}  // namespace tsugi
