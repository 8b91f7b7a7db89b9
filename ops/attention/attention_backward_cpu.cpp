#include <array>

#include "ops/attention/attention_backward.h"
#include "ops/attention/attention_internal.h"
#include "ops/attention/tile_pair.h"
#include "ops/base/vector_math.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {
namespace {

struct Layout : ScratchLayout {
  /// For parts of at most `heads` heads, `queries` queries each.
  Layout(const AttentionShape& shape, int64_t heads, int64_t queries) {
    const int64_t converted = shape.dtype == DType::kF32 ? 0 : shape.head_dim;
    q = add(kQueryTile * converted);
    k = add(kKeyTile * converted);
    v = add(kKeyTile * converted);
    k_columns = add(column_floats(shape));
    v_columns = add(column_floats(shape));
    d_out = add(kQueryTile * converted);
    dq = add(heads * queries * converted);
    dk = add(kKeyTile * converted);
    dv = add(kKeyTile * converted);
    delta = add(heads * queries);
    probabilities = add(kQueryTile * kKeyTile);
    d_scores = add(kQueryTile * kKeyTile);
    factors = add(kKeyTile);
  }
  int64_t q, k, v, k_columns, v_columns, d_out, dq, dk, dv, delta, probabilities, d_scores, factors;
};

/// Two rows at a time without dropout: their short loops are bound by latency.
void differentiate_rows(float* p, float* ds, float* next_p, float* next_ds, int64_t count, const float* shift,
                        const float* mean) {
  const float shift_a = shift[0], shift_b = shift[1];
  const float mean_a = mean[0], mean_b = mean[1];
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) {
    p[j] = fast_exp(p[j] - shift_a);
    ds[j] = p[j] * (ds[j] - mean_a);
    next_p[j] = fast_exp(next_p[j] - shift_b);
    next_ds[j] = next_p[j] * (next_ds[j] - mean_b);
  }
}

void differentiate_row(float* p, float* ds, int64_t count, float shift, float mean, const float* factors) {
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) {
    const float probability = fast_exp(p[j] - shift);
    ds[j] = probability * (factors[j] * ds[j] - mean);
    p[j] = probability * factors[j];
  }
}

/// On entry `probabilities` holds the scores and `d_scores` d_out·vᵀ; on return what their names say, up to the
/// scale of the scores, with zeros for keys that are not seen. `delta` and `log_sum_exp` begin at queries.begin.
void differentiate_softmax(const Backward& g, int64_t batch, int64_t head, Range queries, Range keys,
                           const TilePair& pair, const float* delta, const float* log_sum_exp, Matrix probabilities,
                           Matrix d_scores, float* factors) {
  // Whole vectors; what is computed beyond the seen keys is cleared in the end.
  const auto row_of = [](Matrix matrix, int64_t r, Range range) {
    return matrix.data + r * matrix.stride + range.begin;
  };
  int64_t r = 0;
  if (!g.dropout.active()) {
    for (; r + 2 <= queries.size(); r += 2) {
      const Range all = whole_vectors(pair.rows(r, 2));
      differentiate_rows(row_of(probabilities, r, all), row_of(d_scores, r, all), row_of(probabilities, r + 1, all),
                         row_of(d_scores, r + 1, all), all.size() & -kLanes, log_sum_exp + r, delta + r);
    }
  }
  for (; r < queries.size(); ++r) {
    const Range all = whole_vectors(pair.rows(r, 1));
    if (g.dropout.active()) {
      const int64_t query = queries.begin + r;
      const int64_t element = (head * g.shape.query_tokens + query) * g.shape.key_tokens + keys.begin + all.begin;
      dropout_factors(g.dropout, batch, element, all.size(), factors);
    } else {
      std::fill_n(factors, all.size(), 1.0f);
    }
    differentiate_row(row_of(probabilities, r, all), row_of(d_scores, r, all), all.size() & -kLanes, log_sum_exp[r],
                      delta[r], factors);
  }
  for (r = 0; r < queries.size(); ++r) {
    for (const Matrix& matrix : {probabilities, d_scores}) {
      clear_unseen(matrix.data + r * matrix.stride, {0, keys.size()}, pair.seen(r));
    }
  }
}

Matrix rows_from(Matrix all, int64_t row) { return {all.data + row * all.stride, all.stride}; }

