// A fast 64-bit hash of bytes, the same on every machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tsugi {

/// XXH64 (Collet, "xxHash fast digest algorithm", specification 0.1.1): of "abc" with seed 0 it is 0x44BC2CF5AD770999.
/// Not for adversaries: collisions can be made on purpose.
uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
inline uint64_t hash64_of(std::string_view text) { return hash64(std::as_bytes(std::span(text))); }

/// The same of pieces, one after another.
class Hash64 {
 public:
  explicit Hash64(uint64_t seed = 0);
  void update(std::span<const std::byte> bytes);
  uint64_t value() const;

 private:
  uint64_t seed_;
  std::array<uint64_t, 4> lanes_;
  std::array<std::byte, 32> rest_{};  ///< the last length_ % 32 bytes
  uint64_t length_ = 0;
};

}  // namespace tsugi
