#include <algorithm>

#include "ops/dropout/dropout_internal.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {
namespace {

constexpr int64_t kDropoutPiece = 1024;  // elements whose factors stay in the first-level cache

}  // namespace

void apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out) {
  const int64_t rows = x.shape()[0];
  const int64_t width = x.elements() / rows;
  const int64_t pieces = (width + kDropoutPiece - 1) / kDropoutPiece;
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    context.pool().for_each(rows * pieces, [&](int64_t index, int) {
      const int64_t row = index / pieces;
      const int64_t begin = index % pieces * kDropoutPiece;
      const int64_t count = std::min(kDropoutPiece, width - begin);
      float factors[kDropoutPiece];
      dropout_factors(dropout, row, begin, count, factors);
      const T* const from = x.data<T>() + row * width + begin;
      T* const to = out.data<T>() + row * width + begin;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) store(to[i], factors[i] * static_cast<float>(from[i]));
    });
  });
}

}  // namespace tsugi::cpu
