#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/attention/attention_internal.h"
#include "ops/attention/tile_pair.h"
#include "ops/base/vector_math.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {
namespace {

struct Forward {
  AttentionShape shape;
  HeadsView q, k, v, out;
  Dropout dropout;
  float* log_sum_exp;  // null: not wanted
  float* workspace;    // null: not needed

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

/// For a query that sees no key.
template <class T>
void write_nothing(const Forward& f, int64_t b, int64_t h, int64_t query) {
  std::fill_n(head_pointer<T>(f.out, b, h, query), f.shape.head_dim, T(0.0f));
  if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, query)] = -std::numeric_limits<float>::infinity();
}

struct TileLayout : ScratchLayout {
  explicit TileLayout(const AttentionShape& shape) {
    const int64_t converted = shape.dtype == DType::kF32 ? 0 : shape.head_dim;
    q = add(kQueryTile * converted);
    k = add(kKeyTile * converted);
    k_columns = add(column_floats(shape));
    v = add(kKeyTile * converted);
    scores = add(kQueryTile * kKeyTile);
    sums = add(kQueryTile * shape.head_dim);
    largest = add(kQueryTile);
    total = add(kQueryTile);
    factors = add(kKeyTile);
  }
  int64_t q, k, k_columns, v, scores, sums, largest, total, factors;
};

/// Rows that are exponentiated together: what one waits for, its maximum and its sum, hides behind the others.
constexpr int64_t kRowGroup = 4;

/// The rows of a group, `stride` apart, in a range of `count` floats (whole vectors).
struct RowGroup {
  float* values;
  int64_t stride, count;

  float* row(int64_t r) const { return values + r * stride; }
};

void largest_of(const RowGroup& group, float* largest) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const float *a = group.row(0), *b = group.row(1), *c = group.row(2), *d = group.row(3);
  float in_a = kNothing, in_b = kNothing, in_c = kNothing, in_d = kNothing;
  const int64_t count = group.count & -kLanes;
#pragma omp simd reduction(max : in_a, in_b, in_c, in_d)
  for (int64_t i = 0; i < count; ++i) {
    in_a = a[i] > in_a ? a[i] : in_a;
    in_b = b[i] > in_b ? b[i] : in_b;
    in_c = c[i] > in_c ? c[i] : in_c;
    in_d = d[i] > in_d ? d[i] : in_d;
  }
  largest[0] = in_a;
  largest[1] = in_b;
  largest[2] = in_c;
  largest[3] = in_d;
}

/// values = exp(values - largest of their row); `sums` receives what the rows add up to.
void exponentiate(const RowGroup& group, const float* largest, float* sums) {
  float *a = group.row(0), *b = group.row(1), *c = group.row(2), *d = group.row(3);
  const float of_a = largest[0], of_b = largest[1], of_c = largest[2], of_d = largest[3];
  float sum_a = 0.0f, sum_b = 0.0f, sum_c = 0.0f, sum_d = 0.0f;
  const int64_t count = group.count & -kLanes;
#pragma omp simd reduction(+ : sum_a, sum_b, sum_c, sum_d)
  for (int64_t i = 0; i < count; ++i) {
    a[i] = fast_exp(a[i] - of_a);
    b[i] = fast_exp(b[i] - of_b);
    c[i] = fast_exp(c[i] - of_c);
    d[i] = fast_exp(d[i] - of_d);
    sum_a += a[i];
    sum_b += b[i];
    sum_c += c[i];
    sum_d += d[i];
  }
  sums[0] = sum_a;
  sums[1] = sum_b;
  sums[2] = sum_c;
  sums[3] = sum_d;
}

/// What is known of the rows of a tile so far.
struct TileState {
  float* largest;
  float* total;  ///< 0: nothing seen yet
  Matrix sums;
};

