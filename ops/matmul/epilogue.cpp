#include <glog/logging.h>

#include <type_traits>

#include "ops/base/vector_math.h"
#include "ops/matmul/matmul_internal.h"
#include "ops/matmul/tiling.h"
#include "ops/tensor/convert_row.h"

namespace tsugi::cpu {

template <class T, class Out>
float* Epilogue<T, Out>::in_place() const {
  if constexpr (std::is_same_v<Out, float>) {
    return pre_activation != nullptr ? pre_activation : out;
  } else {
    return nullptr;
  }
}

template <class T, class Out>
void Epilogue<T, Out>::finish(const float* sums, int64_t ld, int64_t row, int64_t column, int64_t rows,
                              int64_t columns) const {
  DCHECK_LE(columns, kMostTileColumns);
  float biases[kMostTileColumns];
  if (bias != nullptr) widen(bias + column, biases, columns);
  for (int64_t i = 0; i < rows; ++i) {
    const float* sum = sums + i * ld;
    Out* to = out + (row + i) * n + column;
    if (pre_activation != nullptr) {
      Out* pre = pre_activation + (row + i) * n + column;
      if (bias != nullptr) {
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) store(pre[j], sum[j] + biases[j]);
      } else if (static_cast<const void*>(sum) != pre) {
        narrow(sum, pre, columns);
      }
      // The GELU of what was stored, rounding included: that is what the backward pass differentiates.
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to[j], gelu_tanh(static_cast<float>(pre[j])));
    } else if (bias != nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to[j], sum[j] + biases[j]);
    } else if (accumulate) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to[j], static_cast<float>(to[j]) + sum[j]);
    } else if (static_cast<const void*>(sum) != to) {
      narrow(sum, to, columns);
    }
  }
}

template struct Epilogue<float, float>;
template struct Epilogue<bf16, float>;
template struct Epilogue<bf16, bf16>;

}  // namespace tsugi::cpu
