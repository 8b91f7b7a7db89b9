#include <array>

#include "ops/attention/attention_internal.h"
#include "ops/attention/attention_tiles.h"
#include "ops/base/vector_math.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {
namespace {

struct Backward {
  AttentionShape shape;
  HeadsView q, k, v, out, d_out, dq, dk, dv;
  Dropout dropout;
  const float* log_sum_exp;
};

/// The part of one head's gradients that a task forms: the rows of dq of some query tiles and those of dk and dv of
/// some key tiles, visiting every pair of tiles between them.
struct Part {
  int64_t batch = 0;
  int64_t head = 0;
  Range query_tiles;
  Range key_tiles;
  bool want_dq = true;
  bool want_dkv = true;
};

struct Layout : ScratchLayout {
  /// For parts of at most `query_tokens` queries.
  Layout(const AttentionShape& shape, int64_t query_tokens) {
    const int64_t converted = shape.dtype == DType::kF32 ? 0 : shape.head_dim;
    q = add(kQueryTile * converted);
    k = add(kKeyTile * converted);
    v = add(kKeyTile * converted);
    d_out = add(kQueryTile * converted);
    dq = add(query_tokens * converted);
    dk = add(kKeyTile * converted);
    dv = add(kKeyTile * converted);
    delta = add(query_tokens);
    probabilities = add(kQueryTile * kKeyTile);
    d_scores = add(kQueryTile * kKeyTile);
    factors = add(kKeyTile);
  }
  int64_t q, k, v, d_out, dq, dk, dv, delta, probabilities, d_scores, factors;
};

/// delta[r] = Σ_d out·d_out of query `queries.begin` + r: the mean of the probabilities' gradients under the softmax.
template <class T>
void find_delta(const Backward& g, const Part& part, Range queries, float* delta) {
  for (int64_t query = queries.begin; query < queries.end; ++query) {
    const T* const out = head_pointer<const T>(g.out, part.batch, part.head, query);
    const T* const d_out = head_pointer<const T>(g.d_out, part.batch, part.head, query);
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < g.shape.head_dim; ++d) sum += static_cast<float>(out[d]) * static_cast<float>(d_out[d]);
    delta[query - queries.begin] = sum;
  }
}

/// On entry `probabilities` holds the scores and `d_scores` d_out·vᵀ; on return what their names say, up to the
/// scale of the scores, with zeros above the diagonal. `delta` and `log_sum_exp` begin at queries.begin.
void differentiate_softmax(const Backward& g, const Part& part, Range queries, Range keys, const float* delta,
                           const float* log_sum_exp, Matrix probabilities, Matrix d_scores, float* factors) {
  for (int64_t r = 0; r < queries.size(); ++r) {
    const int64_t query = queries.begin + r;
    const int64_t visible = std::clamp<int64_t>(visible_keys(g.shape, query) - keys.begin, 0, keys.size());
    float* const p = probabilities.data + r * probabilities.stride;
    float* const ds = d_scores.data + r * d_scores.stride;
    const int64_t count = padded(visible);  // what is computed beyond the visible keys is cleared below
    const float shift = log_sum_exp[r];
    const float mean = delta[r];
    if (g.dropout.active()) {
      const int64_t element = (part.head * g.shape.query_tokens + query) * g.shape.key_tokens + keys.begin;
      dropout_factors(g.dropout, part.batch, element, count, factors);
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const float probability = fast_exp(p[j] - shift);
        ds[j] = probability * (factors[j] * ds[j] - mean);
        p[j] = probability * factors[j];
      }
    } else {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        p[j] = fast_exp(p[j] - shift);
        ds[j] = p[j] * (ds[j] - mean);
      }
    }
    std::fill(p + visible, p + keys.size(), 0.0f);
    std::fill(ds + visible, ds + keys.size(), 0.0f);
  }
}

