// The second half of a sum over rows: partial sums of fixed chunks of rows, added in order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/base/thread_pool.h"

namespace tsugi::cpu {

/// out[c] += Σ over the chunks, in order, of partial[chunk·stride + c]; c in [0, columns).
inline void add_partial_sums(ThreadPool& pool, const float* partial, int64_t chunks, int64_t stride, int64_t columns,
                             float* out) {
  constexpr int64_t kColumns = 128;
  pool.for_each((columns + kColumns - 1) / kColumns, [&](int64_t index, int) {
    const int64_t begin = index * kColumns;
    const int64_t count = std::min(kColumns, columns - begin);
    float sums[kColumns];
    std::copy_n(partial + begin, count, sums);
    for (int64_t chunk = 1; chunk < chunks; ++chunk) {
      const float* next = partial + chunk * stride + begin;
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) sums[j] += next[j];
    }
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) out[begin + j] += sums[j];
  });
}

}  // namespace tsugi::cpu
