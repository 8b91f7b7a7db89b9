// A fast 64-bit hash of bytes, the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tsugi {

/// XXH64 (Collet, "xxHash fast digest algorithm", specification 0.1.1): of "abc" with seed 0 it is 0x44BC2CF5AD770999.
/// Not for adversaries: collisions can be made on purpose.
uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);

}  // namespace tsugi
