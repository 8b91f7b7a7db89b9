// What the backward passes of attention share.
#pragma once

#include "ops/attention/attention_ranges.cuh"
#include "ops/cuda/dropout_key.h"

namespace tsugi::cuda {

/// What the kernels of a backward pass read and write.
struct AttentionBackward {
  DeviceAttentionShape shape;
  DeviceHeads q, k, v, dq, dk, dv;
  DropoutKey dropout;
  const bf16* out;
  const bf16* d_out;
  const float* log_sum_exp;
  float* delta;       // [batch, heads, query_tokens]: Σ over the head of d_out·out
  TileRange* ranges;  // [batch, tiles of queries]
  int query_tiles;
  float* bias_sums = nullptr;  // [batch, heads, tiles of kBiasQueries, bias_width]; null: not asked for
  int bias_width = 0;

  TSUGI_DEVICE int64_t statistic(int batch, int head, int query) const {
    return (static_cast<int64_t>(batch) * shape.heads + head) * shape.query_tokens + query;
  }
  TSUGI_DEVICE float* bias_sums_of(int batch, int head, int query0) const {
    const int tiles = (shape.query_tokens + 63) / 64;
    const int64_t row = (static_cast<int64_t>(batch) * shape.heads + head) * tiles + query0 / 64;
    return bias_sums + row * bias_width;
  }
  /// d_out is contiguous, like out.
  TSUGI_DEVICE const bf16* d_out_of(int batch, int query, int head) const {
    const int64_t row = static_cast<int64_t>(batch) * shape.query_tokens + query;
    return d_out + (row * shape.heads + head) * shape.head_dim;
  }
  TSUGI_DEVICE int64_t d_out_stride() const { return static_cast<int64_t>(shape.heads) * shape.head_dim; }
};

/// The probability, and the derivative of the score before scaling; dropout acts between.
struct Element {
  float dropped;  ///< probability · factor
  float d_score;
};
TSUGI_DEVICE Element derive(float score, bool visible, float scale_log2, float log2_sum, float d_dropped, float delta,
                            float factor) {
  const float probability = visible ? dev::exp2(dev::fma(score, scale_log2, -log2_sum)) : 0.0f;
  return {probability * factor, probability * (d_dropped * factor - delta)};
}

/// What a pass must know of a query.
struct QueryStatistics {
  float log2_sum;  ///< log_sum_exp in base 2
  float delta;
  KeyRange keys;
};
TSUGI_DEVICE QueryStatistics statistics_of(const AttentionBackward& p, int batch, int head, int query) {
  // Beyond the last query: exp2(score - inf) = 0.
  if (query >= p.shape.query_tokens) return {__builtin_huge_valf(), 0.0f, {0x7FFFFFFF, 0}};
  const int64_t at = p.statistic(batch, head, query);
  return {dev::load(p.log_sum_exp + at) * dev::kLog2E, dev::load(p.delta + at), keys_of(p.shape, batch, query)};
}

/// Queries of a tile whose sums of d_relative_bias are kept together. Column c of them is the distance of c - 63
/// between a key and the tile's first query.
inline constexpr int kBiasQueries = 64;

/// Queries of a tile that differentiate_keys_hopper() visits.
inline constexpr int kHopperVisited = 64;

/// dq, dk and dv with wgmma and TMA (attention_backward_hopper_cuda.cu), given delta and the ranges of tiles of
/// kHopperVisited queries.
void differentiate_with_wgmma(Stream& stream, const AttentionBackward& p);

/// The same in one pass (attention_backward_one_pass_cuda.cu). `scratch`: one_pass_bytes(), 16-byte aligned.
void differentiate_in_one_pass(Stream& stream, const AttentionBackward& p, void* scratch);
size_t one_pass_bytes(const DeviceAttentionShape& shape);

}  // namespace tsugi::cuda
