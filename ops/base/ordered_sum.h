// The sum of many floats in an order that is not the compiler's choice.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tsugi {

/// Numbers of one block are summed in f32 while they are in the first-level cache, the blocks' sums in f64.
inline constexpr int64_t kSumBlock = 1024;

/// Of at most kSumBlock numbers: 16 lanes side by side, which are then added first to last.
inline double block_sum(const float* block, int64_t length) {
  constexpr int64_t kSumLanes = 16;
  float lanes[kSumLanes] = {};
  const int64_t whole = length / kSumLanes * kSumLanes;
  for (int64_t i = 0; i < whole; i += kSumLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kSumLanes; ++l) lanes[l] += block[i + l];
  }
  for (int64_t i = whole; i < length; ++i) lanes[i - whole] += block[i];
  double sum = 0.0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

inline double ordered_sum(const float* x, int64_t count) {
  double sum = 0.0;
  for (int64_t begin = 0; begin < count; begin += kSumBlock) {
    sum += block_sum(x + begin, std::min(kSumBlock, count - begin));
  }
  return sum;
}

}  // namespace tsugi
