// Scores of some rows at a time: what losses over pairs have in common.
#pragma once

#include <algorithm>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/matmul/matmul.h"

namespace tsugi {

/// Rows [begin, begin + count) of a matrix.
inline Tensor matrix_rows(const Tensor& matrix, int64_t begin, int64_t count) {
  return matrix.slice(begin * matrix.shape()[1], {count, matrix.shape()[1]});
}

/// Calls body(first, scores f32 [n, K]) for rows [first, first + n) of `a` [R, D], scores = rows·bᵀ with b [K, D],
/// until all rows had their turn. About `most` scores at a time.
template <class F>
void for_each_score_chunk(const Context& context, const Tensor& a, const Tensor& b, F&& body,
                          int64_t most = int64_t{1} << 24) {
  const int64_t rows = a.shape()[0];
  const int64_t chunk_rows = cross_entropy_chunk_rows(rows, b.shape()[0], most);
  const Tensor scores = context.empty({chunk_rows, b.shape()[0]}, DType::kF32);
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - begin);
    const Tensor chunk = matrix_rows(scores, 0, count);
    matmul(context, matrix_rows(a, begin, count), b, chunk, {.transpose_b = true});
    body(begin, chunk);
  }
}

/// Calls body(row, its scores) for all rows of `scores` on the threads of the pool.
template <class F>
void for_each_score_row(const Context& context, const Tensor& scores, F&& body) {
  // A piece covers about this many scores, so that short rows do not spend their time on taking pieces.
  constexpr int64_t kScoresPerPiece = 1 << 14;
  const int64_t rows = scores.shape()[0];
  const int64_t columns = scores.shape()[1];
  const int64_t piece_rows = std::max(int64_t{1}, kScoresPerPiece / columns);
  context.pool().for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int) {
    const int64_t end = std::min(rows, (piece + 1) * piece_rows);
    for (int64_t row = piece * piece_rows; row < end; ++row) body(row, scores.data<float>() + row * columns);
  });
}

}  // namespace tsugi
