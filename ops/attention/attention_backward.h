// What the ways of attention backward share on the CPU: the call, and how its work is divided.
#pragma once

#include "ops/attention/attention_tiles.h"
#include "ops/base/thread_pool.h"

namespace tsugi::cpu {

/// A call of attention_backward().
struct Backward {
  AttentionShape shape;
  HeadsView q, k, v, out, d_out, dq, dk, dv;
  Dropout dropout;
  const float* log_sum_exp;
  float* d_bias;  ///< [batch·heads, query tiles, bias_width()]; null: not wanted
};

/// The part of a key head's and its query heads' gradients that a task forms: the rows of dq of some query heads and
/// tiles, and those of dk and dv of some key tiles, visiting every pair of tiles between them.
struct Part {
  int64_t batch = 0;
  Range heads;  // of one group
  Range query_tiles;
  Range key_tiles;
  bool want_dq = true;
  bool want_dkv = true;
};

/// delta[r] = Σ_d out·d_out of query `queries.begin` + r: the mean of the probabilities' gradients under the softmax.
template <class T>
void find_delta(const Backward& g, int64_t batch, int64_t head, Range queries, float* delta) {
  for (int64_t query = queries.begin; query < queries.end; ++query) {
    const T* const out = head_pointer<const T>(g.out, batch, head, query);
    const T* const d_out = head_pointer<const T>(g.d_out, batch, head, query);
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < g.shape.head_dim; ++d) sum += static_cast<float>(out[d]) * static_cast<float>(d_out[d]);
    delta[query - queries.begin] = sum;
  }
}

/// The parts of a schedule: all of a key head at once (5 products a pair of tiles and query head), or first dq (3) by
/// query tiles, then dk and dv (4) by key tiles. Every sum has the same terms in the same order both ways, hence the
/// same bits, so the number of threads may decide.
inline bool whole_heads_are_faster(int64_t kv_heads, int64_t group, int64_t query_tiles, int64_t key_tiles,
                                   int64_t threads) {
  const auto time = [=](int64_t tasks, double products) {
    return products * static_cast<double>(tiles_of(tasks, threads)) / static_cast<double>(tasks);
  };
  return time(kv_heads, 5.0) <= time(kv_heads * group * query_tiles, 3.0) + time(kv_heads * key_tiles, 4.0);
}

/// Calls form(part, worker, heads, queries) for every part; none has more than `heads` heads of `queries` queries.
template <class F>
void for_each_part(const Backward& g, ThreadPool& pool, F&& form) {
  const AttentionShape& shape = g.shape;
  const int64_t group = shape.group();
  const int64_t kv_heads = shape.batch * shape.kv_heads();
  const Range query_tiles{0, tiles_of(shape.query_tokens, kQueryTile)};
  const Range key_tiles{0, tiles_of(shape.key_tokens, kKeyTile)};
  // `parts` tasks a key head; narrow(part, index) cuts the whole key head down to one of them.
  const auto divide = [&](int64_t parts, int64_t part_heads, int64_t part_queries, auto&& narrow) {
    pool.for_each(kv_heads * parts, [&](int64_t index, int worker) {
      const int64_t kv_head = index / parts;
      const int64_t first_head = kv_head % shape.kv_heads() * group;
      Part part{kv_head / shape.kv_heads(), {first_head, first_head + group}, query_tiles, key_tiles};
      narrow(part, index % parts);
      form(part, worker, part_heads, part_queries);
    });
  };
  if (whole_heads_are_faster(kv_heads, group, query_tiles.size(), key_tiles.size(), pool.threads())) {
    divide(1, group, shape.query_tokens, [](Part&, int64_t) {});
    return;
  }
  divide(group * query_tiles.size(), 1, kQueryTile, [&](Part& part, int64_t index) {
    const int64_t head = part.heads.begin + index / query_tiles.size();
    const int64_t tile = query_tiles.size() - 1 - index % query_tiles.size();  // the longest first
    part.heads = {head, head + 1};
    part.query_tiles = {tile, tile + 1};
    part.want_dkv = false;
  });
  divide(key_tiles.size(), group, shape.query_tokens, [&](Part& part, int64_t index) {
    part.key_tiles = {index, index + 1};
    part.want_dq = false;
  });
}

/// With the dot products of bf16 (is_native_bf16()).
void run_native(const Backward& g, ThreadPool& pool);

}  // namespace tsugi::cpu
