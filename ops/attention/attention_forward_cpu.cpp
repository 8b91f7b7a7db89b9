#include <cmath>
#include <limits>

#include "ops/attention/attention_internal.h"
#include "ops/attention/attention_tiles.h"
#include "ops/base/vector_math.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {
namespace {

struct Forward {
  AttentionShape shape;
  HeadsView q, k, v, out;
  Dropout dropout;
  float* log_sum_exp;  // null: not wanted

  int64_t row_of(int64_t b, int64_t h, int64_t query) const {
    return (b * shape.heads + h) * shape.query_tokens + query;
  }
  /// The first dropout element of a query.
  int64_t element_of(int64_t h, int64_t query) const { return (h * shape.query_tokens + query) * shape.key_tokens; }
};

float largest_of(const float* values, int64_t count) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i)
    largest = values[i] > largest ? values[i] : largest;  // std::max: ten times slower
  return largest;
}

/// values = exp(values - largest); returns their sum. `count` is a multiple of kLanes.
float exponentiate(float* values, int64_t count, float largest) {
  float sum = 0.0f;
  count &= -kLanes;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    values[i] = fast_exp(values[i] - largest);
    sum += values[i];
  }
  return sum;
}

void scale_row(float* values, int64_t count, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

void drop(const Forward& f, int64_t b, int64_t element, float* values, int64_t count, float* factors) {
  dropout_factors(f.dropout, b, element, count, factors);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= factors[i];
}

template <class T>
void write_row(const Forward& f, int64_t b, int64_t h, int64_t query, const float* sums, float factor) {
  T* to = head_pointer<T>(f.out, b, h, query);
#pragma omp simd
  for (int64_t d = 0; d < f.shape.head_dim; ++d) store(to[d], sums[d] * factor);
}

struct TileLayout : ScratchLayout {
  explicit TileLayout(const AttentionShape& shape) {
    const int64_t converted = shape.dtype == DType::kF32 ? 0 : shape.head_dim;
    q = add(kQueryTile * converted);
    k = add(kKeyTile * converted);
    v = add(kKeyTile * converted);
    scores = add(kQueryTile * kKeyTile);
    sums = add(kQueryTile * shape.head_dim);
    largest = add(kQueryTile);
    total = add(kQueryTile);
    factors = add(kKeyTile);
  }
  int64_t q, k, v, scores, sums, largest, total, factors;
};

template <class T>
void forward_tile(const Forward& f, const TileLayout& layout, int64_t b, int64_t h, int64_t tile, float* scratch) {
  const AttentionShape& shape = f.shape;
  const Range queries = query_range(shape, tile);
  const ConstMatrix q = load<T>(shape, f.q, b, h, queries, scratch + layout.q);
  const Matrix sums{scratch + layout.sums, shape.head_dim};
  float* const largest = scratch + layout.largest;
  float* const total = scratch + layout.total;

  for (int64_t j = 0;; ++j) {
    const Range keys = key_range(shape, j, queries);
    if (keys.size() == 0) break;
    const Matrix scores{scratch + layout.scores, padded(keys.size())};
    const ConstMatrix k = load<T>(shape, f.k, b, h, keys, scratch + layout.k);
    const ConstMatrix v = load<T>(shape, f.v, b, h, keys, scratch + layout.v);
    multiply('N', 'T', queries.size(), keys.size(), shape.head_dim, shape.scale, q, k, 0.0f, scores);

    for (int64_t r = 0; r < queries.size(); ++r) {
      const int64_t query = queries.begin + r;
      float* const row = scores.data + r * scores.stride;
      const int64_t visible = std::clamp<int64_t>(visible_keys(shape, query) - keys.begin, 0, keys.size());
      if (visible > 0) {
        const int64_t count = padded(visible);
        std::fill(row + visible, row + count, -std::numeric_limits<float>::infinity());
        const float tile_largest = largest_of(row, count);
        if (j == 0) {
          largest[r] = tile_largest;
          total[r] = exponentiate(row, count, tile_largest);
        } else {
          if (tile_largest > largest[r]) {
            const float correction = fast_exp(largest[r] - tile_largest);
            largest[r] = tile_largest;
            total[r] *= correction;
            scale_row(sums.data + r * sums.stride, shape.head_dim, correction);
          }
          total[r] += exponentiate(row, count, largest[r]);
        }
        if (f.dropout.active()) {
          drop(f, b, f.element_of(h, query) + keys.begin, row, visible, scratch + layout.factors);
        }
      }
      std::fill(row + visible, row + keys.size(), 0.0f);
    }
    multiply('N', 'N', queries.size(), shape.head_dim, keys.size(), 1.0f, scores, v, j == 0 ? 0.0f : 1.0f, sums);
  }

  for (int64_t r = 0; r < queries.size(); ++r) {
    const int64_t query = queries.begin + r;
    write_row<T>(f, b, h, query, sums.data + r * sums.stride, 1.0f / total[r]);
    if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, query)] = largest[r] + std::log(total[r]);
  }
}

