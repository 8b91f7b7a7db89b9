// The factors of inverted dropout for a run of elements, many Philox blocks at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/tensor/context.h"

namespace tsugi {

/// factors[i] = 0 where element `begin` + i of row `row` is dropped, else keep_scale(); i in [0, count).
/// The same decisions as word `begin` + i of dropout.stream(row), whatever the run it is asked in.
inline void dropout_factors(const Dropout& dropout, int64_t row, int64_t begin, int64_t count, float* factors) {
  constexpr int kBlocks = 16;  // side by side: two AVX2 registers per counter word
  constexpr int64_t kGroup = 4 * kBlocks;
  const RandomStream stream = dropout.stream(row);
  const uint32_t threshold = dropout.threshold();
  const float scale = dropout.keep_scale();
  const int64_t end = begin + count;
  for (int64_t group = begin / 4 * 4; group < end; group += kGroup) {
    uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
    for (int l = 0; l < kBlocks; ++l) {
      c0[l] = static_cast<uint32_t>(group / 4 + l);
      c1[l] = stream.site;
      c2[l] = static_cast<uint32_t>(stream.sample);
      c3[l] = static_cast<uint32_t>(stream.sample >> 32);
    }
    uint32_t k0 = static_cast<uint32_t>(stream.seed);
    uint32_t k1 = static_cast<uint32_t>(stream.seed >> 32);
    for (int round = 0; round < 10; ++round) {  // philox4x32() with the lanes innermost
#pragma omp simd
      for (int l = 0; l < kBlocks; ++l) {
        const uint64_t p0 = uint64_t{0xD2511F53u} * c0[l];
        const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2[l];
        c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
        c1[l] = static_cast<uint32_t>(p1);
        c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
        c3[l] = static_cast<uint32_t>(p0);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    float group_factors[kGroup];
    for (int l = 0; l < kBlocks; ++l) {
      group_factors[4 * l + 0] = c0[l] < threshold ? 0.0f : scale;
      group_factors[4 * l + 1] = c1[l] < threshold ? 0.0f : scale;
      group_factors[4 * l + 2] = c2[l] < threshold ? 0.0f : scale;
      group_factors[4 * l + 3] = c3[l] < threshold ? 0.0f : scale;
    }
    const int64_t from = std::max(group, begin);
    const int64_t to = std::min(group + kGroup, end);
    std::copy(group_factors + (from - group), group_factors + (to - group), factors + (from - begin));
  }
}

}  // namespace tsugi
