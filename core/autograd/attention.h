// Attention as a differentiable function: packed projections in, rotary positions and qk-norm on the way.
#pragma once

#include "core/autograd/parameter_store.h"
#include "core/autograd/tape.h"
#include "ops/relative_bias/relative_bias.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// Rotary positions of queries and keys, and the RMSNorm of their heads before (ops/rotary/rotary.h).
struct RotaryOptions {
  Tensor table;           ///< from rotary_table(), at least as many rows as positions; undefined: no rotation
  Tensor positions;       ///< i32 [B, T]; undefined: token t is at t, or behind the cache
  Parameter query_gamma;  ///< [head_dim], both or neither
  Parameter key_gamma;
  float epsilon = 1e-6f;
};

/// Which attention (ops/attention/attention.h says what the mask's fields mean).
struct AttentionOptions {
  int64_t heads = 0;
  int64_t key_heads = 0;  ///< 0: as many as heads
  bool causal = true;
  int64_t window = 0;
  Tensor first_key;    ///< i32 [B, T] or undefined
  Tensor end_key;      ///< i32 [B, T] or undefined
  float scale = 0.0f;  ///< 0: 1/sqrt(head_dim)
  Dropout dropout;     ///< of the probabilities, while recording
  RotaryOptions rotary;
  /// f32 [heads, keys + queries - 1], from relative_bias(); undefined value: none.
  Variable relative_bias;

  int64_t kv_heads() const { return key_heads == 0 ? heads : key_heads; }
};

/// Keys and values of the tokens that generation has seen, for one block.
struct KeyValueCache {
  Tensor keys;    ///< [B, capacity, key_heads·head_dim], after norm and rotation
  Tensor values;  ///< [B, capacity, key_heads·head_dim]
  int64_t length = 0;
  /// [B, S, 2·key_heads·head_dim]: keys and values of what a decoder attends to; undefined until its first step.
  Tensor memory = {};
};

/// What attention of `query_tokens` queries, the last of `key_tokens` keys, adds for each head and distance: f32
/// [heads, key_tokens + query_tokens - 1] from table [buckets, heads].
Variable relative_bias(Tape& tape, const Parameter& table, const RelativeBuckets& buckets, int64_t query_tokens,
                       int64_t key_tokens);

/// Self-attention on packed qkv [B, T, (heads + 2·key_heads)·head_dim]: queries, keys, values; returns [B, T,
/// heads·head_dim]. With a cache (inference only) the new keys and values are appended to it and the queries see all of
/// it. Rotation works in place if `qkv` is moved in and nobody else holds it.
Variable self_attention(Tape& tape, Variable qkv, const AttentionOptions& options, KeyValueCache* cache = nullptr);

/// Attention of q [B, T, heads·head_dim] to packed keys and values kv [B, S, 2·key_heads·head_dim], as of a decoder to
/// an encoder: options.causal must be false; there is no rotation.
Variable cross_attention(Tape& tape, const Variable& q, const Variable& kv, const AttentionOptions& options);

}  // namespace tsugi
