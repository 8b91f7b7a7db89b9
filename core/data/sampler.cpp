#include "core/data/sampler.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <string>

#include "ops/base/error.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

// Sites of the random streams, apart from the small numbers of a model's dropouts and tensors.
constexpr uint32_t kPermutationSite = 0x53480000;  // + round
constexpr uint32_t kShiftSite = 0x53490000;
constexpr int kRounds = 8;

}  // namespace

uint64_t permute_index(uint64_t index, uint64_t size, uint64_t seed, uint64_t stream) {
  CHECK_LT(index, size);
  // Two halves of equal width whose square is the smallest that covers the size: walking visits at most 4 on average.
  const int half = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = index >> half;
    uint64_t right = index & mask;
    for (uint32_t round = 0; round < kRounds; ++round) {
      const RandomStream random{seed, stream, kPermutationSite + round};
      const uint64_t mixed = left ^ (random.block(static_cast<uint32_t>(right))[0] & mask);
      left = right;
      right = mixed;
    }
    index = (left << half) | right;
  } while (index >= size);
  return index;
}

Sampler::Sampler(int64_t tokens, int64_t sequence, uint64_t seed) : sequence_(sequence), seed_(seed) {
  CHECK_GT(sequence, 0);
  if (tokens <= sequence) {
    throw Error(ExitCode::kData,
                std::to_string(tokens) + " tokens do not fill one sequence of " + std::to_string(sequence) +
                    " (with its last target " + std::to_string(sequence + 1) + ")",
                "use a shorter batch.sequence or more text");
  }
  // One window less than would fit leaves room for a shift of any phase.
  windows_ = std::max<int64_t>(1, tokens / sequence - 1);
  shifts_ = tokens - windows_ * sequence;
}

int64_t Sampler::offset(uint64_t index) const {
  const auto windows = static_cast<uint64_t>(windows_);
  const uint64_t epoch = index / windows;
  const RandomStream random{seed_, epoch, kShiftSite};
  // The upper half of a product maps 64 random bits to [0, shifts) without a bias that matters.
  const uint64_t bits = (uint64_t{random.word(0)} << 32) | random.word(1);
  __extension__ using Wide = unsigned __int128;
  const auto shift = static_cast<int64_t>((Wide{bits} * static_cast<uint64_t>(shifts_)) >> 64);
  const auto window = static_cast<int64_t>(permute_index(index % windows, windows, seed_, epoch));
  return shift + window * sequence_;
}

}  // namespace tsugi
