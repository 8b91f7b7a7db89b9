#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/attention/attention_forward.h"
#include "ops/attention/attention_internal.h"
#include "ops/attention/tile_pair.h"
#include "ops/base/vector_math.h"

namespace tsugi::cpu {
namespace {

void scale_row(float* values, int64_t count, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
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
    pair.add_bias(shape, h, queries, keys, scores);
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
  if (shape.query_tokens > 1 && is_native_bf16(shape, dropout)) {
    run_native(forward, context.pool());
  } else {
    dispatch_compute_type(shape.dtype, [&]<class T>(T) { run<T>(forward, context.pool()); });
  }
}

}  // namespace tsugi::cpu