/// Turns the scores of rows first … first + kRowGroup - 1 into probabilities up to a factor of their row, and takes
/// them into `state`. Rows beyond the tile's last query exist in memory, and see nothing.
void take_rows(const TilePair& pair, int64_t first, int64_t width, Matrix scores, const TileState& state) {
  std::array<Range, kRowGroup> seen{};
  std::ranges::copy(pair.rows(first, kRowGroup), seen.begin());
  const Range all = whole_vectors(seen);
  if (all.size() == 0) return;
  const RowGroup group{scores.data + first * scores.stride + all.begin, scores.stride, all.size()};
  for (int64_t r = 0; r < kRowGroup; ++r) {
    const Range& keys = seen[static_cast<size_t>(r)];
    float* const row = group.row(r) - all.begin;
    std::fill(row + all.begin, row + std::max(all.begin, keys.begin), -std::numeric_limits<float>::infinity());
    std::fill(row + std::max(all.begin, keys.end), row + all.end, -std::numeric_limits<float>::infinity());
  }
  std::array<float, kRowGroup> largest, sums;
  largest_of(group, largest.data());
  for (int64_t r = 0; r < kRowGroup; ++r) {
    float& here = largest[static_cast<size_t>(r)];
    const int64_t row = first + r;
    if (seen[static_cast<size_t>(r)].size() == 0) {
      here = 0.0f;
    } else if (state.total[row] == 0.0f) {
      state.largest[row] = here;
    } else if (here > state.largest[row]) {
      const float correction = fast_exp(state.largest[row] - here);
      state.largest[row] = here;
      state.total[row] *= correction;
      scale_row(state.sums.data + row * state.sums.stride, width, correction);
    } else {
      here = state.largest[row];
    }
  }
  exponentiate(group, largest.data(), sums.data());
  for (int64_t r = 0; r < kRowGroup; ++r) {
    if (seen[static_cast<size_t>(r)].size() > 0) state.total[first + r] += sums[static_cast<size_t>(r)];
  }
}

template <class T>
void forward_tile(const Forward& f, const TileLayout& layout, int64_t b, int64_t h, int64_t tile, float* scratch) {
  const AttentionShape& shape = f.shape;
  const Range queries = query_range(shape, tile);
  const Range visible = visible_keys(shape, b, queries);
  const int64_t kv_head = h / shape.group();
  const ConstMatrix q = load<T>(shape, f.q, b, h, queries, scratch + layout.q);
  const TileState state{scratch + layout.largest, scratch + layout.total, {scratch + layout.sums, shape.head_dim}};
  std::fill_n(state.total, queries.size(), 0.0f);

  const int64_t first_tile = visible.begin / kKeyTile;
  for (int64_t j = first_tile; j * kKeyTile < visible.end; ++j) {
    const Range keys = key_range(visible, j);
    const Matrix scores{scratch + layout.scores, padded(keys.size())};
    const KeyRows k = load_keys<T>(shape, f.k, b, kv_head, keys, scratch + layout.k, scratch + layout.k_columns);
    const ConstMatrix v = load<T>(shape, f.v, b, kv_head, keys, scratch + layout.v);
    const TilePair pair(shape, b, queries, keys);
    pair.scores(shape.scale, q, k, scores);
    for (int64_t r = 0; r < queries.size(); r += kRowGroup) {
      take_rows(pair, r, shape.head_dim, scores, state);
    }
    for (int64_t r = 0; r < queries.size(); ++r) {
      float* const row = scores.data + r * scores.stride;
      const Range seen = pair.seen(r);
      if (f.dropout.active() && seen.size() > 0) {
        drop(f, b, f.element_of(h, queries.begin + r) + keys.begin + seen.begin, row + seen.begin, seen.size(),
             scratch + layout.factors);
      }
      clear_unseen(row, pair.read(r), seen);
    }
    pair.sums_over_keys(1.0f, scores, v, j != first_tile, state.sums);
  }

  for (int64_t r = 0; r < queries.size(); ++r) {
    const int64_t query = queries.begin + r;
    const float total = state.total[r];
    if (total == 0.0f) {
      write_nothing<T>(f, b, h, query);
      continue;
    }
    write_row<T>(f, b, h, query, state.sums.data + r * state.sums.stride, 1.0f / total);
    if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, query)] = state.largest[r] + std::log(total);
  }
}

struct SingleLayout : ScratchLayout {
  explicit SingleLayout(const AttentionShape& shape) {
    const int64_t keys = std::min(shape.key_tokens, kDecodeChunk);
    q = add(shape.head_dim);
    scores = add(padded(keys));
    sums = add(shape.head_dim);
    factors = add(keys);
  }
  int64_t q, scores, sums, factors;
};

/// What one chunk of keys makes of a query: values weighted by exp(score - largest), and the sum of these weights.
struct ChunkSums {
  float largest = -std::numeric_limits<float>::infinity();
  float total = 0.0f;
};

