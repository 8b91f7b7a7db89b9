#include "core/data/images/permutations.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <numeric>

namespace tsugi {
namespace {

/// A permutation as nibbles, so that a distance is a handful of instructions.
uint64_t as_nibbles(const std::vector<uint8_t>& permutation) {
  uint64_t nibbles = 0;
  for (const uint8_t value : permutation) nibbles = nibbles << 4 | value;
  return nibbles;
}

uint32_t hamming_distance(uint64_t a, uint64_t b) {
  uint64_t other = a ^ b;
  other |= other >> 1;
  other |= other >> 2;
  return static_cast<uint32_t>(std::popcount(other & 0x1111111111111111u));
}

struct FarPermutation {
  uint64_t nibbles = 0;
  uint32_t sum = 0;      ///< of the distances to all that are chosen
  uint32_t least = ~0u;  ///< of these distances; 0: it is chosen itself
};

}  // namespace

std::vector<std::vector<uint8_t>> distant_permutations(int64_t length, int64_t count) {
  CHECK(length >= 2 && length <= 9) << length;
  std::vector<uint8_t> next(static_cast<size_t>(length));
  std::iota(next.begin(), next.end(), uint8_t{0});
  std::vector<FarPermutation> candidates;
  do {
    candidates.push_back({as_nibbles(next)});
  } while (std::ranges::next_permutation(next).found);
  CHECK_LE(count, static_cast<int64_t>(candidates.size()));

  std::vector<std::vector<uint8_t>> chosen;
  const FarPermutation* best = candidates.data();
  while (static_cast<int64_t>(chosen.size()) < count) {
    const uint64_t newest = best->nibbles;
    std::vector<uint8_t> values;
    for (int64_t place = length; place-- > 0;) values.push_back(static_cast<uint8_t>(newest >> 4 * place & 0xF));
    chosen.push_back(std::move(values));
    best = nullptr;
    for (FarPermutation& one : candidates) {
      const uint32_t distance = hamming_distance(one.nibbles, newest);
      one.sum += distance;
      one.least = std::min(one.least, distance);
      if (one.least == 0) continue;
      if (best == nullptr || one.sum > best->sum || (one.sum == best->sum && one.least > best->least)) best = &one;
    }
  }
  return chosen;
}

}  // namespace tsugi