void clear_rows(Matrix matrix, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) std::fill_n(matrix.data + r * matrix.stride, width, 0.0f);
}

/// The sums of the gradients of one query tile's biases.
float* bias_row(const Backward& g, int64_t batch, int64_t head, int64_t tile) {
  const int64_t tiles = tiles_of(g.shape.query_tokens, kQueryTile);
  return g.d_bias + ((batch * g.shape.heads + head) * tiles + tile) * bias_width(g.shape);
}

/// Row after row, so that whatever the schedule a tile's sums have one order: the key tiles ascend in both.
void add_to_bias(float* sums, Range queries, Range keys, Matrix d_scores) {
  for (int64_t r = 0; r < queries.size(); ++r) {
    add_floats(d_scores.data + r * d_scores.stride, keys.size(), sums + keys.begin - r + kQueryTile - 1);
  }
}

/// d_relative_bias from the sums of the tiles: samples in order, and of each its tiles.
void sum_biases(const Backward& g, ThreadPool& pool, float* d_relative_bias) {
  const AttentionShape& shape = g.shape;
  const int64_t columns = shape.key_tokens + shape.query_tokens - 1;
  pool.for_each(shape.heads, [&](int64_t h, int) {
    float* const sums = d_relative_bias + h * columns;
    std::fill_n(sums, columns, 0.0f);
    for (int64_t b = 0; b < shape.batch; ++b) {
      for (int64_t tile = 0; tile < tiles_of(shape.query_tokens, kQueryTile); ++tile) {
        // The tile's column 0 belongs to a key kQueryTile - 1 before its first query's key 0.
        const int64_t first = shape.query_tokens - tile * kQueryTile - kQueryTile;
        const int64_t skipped = std::max<int64_t>(-first, 0);
        add_floats(bias_row(g, b, h, tile) + skipped, bias_width(shape) - skipped, sums + first + skipped);
      }
    }
  });
}

