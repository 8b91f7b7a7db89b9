// CRC32C (Castagnoli), the checksum of our files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tsugi {

/// CRC-32C as in RFC 3720, appendix B.4: of "123456789" it is 0xE3069283. To go on over further pieces, pass the result
/// of the pieces before as `before`: crc32c(b, crc32c(a)) = crc32c(ab).
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before = 0);

/// crc32c(ab) from crc32c(a), crc32c(b) and the length of b: pieces that different ranks wrote make one checksum.
uint32_t crc32c_combine(uint32_t first, uint32_t second, int64_t second_bytes);

}  // namespace tsugi
