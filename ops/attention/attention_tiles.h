// What the passes of CPU attention share: the grid of tiles, tiles as f32 matrices, their products, scratch memory.
//
// The grid is a function of the shape alone. Query tile i holds kQueryTile queries, key tile j kKeyTile keys; pair (i,
// j) is computed up to the last key that the last query of i sees, so that nothing lies wholly above the diagonal.
#pragma once

#include <dnnl.h>
#include <glog/logging.h>

#include <algorithm>
#include <type_traits>

#include "ops/attention/attention.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cpu {

inline constexpr int64_t kQueryTile = 64;
inline constexpr int64_t kKeyTile = 128;

constexpr int64_t tiles_of(int64_t tokens, int64_t tile) { return (tokens + tile - 1) / tile; }

/// Rows of scores are padded to whole vectors: left-over elements one by one would cost as much as the vectors.
inline constexpr int64_t kLanes = 8;
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

/// How many keys `query` sees.
inline int64_t visible_keys(const AttentionShape& shape, int64_t query) {
  return query + 1 + shape.key_tokens - shape.query_tokens;
}

/// The keys of a tile that the last of `queries` sees; empty if none.
inline Range key_range(const AttentionShape& shape, int64_t tile, Range queries) {
  const int64_t begin = tile * kKeyTile;
  const int64_t end = std::min((tile + 1) * kKeyTile, visible_keys(shape, queries.end - 1));
  return {begin, std::max(begin, end)};
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

/// c[m, n] = alpha · op(a)[m, k] · op(b)[k, n] + beta · c, on the calling thread (the pool sets OpenMP to one thread).
inline void multiply(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, float alpha, ConstMatrix a,
                     ConstMatrix b, float beta, Matrix c) {
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a, transpose_b, m, n, k, alpha, a.data, a.stride, b.data, b.stride, beta, c.data, c.stride);
  CHECK_EQ(status, dnnl_success);
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
