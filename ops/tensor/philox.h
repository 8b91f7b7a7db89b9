// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
#pragma once

#include <array>
#include <cstdint>

namespace tsugi {

using Philox4 = std::array<uint32_t, 4>;

/// Ten rounds of Philox4x32: a bijection of the 128-bit counter for every 64-bit key.
constexpr Philox4 philox4x32(Philox4 counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// The stream of one place (`site`: a layer's dropout, a tensor's initialisation, the shuffle …) in one global sample.
/// Block i holds the random words 4i … 4i+3, a pure function of (seed, site, sample, i).
struct RandomStream {
  uint64_t seed = 0;
  uint64_t sample = 0;
  uint32_t site = 0;

  constexpr Philox4 block(uint32_t index) const {
    return philox4x32({index, site, static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)}, seed);
  }
  constexpr uint32_t word(uint64_t index) const { return block(static_cast<uint32_t>(index / 4))[index % 4]; }
};

/// Uniform in (0, 1): 23 random bits, never 0 or 1.
constexpr float uniform_open(uint32_t word) { return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f; }

}  // namespace tsugi
