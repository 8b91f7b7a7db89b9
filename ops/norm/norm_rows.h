// What LayerNorm and RMSNorm share on the CPU: how a row of the residual stream is formed, and how its gradient ends.
#pragma once

#include <cstdint>

#include "ops/tensor/convert_row.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {

/// values = x + dropout(branch), rounded as it is stored in `residual`; without a branch (null) values = x. `row`
/// counts the rows of all samples, `tokens` a sample; `factors` has room for `width` numbers.
template <class T>
void add_branch(const T* x, const T* branch, const Dropout& dropout, int64_t row, int64_t tokens, int64_t width,
                T* residual, float* values, float* factors) {
  if (branch == nullptr) {
    widen(x, values, width);
    return;
  }
  if (dropout.active()) {
    dropout_factors(dropout, row / tokens, row % tokens * width, width, factors);
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      store(residual[c], static_cast<float>(x[c]) + static_cast<float>(branch[c]) * factors[c]);
    }
  } else {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      store(residual[c], static_cast<float>(x[c]) + static_cast<float>(branch[c]));
    }
  }
  // What was stored is what is normalised, rounding included: the backward pass sees no other.
  widen(residual, values, width);
}

/// Stores the gradient of a row of the residual stream, and that of its branch if there is dropout.
template <class T>
void store_gradients(const float* gradient, const Dropout& dropout, int64_t row, int64_t tokens, int64_t width,
                     T* d_residual, T* d_branch, float* factors) {
  narrow(gradient, d_residual, width);
  if (!dropout.active()) return;
  dropout_factors(dropout, row / tokens, row % tokens * width, width, factors);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) store(d_branch[c], gradient[c] * factors[c]);
}

}  // namespace tsugi::cpu
