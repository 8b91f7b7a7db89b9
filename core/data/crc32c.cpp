#include "core/data/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace tsugi {

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

}  // namespace tsugi
