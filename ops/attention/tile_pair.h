// The matrix products between a tile of queries and a tile of keys, over what the queries see.
//
// Wide heads take oneDNN, over the whole pair. For narrow ones its call costs as much as the product, and half of a
// pair on the diagonal is seen by nobody: these take kernels of a few rows by two vectors, cut to what their rows see.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "ops/attention/attention_tiles.h"
#include "ops/matmul/lanes.h"
#include "ops/matmul/pack.h"

namespace tsugi::cpu {

/// Whether the products of heads this wide are formed by the kernels here. A function of the shape alone.
inline bool is_narrow(const AttentionShape& shape) {
  constexpr int64_t kWidest = 32;  // at 64 oneDNN's call is small beside its product
  return shape.head_dim <= kWidest && shape.head_dim % kLanes == 0;
}

/// The keys (or values) of a tile: its rows, and for narrow heads its columns, [head_dim, kKeyTile].
struct KeyRows {
  ConstMatrix rows;
  ConstMatrix columns;

  KeyRows from(int64_t row) const {
    return {{rows.data + row * rows.stride, rows.stride},
            {columns.data == nullptr ? nullptr : columns.data + row, columns.stride}};
  }
};

/// Floats of the columns of a tile.
inline int64_t column_floats(const AttentionShape& shape) { return is_narrow(shape) ? shape.head_dim * kKeyTile : 0; }

/// `columns` has room for column_floats(), `buffer` as for load().
template <class T>
KeyRows load_keys(const AttentionShape& shape, const HeadsView& view, int64_t batch, int64_t head, Range tokens,
                  float* buffer, float* columns) {
  KeyRows keys{load<T>(shape, view, batch, head, tokens, buffer), {}};
  if (is_narrow(shape)) {
    widen_transposed(keys.rows.data, keys.rows.stride, tokens.size(), shape.head_dim, columns, kKeyTile);
    keys.columns = {columns, kKeyTile};
  }
  return keys;
}

/// The least range of whole vectors that holds all of `seen`; {0, 0} if there is nothing.
inline Range whole_vectors(std::span<const Range> seen) {
  Range all{std::numeric_limits<int64_t>::max(), 0};
  for (const Range& one : seen) {
    if (one.size() > 0) all = {std::min(all.begin, one.begin & -kLanes), std::max(all.end, padded(one.end))};
  }
  return all.size() > 0 ? all : Range{};
}

/// Zeros where row `row` of the probabilities is read without being seen.
inline void clear_unseen(float* row, Range read, Range seen) {
  std::fill(row + read.begin, row + std::max(read.begin, seen.begin), 0.0f);
  std::fill(row + std::max(read.begin, seen.end), row + read.end, 0.0f);
}

class TilePair {
 public:
  TilePair(const AttentionShape& shape, int64_t batch, Range queries, Range keys)
      : narrow_(is_narrow(shape)), width_(shape.head_dim), queries_(queries.size()), keys_(keys.size()) {
    for (int64_t r = 0; r < queries_; ++r) seen_[at(r)] = seen_of(shape, batch, queries.begin + r, keys);
    if (!narrow_) return;
    for (int64_t r = 0; r < queries_; r += kRows) {
      const Range all = whole_vectors(rows(r, kRows));
      blocks_[at(r / kRows)] = {all.begin, std::min(all.end, keys_)};
    }
  }

  /// The keys of the pair that row r sees; {0, 0} if none.
  Range seen(int64_t r) const { return seen_[at(r)]; }
  /// Those of `count` rows from `first`, or of as many as there are.
  std::span<const Range> rows(int64_t first, int64_t count) const {
    return {seen_.data() + first, at(std::min(count, queries_ - first))};
  }
  /// The keys whose probabilities sums_over_keys() reads in row r; sums_over_queries() reads all. Both want zeros for
  /// those that the row does not see.
  Range read(int64_t r) const { return narrow_ ? blocks_[at(r / kRows)] : Range{0, keys_}; }

  /// c[queries, keys] = alpha · a[queries, head_dim] · bᵀ, at least where a row sees a key. The rows of c are
  /// padded(keys) apart or more.
  void scores(float alpha, ConstMatrix a, const KeyRows& b, Matrix c) const;
  /// Adds the shape's relative_bias of `head` to the scores that are seen; `queries` and `keys` are the pair's.
  void add_bias(const AttentionShape& shape, int64_t head, Range queries, Range keys, Matrix scores) const {
    if (!shape.relative_bias.defined()) return;
    for (int64_t r = 0; r < queries_; ++r) {
      const Range keys_of_row = seen(r);
      if (keys_of_row.size() == 0) continue;
      add_floats(bias_of(shape, head, queries.begin + r, keys.begin + keys_of_row.begin), keys_of_row.size(),
                 scores.data + r * scores.stride + keys_of_row.begin);
    }
  }
  /// c[queries, head_dim] = alpha · a[queries, keys] · b[keys, head_dim], + c if `accumulate`.
  void sums_over_keys(float alpha, ConstMatrix a, ConstMatrix b, bool accumulate, Matrix c) const;
  /// c[keys, head_dim] = alpha · aᵀ · b[queries, head_dim] where a is [queries, keys], + c if `accumulate`.
  void sums_over_queries(float alpha, ConstMatrix a, ConstMatrix b, bool accumulate, Matrix c) const;

 private:
  static constexpr int64_t kRows = 6;  // by two vectors: twelve sums in registers
  static size_t at(int64_t index) { return static_cast<size_t>(index); }
  Range block(int64_t index) const { return blocks_[at(index)]; }
  int64_t blocks() const { return tiles_of(queries_, kRows); }

  bool narrow_;
  int64_t width_, queries_, keys_;
  std::array<Range, kQueryTile> seen_;
  std::array<Range, (kQueryTile + kRows - 1) / kRows> blocks_;  // of narrow heads: what kRows queries see
};

}  // namespace tsugi::cpu
