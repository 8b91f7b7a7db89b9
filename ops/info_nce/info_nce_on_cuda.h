// Scores by the device's products, a chunk at a time: what the comparisons of objective_operators.h have in common.
#pragma once

#include "ops/columns/columns.h"
#include "ops/cross_entropy/row_losses_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/info_nce/score_chunks.h"
#include "ops/reduce/reduce.h"

namespace tsugi::cuda {

/// Scores of a chunk: a quarter of a GiB in f32, so that its products keep a large device busy.
inline constexpr int64_t kScoresPerChunk = int64_t{1} << 26;

/// Rows begin at 16 bytes, as products want it.
inline constexpr int64_t kWidthStep = 4;

/// The matrix with columns of zeros behind its own, to a multiple of kWidthStep.
inline Tensor widened(const Context& context, const Tensor& matrix) {
  const int64_t width = (matrix.shape()[1] + kWidthStep - 1) / kWidthStep * kWidthStep;
  const Tensor wide = context.empty({matrix.shape()[0], width}, matrix.dtype());
  fill_zero(context, wide);
  add_to_columns(context, matrix, 0, 1.0f, wide);
  return wide;
}

/// Scores of all `rows` against `columns`; body(first row, scores) turns them into slopes, of which d_rows, where
/// defined, receives the products with `columns`. Features whose width is no multiple of kWidthStep are copied.
template <class F>
void compare_rows(const Context& context, const Tensor& rows, const Tensor& columns, const Tensor& d_rows, F&& body) {
  if (columns.shape()[1] % kWidthStep != 0) {
    const Tensor wide = widened(context, rows);
    const Tensor d_wide = d_rows.defined() ? context.empty(wide.shape(), DType::kF32) : Tensor();
    compare_rows(context, wide, widened(context, columns), d_wide, body);
    if (d_rows.defined()) take_columns(context, d_wide, 0, 1.0f, d_rows);
    return;
  }
  const auto chunk = [&](int64_t begin, const Tensor& scores) {
    if (!context.meta()) body(begin, scores);
    if (d_rows.defined()) matmul(context, scores, columns, matrix_rows(d_rows, begin, scores.shape()[0]));
  };
  for_each_score_chunk(context, rows, columns, chunk, kScoresPerChunk);
}

/// What each row of such a comparison leaves.
struct RowResults {
  Tensor losses;   ///< f64 [rows]
  Tensor nearest;  ///< i32 [rows]

  RowResults(const Context& context, int64_t rows)
      : losses(context.empty({rows}, DType::kF64)), nearest(context.empty({rows}, DType::kI32)) {}
};

}  // namespace tsugi::cuda
