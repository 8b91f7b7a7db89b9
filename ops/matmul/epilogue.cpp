#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul/epilogue.cpp"
#include <glog/logging.h>
#include <hwy/foreach_target.h>  // this file, for every kind of vectors
#include <hwy/highway.h>

#include <type_traits>

#include "ops/base/vector_math.h"
#include "ops/matmul/matmul_internal.h"
#include "ops/matmul/tiling.h"
#include "ops/tensor/convert_row.h"

HWY_BEFORE_NAMESPACE();
namespace tsugi::cpu {
namespace HWY_NAMESPACE {

template <class T, class Out>
void finish_tile(const Epilogue<T, Out>& epilogue, const Sums& tile) {
  const int64_t columns = tile.columns;
  float biases[kMostTileColumns];
  if (epilogue.bias != nullptr) widen(epilogue.bias + tile.column, biases, columns);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const float* sum = tile.data + i * tile.ld;
    const int64_t at = (tile.row + i) * epilogue.n + tile.column;
    Out* to = epilogue.out + at;
    if (epilogue.pre_activation != nullptr) {
      Out* pre = epilogue.pre_activation + at;
      if (epilogue.bias != nullptr) {
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) store(pre[j], sum[j] + biases[j]);
      } else if (static_cast<const void*>(sum) != pre) {
        narrow(sum, pre, columns);
      }
      // The GELU of what was stored, rounding included: that is what the backward pass differentiates.
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to[j], gelu_tanh(static_cast<float>(pre[j])));
    } else if (epilogue.bias != nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to[j], sum[j] + biases[j]);
    } else if (epilogue.accumulate) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) store(to[j], static_cast<float>(to[j]) + sum[j]);
    } else if (static_cast<const void*>(sum) != to) {
      narrow(sum, to, columns);
    }
  }
}

void finish_f32(const Epilogue<float, float>& epilogue, const Sums& tile) { finish_tile(epilogue, tile); }
void finish_widened(const Epilogue<bf16, float>& epilogue, const Sums& tile) { finish_tile(epilogue, tile); }
void finish_bf16(const Epilogue<bf16, bf16>& epilogue, const Sums& tile) { finish_tile(epilogue, tile); }

}  // namespace HWY_NAMESPACE
}  // namespace tsugi::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tsugi::cpu {
namespace {

HWY_EXPORT(finish_f32);
HWY_EXPORT(finish_widened);
HWY_EXPORT(finish_bf16);

}  // namespace

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
  const Sums tile{sums, ld, row, column, rows, columns};
  if constexpr (std::is_same_v<T, float>) {
    HWY_DYNAMIC_DISPATCH(finish_f32)(*this, tile);
  } else if constexpr (std::is_same_v<Out, float>) {
    HWY_DYNAMIC_DISPATCH(finish_widened)(*this, tile);
  } else {
    HWY_DYNAMIC_DISPATCH(finish_bf16)(*this, tile);
  }
}

template struct Epilogue<float, float>;
template struct Epilogue<bf16, float>;
template struct Epilogue<bf16, bf16>;

}  // namespace tsugi::cpu
#endif
