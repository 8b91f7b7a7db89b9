// What the passes of CPU attention share: the grid of tiles, tiles as f32 matrices, scratch memory.
//
// The grid is a function of the shape alone. Query tile i holds kQueryTile queries, key tile j kKeyTile keys; pair (i,
// j) is computed for the keys that any query of i sees, so that nothing lies wholly above the diagonal, outside the
// window or in another document.
#pragma once

#include <algorithm>
#include <type_traits>

#include "ops/attention/attention.h"
#include "ops/matmul/lanes.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cpu {

inline constexpr int64_t kQueryTile = 64;
inline constexpr int64_t kKeyTile = 128;

constexpr int64_t tiles_of(int64_t tokens, int64_t tile) { return (tokens + tile - 1) / tile; }

/// Rows of scores are padded to whole vectors: left-over elements one by one would cost as much as the vectors.
constexpr int64_t padded(int64_t count) { return (count + kLanes - 1) & -kLanes; }

/// The part [begin, end) of an axis.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

inline Range query_range(const AttentionShape& shape, int64_t tile) {
  return {tile * kQueryTile, std::min((tile + 1) * kQueryTile, shape.query_tokens)};
}

/// The keys that `query` sees, before the intervals of the shape; may be empty (end ≤ begin).
inline Range banded_keys(const AttentionShape& shape, int64_t query) {
  const int64_t diagonal = query + shape.key_tokens - shape.query_tokens;
  Range keys{0, shape.causal ? diagonal + 1 : shape.key_tokens};
  if (shape.window > 0) {
    keys.begin = std::max<int64_t>(0, diagonal - shape.window + 1);
    keys.end = std::min(keys.end, diagonal + shape.window);
  }
  return keys;
}

/// The keys that `query` sees; may be empty (end ≤ begin).
inline Range visible_keys(const AttentionShape& shape, int64_t batch, int64_t query) {
  Range keys = banded_keys(shape, query);
  const int64_t row = batch * shape.query_tokens + query;
  if (shape.first_key.defined()) keys.begin = std::max<int64_t>(keys.begin, shape.first_key.data<int32_t>()[row]);
  if (shape.end_key.defined()) keys.end = std::min<int64_t>(keys.end, shape.end_key.data<int32_t>()[row]);
  return keys;
}

/// The least range that holds what each of `queries` sees; {0, 0} if they see nothing.
inline Range visible_keys(const AttentionShape& shape, int64_t batch, Range queries) {
  Range all{shape.key_tokens, 0};
  if (shape.first_key.defined() || shape.end_key.defined()) {
    for (int64_t query = queries.begin; query < queries.end; ++query) {
      const Range keys = visible_keys(shape, batch, query);
      if (keys.size() <= 0) continue;
      all = {std::min(all.begin, keys.begin), std::max(all.end, keys.end)};
    }
  } else {  // both ends grow with the query
    all = {banded_keys(shape, queries.begin).begin, banded_keys(shape, queries.end - 1).end};
  }
  return all.size() > 0 ? all : Range{};
}

/// Key tile `tile` within the visible keys of a query tile; empty if nothing. It begins at a whole vector.
inline Range key_range(Range visible, int64_t tile) {
  const int64_t begin = std::max(tile * kKeyTile, visible.begin & -kLanes);
  return {begin, std::max(begin, std::min((tile + 1) * kKeyTile, visible.end))};
}

/// The part of `keys` that `query` sees, from keys.begin; {0, 0} if nothing.
inline Range seen_of(const AttentionShape& shape, int64_t batch, int64_t query, Range keys) {
  const Range visible = visible_keys(shape, batch, query);
  const Range seen{std::max<int64_t>(visible.begin - keys.begin, 0), std::min(visible.end - keys.begin, keys.size())};
  return seen.size() > 0 ? seen : Range{};
}

/// The biases of head `head` and `query`, for keys from `key` on.
inline const float* bias_of(const AttentionShape& shape, int64_t head, int64_t query, int64_t key) {
  return shape.relative_bias.data<float>() + head * (shape.key_tokens + shape.query_tokens - 1) + key - query +
         shape.query_tokens - 1;
}

/// How many biases the queries of one tile meet: its column c is key c - (kQueryTile - 1) seen by the tile's first
/// query.
inline int64_t bias_width(const AttentionShape& shape) { return shape.key_tokens + kQueryTile - 1; }

/// values += more
inline void add_floats(const float* more, int64_t count, float* values) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] += more[i];
}

/// Rows of floats, `stride` apart.
struct ConstMatrix {
  const float* data = nullptr;
  int64_t stride = 0;
};
struct Matrix {
  float* data = nullptr;
  int64_t stride = 0;
  operator ConstMatrix() const { return {data, stride}; }
};

template <class T>
T* head_pointer(const HeadsView& view, int64_t batch, int64_t head, int64_t token) {
  return static_cast<T*>(view.data) + batch * view.batch_stride + token * view.token_stride + head * view.head_stride;
}

/// The view of a contiguous [batch, query_tokens, heads·head_dim] tensor.
inline HeadsView heads_of(const AttentionShape& shape, const Tensor& tensor) {
  const int64_t width = shape.heads * shape.head_dim;
  return {tensor.raw(), shape.query_tokens * width, width, shape.head_dim};
}

/// Tokens of one head as floats: f32 where it lies, bf16 converted into `buffer` ([tokens, head_dim]).
template <class T>
ConstMatrix load(const AttentionShape& shape, const HeadsView& view, int64_t batch, int64_t head, Range tokens,
                 float* buffer) {
  const T* source = head_pointer<const T>(view, batch, head, tokens.begin);
  if constexpr (std::is_same_v<T, float>) {
    return {source, view.token_stride};
  } else {
    for (int64_t t = 0; t < tokens.size(); ++t) {
      const T* row = source + t * view.token_stride;
      float* to = buffer + t * shape.head_dim;
#pragma omp simd
      for (int64_t d = 0; d < shape.head_dim; ++d) to[d] = static_cast<float>(row[d]);
    }
    return {buffer, shape.head_dim};
  }
}

/// Where floats for these tokens are to be summed: in place (f32), or in `buffer` until finish() rounds them.
template <class T>
Matrix accumulator(const AttentionShape& shape, const HeadsView& view, int64_t batch, int64_t head, int64_t token,
                   float* buffer) {
  if constexpr (std::is_same_v<T, float>) {
    return {head_pointer<float>(view, batch, head, token), view.token_stride};
  } else {
    return {buffer, shape.head_dim};
  }
}

/// Ends the sums of an accumulator.
template <class T>
void finish(const AttentionShape& shape, ConstMatrix sums, const HeadsView& view, int64_t batch, int64_t head,
            Range tokens) {
  if constexpr (!std::is_same_v<T, float>) {
    T* target = head_pointer<T>(view, batch, head, tokens.begin);
    for (int64_t t = 0; t < tokens.size(); ++t) {
      const float* row = sums.data + t * sums.stride;
      T* to = target + t * view.token_stride;
#pragma omp simd
      for (int64_t d = 0; d < shape.head_dim; ++d) store(to[d], row[d]);
    }
  }
}

/// Lays out a worker's scratch as cache-line aligned pieces.
class ScratchLayout {
 public:
  /// The offset of a new piece, in floats.
  int64_t add(int64_t floats) {
    const int64_t offset = floats_;
    floats_ += (floats + 15) / 16 * 16;
    return offset;
  }
  size_t bytes() const { return static_cast<size_t>(floats_) * sizeof(float); }

 private:
  int64_t floats_ = 0;
};

}  // namespace tsugi::cpu