/// One query, as when decoding: a product of matrices would pack keys that are read only once.
template <class T>
ChunkSums forward_chunk(const Forward& f, const SingleLayout& layout, int64_t b, int64_t h, Range keys, float* scratch,
                        float* sums) {
  const int64_t count = keys.size();
  const int64_t width = f.shape.head_dim;
  const int64_t kv_head = h / f.shape.group();
  float* const q = scratch + layout.q;
  float* const scores = scratch + layout.scores;

  const T* const query = head_pointer<const T>(f.q, b, h, 0);
  for (int64_t d = 0; d < width; ++d) q[d] = static_cast<float>(query[d]) * f.shape.scale;
  for (int64_t j = 0; j < count; ++j) {
    const T* const key = head_pointer<const T>(f.k, b, kv_head, keys.begin + j);
    float score = 0.0f;
#pragma omp simd reduction(+ : score)
    for (int64_t d = 0; d < width; ++d) score += q[d] * static_cast<float>(key[d]);
    scores[j] = score;
  }
  std::fill(scores + count, scores + padded(count), -std::numeric_limits<float>::infinity());
  ChunkSums result;
  result.largest = largest_of(scores, padded(count));
  result.total = exponentiate(scores, padded(count), result.largest);
  if (f.dropout.active()) drop(f, b, f.element_of(h, 0) + keys.begin, scores, count, scratch + layout.factors);

  std::fill(sums, sums + width, 0.0f);
  for (int64_t j = 0; j < count; ++j) {
    const T* const value = head_pointer<const T>(f.v, b, kv_head, keys.begin + j);
    const float probability = scores[j];
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) sums[d] += probability * static_cast<float>(value[d]);
  }
  return result;
}

template <class T>
void write_single(const Forward& f, int64_t b, int64_t h, const ChunkSums& all, const float* sums) {
  write_row<T>(f, b, h, 0, sums, 1.0f / all.total);
  if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, 0)] = all.largest + std::log(all.total);
}

template <class T>
void run_single(const Forward& f, ThreadPool& pool) {
  const AttentionShape& shape = f.shape;
  const SingleLayout layout(shape);
  const int64_t heads = shape.batch * shape.heads;
  const int64_t chunks = tiles_of(shape.key_tokens, kDecodeChunk);
  const int64_t width = shape.head_dim;
  if (chunks == 1) {
    pool.for_each(heads, [&](int64_t head, int worker) {
      const int64_t b = head / shape.heads;
      const int64_t h = head % shape.heads;
      const Range visible = visible_keys(shape, b, Range{0, 1});
      if (visible.size() == 0) return write_nothing<T>(f, b, h, 0);
      float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes()));
      float* const sums = scratch + layout.sums;
      const ChunkSums all = forward_chunk<T>(f, layout, b, h, visible, scratch, sums);
      write_single<T>(f, b, h, all, sums);
    });
    return;
  }
  // A row of the workspace: largest, total, then the sums.
  const auto row_of = [&](int64_t head, int64_t chunk) { return f.workspace + (head * chunks + chunk) * (width + 2); };
  // Heads side by side over the same keys: their pages and, in a group, their cache lines are the same.
  pool.for_each(heads * chunks, [&](int64_t index, int worker) {
    const int64_t b = index / (shape.heads * chunks);
    const int64_t chunk = index / shape.heads % chunks;
    const int64_t head = b * shape.heads + index % shape.heads;
    const Range visible = visible_keys(shape, b, Range{0, 1});
    const Range keys{std::max(visible.begin, chunk * kDecodeChunk), std::min(visible.end, (chunk + 1) * kDecodeChunk)};
    float* const row = row_of(head, chunk);
    row[1] = 0.0f;
    if (keys.size() <= 0) return;
    float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes()));
    const ChunkSums part = forward_chunk<T>(f, layout, b, head % shape.heads, keys, scratch, row + 2);
    row[0] = part.largest;
    row[1] = part.total;
  });
  pool.for_each(heads, [&](int64_t head, int worker) {
    float* const sums = static_cast<float*>(pool.scratch(worker, layout.bytes())) + layout.sums;
    ChunkSums all;
    std::fill_n(sums, width, 0.0f);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      if (row_of(head, chunk)[1] != 0.0f) all.largest = std::max(all.largest, row_of(head, chunk)[0]);
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const float* const row = row_of(head, chunk);
      if (row[1] == 0.0f) continue;
      const float weight = fast_exp(row[0] - all.largest);
      all.total += weight * row[1];
#pragma omp simd
      for (int64_t d = 0; d < width; ++d) sums[d] += weight * row[2 + d];
    }
    const int64_t b = head / shape.heads;
    if (all.total == 0.0f) return write_nothing<T>(f, b, head % shape.heads, 0);
    write_single<T>(f, b, head % shape.heads, all, sums);
  });
}

template <class T>
void run(const Forward& f, ThreadPool& pool) {
  if (f.shape.query_tokens == 1) return run_single<T>(f, pool);
  const int64_t heads = f.shape.batch * f.shape.heads;
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
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                       const Tensor& workspace) {
  const Forward forward{shape,
                        q,
                        k,
                        v,
                        heads_of(shape, out),
                        dropout,
                        log_sum_exp.defined() ? log_sum_exp.data<float>() : nullptr,
                        workspace.defined() ? workspace.data<float>() : nullptr};
  dispatch_compute_type(shape.dtype, [&]<class T>(T) { run<T>(forward, context.pool()); });
}

}  // namespace tsugi::cpu
