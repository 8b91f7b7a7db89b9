// Scores by the device's products, a chunk at a time: what the comparisons of objective_operators.h have in common.
#pragma once

#include <string>

#include "ops/cross_entropy/row_losses_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/info_nce/score_chunks.h"

namespace tsugi::cuda {

/// Scores of a chunk: a quarter of a GiB in f32, so that its products keep a large device busy.
inline constexpr int64_t kScoresPerChunk = int64_t{1} << 26;

/// Scores of all `rows` against `columns`; body(first row, scores) turns them into slopes, of which d_rows, where
/// defined, receives the products with `columns`.
template <class F>
void compare_rows(const Context& context, const Tensor& rows, const Tensor& columns, const Tensor& d_rows, F&& body) {
  // Rows begin at 16 bytes, as products want it.
  if (columns.shape()[1] % 4 != 0) {
    refuse("a comparison of features whose width, " + std::to_string(columns.shape()[1]) + ", is no multiple of 4",
           "set a width that is, or compute.device: CPU");
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