struct SingleLayout : ScratchLayout {
  explicit SingleLayout(const AttentionShape& shape) {
    q = add(shape.head_dim);
    scores = add(padded(shape.key_tokens));
    sums = add(shape.head_dim);
    factors = add(shape.key_tokens);
  }
  int64_t q, scores, sums, factors;
};

/// One query, as when decoding: a product of matrices would pack keys that are read only once.
template <class T>
void forward_single(const Forward& f, const SingleLayout& layout, int64_t b, int64_t h, float* scratch) {
  const int64_t keys = f.shape.key_tokens;
  const int64_t width = f.shape.head_dim;
  float* const q = scratch + layout.q;
  float* const scores = scratch + layout.scores;
  float* const sums = scratch + layout.sums;

  const T* const query = head_pointer<const T>(f.q, b, h, 0);
  for (int64_t d = 0; d < width; ++d) q[d] = static_cast<float>(query[d]) * f.shape.scale;
  for (int64_t j = 0; j < keys; ++j) {
    const T* const key = head_pointer<const T>(f.k, b, h, j);
    float score = 0.0f;
#pragma omp simd reduction(+ : score)
    for (int64_t d = 0; d < width; ++d) score += q[d] * static_cast<float>(key[d]);
    scores[j] = score;
  }
  std::fill(scores + keys, scores + padded(keys), -std::numeric_limits<float>::infinity());
  const float largest = largest_of(scores, padded(keys));
  const float total = exponentiate(scores, padded(keys), largest);
  if (f.dropout.active()) drop(f, b, f.element_of(h, 0), scores, keys, scratch + layout.factors);

  std::fill(sums, sums + width, 0.0f);
  for (int64_t j = 0; j < keys; ++j) {
    const T* const value = head_pointer<const T>(f.v, b, h, j);
    const float probability = scores[j];
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) sums[d] += probability * static_cast<float>(value[d]);
  }
  write_row<T>(f, b, h, 0, sums, 1.0f / total);
  if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, 0)] = largest + std::log(total);
}

template <class T>
void run(const Forward& f, ThreadPool& pool) {
  const int64_t heads = f.shape.batch * f.shape.heads;
  if (f.shape.query_tokens == 1) {
    const SingleLayout layout(f.shape);
    pool.for_each(heads, [&](int64_t index, int worker) {
      float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes()));
      forward_single<T>(f, layout, index / f.shape.heads, index % f.shape.heads, scratch);
    });
    return;
  }
  const TileLayout layout(f.shape);
  const int64_t tiles = tiles_of(f.shape.query_tokens, kQueryTile);
  pool.for_each(heads * tiles, [&](int64_t index, int worker) {
    float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes()));
    const int64_t head = index / tiles;
    const int64_t tile = tiles - 1 - index % tiles;  // the longest first
    forward_tile<T>(f, layout, head / f.shape.heads, head % f.shape.heads, tile, scratch);
  });
}

}  // namespace

void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp) {
  const Forward forward{
      shape, q, k, v, heads_of(shape, out), dropout, log_sum_exp.defined() ? log_sum_exp.data<float>() : nullptr};
  dispatch_compute_type(shape.dtype, [&]<class T>(T) { run<T>(forward, context.pool()); });
}

}  // namespace tsugi::cpu