template <class T>
void backward_part(const Backward& g, const Layout& layout, const Part& part, float* scratch) {
  const AttentionShape& shape = g.shape;
  const int64_t b = part.batch;
  const int64_t kv_head = part.heads.begin / shape.group();
  const int64_t width = shape.head_dim;
  const Range all_queries{query_range(shape, part.query_tiles.begin).begin,
                          query_range(shape, part.query_tiles.end - 1).end};
  const Range visible_to_all = visible_keys(shape, b, all_queries);
  // Of head h, its rows of a piece of scratch that has `size` floats a query.
  const auto rows_of = [&](int64_t piece, int64_t h, int64_t size) {
    return scratch + piece + (h - part.heads.begin) * all_queries.size() * size;
  };
  for (int64_t h = part.heads.begin; h < part.heads.end; ++h) {
    find_delta<T>(g, b, h, all_queries, rows_of(layout.delta, h, 1));
  }

  for (int64_t j = part.key_tiles.begin; j < part.key_tiles.end; ++j) {
    const Range tile{j * kKeyTile, std::min((j + 1) * kKeyTile, shape.key_tokens)};
    const Range all_keys = part.want_dkv ? tile : key_range(visible_to_all, j);
    if (all_keys.size() == 0) continue;
    const KeyRows all_k =
        load_keys<T>(shape, g.k, b, kv_head, all_keys, scratch + layout.k, scratch + layout.k_columns);
    const KeyRows all_v =
        load_keys<T>(shape, g.v, b, kv_head, all_keys, scratch + layout.v, scratch + layout.v_columns);
    const Matrix all_dk = accumulator<T>(shape, g.dk, b, kv_head, all_keys.begin, scratch + layout.dk);
    const Matrix all_dv = accumulator<T>(shape, g.dv, b, kv_head, all_keys.begin, scratch + layout.dv);
    bool has_dkv = false;

    for (int64_t h = part.heads.begin; h < part.heads.end; ++h) {
      const float* const log_sum_exp = g.log_sum_exp + (b * shape.heads + h) * shape.query_tokens;
      // With a causal mask the last queries see most keys of the tile, so going backwards the first sum into dk and dv
      // covers all rows.
      for (int64_t i = part.query_tiles.end - 1; i >= part.query_tiles.begin; --i) {
        const Range queries = query_range(shape, i);
        const Range visible = visible_keys(shape, b, queries);
        const Range keys = key_range(visible, j);
        if (keys.size() == 0) continue;
        const int64_t n = keys.size();
        const int64_t first_key = keys.begin - all_keys.begin;
        const KeyRows k = all_k.from(first_key);
        const TilePair pair(shape, b, queries, keys);
        const ConstMatrix q = load<T>(shape, g.q, b, h, queries, scratch + layout.q);
        const ConstMatrix d_out = load<T>(shape, g.d_out, b, h, queries, scratch + layout.d_out);
        const Matrix probabilities{scratch + layout.probabilities, padded(n)};
        const Matrix d_scores{scratch + layout.d_scores, padded(n)};
        pair.scores(shape.scale, q, k, probabilities);
        pair.add_bias(shape, h, queries, keys, probabilities);
        pair.scores(1.0f, d_out, all_v.from(first_key), d_scores);
        const int64_t first = queries.begin - all_queries.begin;
        differentiate_softmax(g, b, h, queries, keys, pair, rows_of(layout.delta, h, 1) + first,
                              log_sum_exp + queries.begin, probabilities, d_scores, scratch + layout.factors);
        if (part.want_dq) {
          const Matrix dq =
              accumulator<T>(shape, g.dq, b, h, queries.begin, rows_of(layout.dq, h, width) + first * width);
          pair.sums_over_keys(shape.scale, d_scores, k.rows, j != visible.begin / kKeyTile, dq);
          if (g.d_bias != nullptr) add_to_bias(bias_row(g, b, h, i), queries, keys, d_scores);
        }
        if (part.want_dkv) {
          if (!has_dkv && n < all_keys.size()) {
            clear_rows(all_dk, all_keys.size(), width);
            clear_rows(all_dv, all_keys.size(), width);
            has_dkv = true;
          }
          pair.sums_over_queries(1.0f, probabilities, d_out, has_dkv, rows_from(all_dv, first_key));
          pair.sums_over_queries(shape.scale, d_scores, q, has_dkv, rows_from(all_dk, first_key));
          has_dkv = true;
        }
      }
    }
    if (part.want_dkv) {
      if (!has_dkv) {
        clear_rows(all_dk, all_keys.size(), width);
        clear_rows(all_dv, all_keys.size(), width);
      }
      finish<T>(shape, all_dk, g.dk, b, kv_head, all_keys);
      finish<T>(shape, all_dv, g.dv, b, kv_head, all_keys);
    }
  }
  if (!part.want_dq) return;
  for (int64_t h = part.heads.begin; h < part.heads.end; ++h) {
    for (int64_t i = part.query_tiles.begin; i < part.query_tiles.end; ++i) {
      const Range queries = query_range(shape, i);
      const int64_t first = queries.begin - all_queries.begin;
      const Matrix dq = accumulator<T>(shape, g.dq, b, h, queries.begin, rows_of(layout.dq, h, width) + first * width);
      if (visible_keys(shape, b, queries).size() == 0) clear_rows(dq, queries.size(), width);
      finish<T>(shape, dq, g.dq, b, h, queries);
    }
  }
}

template <class T>
void run(const Backward& g, ThreadPool& pool) {
  for_each_part(g, pool, [&](const Part& part, int worker, int64_t heads, int64_t queries) {
    const Layout layout(g.shape, heads, queries);
    backward_part<T>(g, layout, part, static_cast<float*>(pool.scratch(worker, layout.bytes())));
  });
}

}  // namespace

void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv,
                        const Tensor& d_relative_bias, const Tensor& bias_workspace) {
  const Backward backward{shape,
                          q,
                          k,
                          v,
                          heads_of(shape, out),
                          heads_of(shape, d_out),
                          dq,
                          dk,
                          dv,
                          dropout,
                          log_sum_exp.data<float>(),
                          bias_workspace.defined() ? bias_workspace.data<float>() : nullptr};
  if (backward.d_bias != nullptr) std::fill_n(backward.d_bias, bias_workspace.elements(), 0.0f);
  if (is_native_bf16(shape, dropout)) {
    run_native(backward, context.pool());
  } else {
    dispatch_compute_type(shape.dtype, [&]<class T>(T) { run<T>(backward, context.pool()); });
  }
  if (backward.d_bias != nullptr) sum_biases(backward, context.pool(), d_relative_bias.data<float>());
}

}  // namespace tsugi::cpu