template <class T>
void backward_part(const Backward& g, const Layout& layout, const Part& part, float* scratch) {
  const AttentionShape& shape = g.shape;
  const int64_t b = part.batch;
  const int64_t h = part.head;
  const int64_t width = shape.head_dim;
  const Range all_queries{query_range(shape, part.query_tiles.begin).begin,
                          query_range(shape, part.query_tiles.end - 1).end};
  find_delta<T>(g, part, all_queries, scratch + layout.delta);
  const float* const log_sum_exp = g.log_sum_exp + (b * shape.heads + h) * shape.query_tokens;
  float* const dq_buffer = scratch + layout.dq;

  for (int64_t j = part.key_tiles.begin; j < part.key_tiles.end; ++j) {
    // The last queries see most keys of the tile, so going backwards the first sum into dk and dv covers all rows.
    const Range all_keys = key_range(shape, j, all_queries);
    if (all_keys.size() == 0) break;
    const ConstMatrix k = load<T>(shape, g.k, b, h, all_keys, scratch + layout.k);
    const ConstMatrix v = load<T>(shape, g.v, b, h, all_keys, scratch + layout.v);
    const Matrix dk = accumulator<T>(shape, g.dk, b, h, all_keys.begin, scratch + layout.dk);
    const Matrix dv = accumulator<T>(shape, g.dv, b, h, all_keys.begin, scratch + layout.dv);

    for (int64_t i = part.query_tiles.end - 1; i >= part.query_tiles.begin; --i) {
      const Range queries = query_range(shape, i);
      const Range keys = key_range(shape, j, queries);
      if (keys.size() == 0) break;
      const int64_t m = queries.size();
      const int64_t n = keys.size();
      const ConstMatrix q = load<T>(shape, g.q, b, h, queries, scratch + layout.q);
      const ConstMatrix d_out = load<T>(shape, g.d_out, b, h, queries, scratch + layout.d_out);
      const Matrix probabilities{scratch + layout.probabilities, padded(n)};
      const Matrix d_scores{scratch + layout.d_scores, padded(n)};
      multiply('N', 'T', m, n, width, shape.scale, q, k, 0.0f, probabilities);
      multiply('N', 'T', m, n, width, 1.0f, d_out, v, 0.0f, d_scores);
      const int64_t first = queries.begin - all_queries.begin;
      differentiate_softmax(g, part, queries, keys, scratch + layout.delta + first, log_sum_exp + queries.begin,
                            probabilities, d_scores, scratch + layout.factors);
      if (part.want_dq) {
        const Matrix dq = accumulator<T>(shape, g.dq, b, h, queries.begin, dq_buffer + first * width);
        multiply('N', 'N', m, width, n, shape.scale, d_scores, k, j == 0 ? 0.0f : 1.0f, dq);
      }
      if (part.want_dkv) {
        const float keep = i == part.query_tiles.end - 1 ? 0.0f : 1.0f;
        multiply('T', 'N', n, width, m, 1.0f, probabilities, d_out, keep, dv);
        multiply('T', 'N', n, width, m, shape.scale, d_scores, q, keep, dk);
      }
    }
    if (part.want_dkv) {
      finish<T>(shape, dk, g.dk, b, h, all_keys);
      finish<T>(shape, dv, g.dv, b, h, all_keys);
    }
  }
  if (part.want_dq) finish<T>(shape, {dq_buffer, width}, g.dq, b, h, all_queries);
}

/// The parts of a schedule: all of a head at once (5 products a pair of tiles), or first dq (3) by query tiles, then
/// dk and dv (4) by key tiles. Every sum has the same terms in the same order both ways, hence the same bits, so the
/// number of threads may decide.
bool whole_heads_are_faster(int64_t heads, int64_t query_tiles, int64_t key_tiles, int64_t threads) {
  const auto time = [=](int64_t tiles, double products) {
    return products * static_cast<double>(tiles_of(heads * tiles, threads)) / static_cast<double>(tiles);
  };
  return time(1, 5.0) <= time(query_tiles, 3.0) + time(key_tiles, 4.0);
}

template <class T>
void run(const Backward& g, ThreadPool& pool) {
  const int64_t heads = g.shape.batch * g.shape.heads;
  const Range query_tiles{0, tiles_of(g.shape.query_tokens, kQueryTile)};
  const Range key_tiles{0, tiles_of(g.shape.key_tokens, kKeyTile)};
  // `parts` tasks a head; part_of(part, index) narrows the whole head down to one of them.
  const auto for_each_part = [&](int64_t parts, int64_t part_queries, auto&& narrow) {
    const Layout layout(g.shape, part_queries);
    pool.for_each(heads * parts, [&](int64_t index, int worker) {
      const int64_t head = index / parts;
      Part part{head / g.shape.heads, head % g.shape.heads, query_tiles, key_tiles};
      narrow(part, index % parts);
      backward_part<T>(g, layout, part, static_cast<float*>(pool.scratch(worker, layout.bytes())));
    });
  };
  if (whole_heads_are_faster(heads, query_tiles.size(), key_tiles.size(), pool.threads())) {
    for_each_part(1, g.shape.query_tokens, [](Part&, int64_t) {});
    return;
  }
  for_each_part(query_tiles.size(), kQueryTile, [&](Part& part, int64_t index) {
    const int64_t tile = query_tiles.size() - 1 - index;  // the longest first
    part.query_tiles = {tile, tile + 1};
    part.want_dkv = false;
  });
  for_each_part(key_tiles.size(), g.shape.query_tokens, [&](Part& part, int64_t index) {
    part.key_tiles = {index, index + 1};
    part.want_dq = false;
  });
}

}  // namespace

void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv) {
  const Backward backward{shape, q,  k,  v,       heads_of(shape, out),     heads_of(shape, d_out),
                          dq,    dk, dv, dropout, log_sum_exp.data<float>()};
  dispatch_compute_type(shape.dtype, [&]<class T>(T) { run<T>(backward, context.pool()); });
}

}  // namespace tsugi::cpu
