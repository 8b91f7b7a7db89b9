#include <algorithm>

#include "ops/embedding/embedding_internal.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {
namespace {

constexpr int64_t kPositionsPerPiece = 32;
// Columns that one piece handles: the running sum and the dropout factors stay in the first-level cache.
constexpr int64_t kColumns = 512;

int64_t pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }

/// sum[0..width) += gradient of the embedding at position `at` (of B·T), columns [column, column + width).
template <class T>
void add_gradient(const Tensor& d_out, const Dropout& dropout, int64_t at, int64_t column, int64_t width, float* sum) {
  const int64_t length = d_out.shape()[1];
  const int64_t row_width = d_out.shape()[2];
  const T* gradient = d_out.data<T>() + at * row_width + column;
  if (dropout.active()) {
    float factors[kColumns];
    dropout_factors(dropout, at / length, at % length * row_width + column, width, factors);
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) sum[c] += factors[c] * static_cast<float>(gradient[c]);
  } else {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) sum[c] += static_cast<float>(gradient[c]);
  }
}

/// Counting sort: order[starts[v] .. starts[v + 1]) are the positions that hold token v, ascending.
void sort_positions(const int32_t* tokens, int64_t count, int64_t vocabulary, int32_t* starts, int32_t* order) {
  std::fill(starts, starts + vocabulary + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    DCHECK(tokens[i] >= 0 && tokens[i] < vocabulary) << "token " << tokens[i] << " at " << i;
    ++starts[tokens[i] + 1];
  }
  for (int64_t v = 0; v < vocabulary; ++v) starts[v + 1] += starts[v];
  // Going down, every token's end walks back to its start, so no second table of cursors is needed.
  for (int64_t i = count - 1; i >= 0; --i) order[--starts[tokens[i] + 1]] = static_cast<int32_t>(i);
  for (int64_t v = 0; v < vocabulary; ++v) starts[v] = starts[v + 1];
  starts[vocabulary] = static_cast<int32_t>(count);
}

/// row = dropout(token), for models without a table of positions; the first element is number `element` of its sample.
template <class T>
void embed_token(const T* token, const Dropout& dropout, int64_t sample, int64_t element, int64_t width, T* row) {
  if (!dropout.active()) {
    std::copy(token, token + width, row);
    return;
  }
  for (int64_t begin = 0; begin < width; begin += kColumns) {
    const int64_t end = std::min(begin + kColumns, width);
    float factors[kColumns];
    dropout_factors(dropout, sample, element + begin, end - begin, factors);
#pragma omp simd
    for (int64_t c = begin; c < end; ++c) store(row[c], factors[c - begin] * static_cast<float>(token[c]));
  }
}

}  // namespace

void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                       const Tensor& position_table, int64_t first_position, const Dropout& dropout,
                       const Tensor& out) {
  const int64_t length = tokens.shape()[1];
  const int64_t width = out.shape()[2];
  const int64_t count = tokens.elements();
  const int32_t* ids = tokens.data<int32_t>();
  dispatch_compute_type(out.dtype(), [&]<class T>(T) {
    const T* const positions = position_table.defined() ? position_table.data<T>() : nullptr;
    const auto embed = [&](int64_t i) {
      DCHECK(ids[i] >= 0 && ids[i] < token_table.shape()[0]) << "token " << ids[i] << " at " << i;
      const T* token = token_table.data<T>() + ids[i] * width;
      const T* position = positions == nullptr ? nullptr : positions + (first_position + i % length) * width;
      T* row = out.data<T>() + i * width;
      if (position == nullptr) {
        embed_token(token, dropout, i / length, i % length * width, width, row);
        return;
      }
      if (!dropout.active()) {
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          store(row[c], static_cast<float>(token[c]) + static_cast<float>(position[c]));
        }
        return;
      }
      for (int64_t begin = 0; begin < width; begin += kColumns) {
        const int64_t end = std::min(begin + kColumns, width);
        float factors[kColumns];
        dropout_factors(dropout, i / length, i % length * width + begin, end - begin, factors);
#pragma omp simd
        for (int64_t c = begin; c < end; ++c) {
          store(row[c], factors[c - begin] * (static_cast<float>(token[c]) + static_cast<float>(position[c])));
        }
      }
    };
    context.pool().for_each(pieces(count, kPositionsPerPiece), [&](int64_t piece, int) {
      const int64_t end = std::min((piece + 1) * kPositionsPerPiece, count);
      for (int64_t i = piece * kPositionsPerPiece; i < end; ++i) embed(i);
    });
  });
}

void embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout, const Tensor& d_out,
                        const Tensor& d_token_table, const Tensor& d_position_table, const Tensor& starts,
                        const Tensor& order) {
  const int64_t batch = tokens.shape()[0];
  const int64_t length = tokens.shape()[1];
  const int64_t width = d_out.shape()[2];
  const int64_t count = tokens.elements();
  const int32_t* ids = tokens.data<int32_t>();
  int32_t* const sorted = order.data<int32_t>();
  int32_t* const first = starts.data<int32_t>();
  sort_positions(ids, count, d_token_table.shape()[0], first, sorted);

  const int64_t strips = pieces(width, kColumns);
  const auto add_to = [](const float* sum, int64_t columns, float* row) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) row[c] += sum[c];
  };
  dispatch_compute_type(d_out.dtype(), [&]<class T>(T) {
    // Of the sorted positions, a piece takes the tokens that begin in its range, whole.
    context.pool().for_each(pieces(count, kPositionsPerPiece) * strips, [&](int64_t piece, int) {
      const int64_t column = piece % strips * kColumns;
      const int64_t columns = std::min(kColumns, width - column);
      const int64_t range_begin = piece / strips * kPositionsPerPiece;
      const int64_t range_end = std::min(range_begin + kPositionsPerPiece, count);
      int64_t at = range_begin;
      const int32_t leading = ids[sorted[at]];
      if (first[leading] < range_begin) at = first[leading + 1];
      while (at < range_end) {
        const int32_t token = ids[sorted[at]];
        float sum[kColumns] = {};
        for (; at < first[token + 1]; ++at) add_gradient<T>(d_out, dropout, sorted[at], column, columns, sum);
        add_to(sum, columns, d_token_table.data<float>() + token * width + column);
      }
    });
    if (!d_position_table.defined()) return;
    context.pool().for_each(length * strips, [&](int64_t piece, int) {
      const int64_t column = piece % strips * kColumns;
      const int64_t columns = std::min(kColumns, width - column);
      const int64_t position = piece / strips;
      float sum[kColumns] = {};
      for (int64_t b = 0; b < batch; ++b) {
        add_gradient<T>(d_out, dropout, b * length + position, column, columns, sum);
      }
      add_to(sum, columns, d_position_table.data<float>() + position * width + column);
    });
  });
}

}  // namespace tsugi::cpu
